package nftables

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/knftables"

	"headway.dev/proxy/service"
)

var config = service.Config{
	NodeName:     "here",
	ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
	ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
}

func newRules(t *testing.T) *Rules {
	t.Helper()
	r, err := New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// random makes a decision about a Service of any sort.
func random(rng *rand.Rand, i int) *service.Decision {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.96.0.%d", i), Ports: []corev1.ServicePort{{Port: 80}}}}
	svc.Namespace, svc.Name = "d", fmt.Sprint(i)
	slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: new(int32(8080))}}}
	for e := range rng.IntN(4) {
		node := []string{"here", "there"}[rng.IntN(2)]
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.%d.%d", rng.IntN(2), e)}, NodeName: &node})
	}
	if rng.IntN(2) == 0 {
		svc.Spec.Ports[0].NodePort = int32(30000 + i)
	}
	if rng.IntN(2) == 0 {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if rng.IntN(3) == 0 {
		svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	if rng.IntN(3) == 0 {
		svc.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
	}
	if rng.IntN(3) == 0 {
		svc.Spec.Type = corev1.ServiceTypeLoadBalancer
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("198.51.100.%d", i)}}
		if rng.IntN(2) == 0 {
			svc.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24"}
		}
	}
	return service.Decide(config, "", svc, []*discoveryv1.EndpointSlice{slice})
}

// Rules that have seen other states want what new ones want.
func TestTakesChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	used, now := newRules(t), map[types.NamespacedName]*service.Decision{}
	for step := range 300 {
		d := random(rng, rng.IntN(8))
		if now[d.Name] = d; rng.IntN(3) == 0 {
			delete(now, d.Name)
		}
		used.take(service.Changes{Of: map[types.NamespacedName]*service.Decision{d.Name: now[d.Name]}})
		if step%10 != 0 {
			continue
		}
		fresh := newRules(t)
		fresh.take(service.Changes{Of: now, All: true})
		for what, pair := range map[string][2]any{
			"elements": {fresh.elements.want, used.elements.want},
			"chains":   {fresh.chains.want, used.chains.want},
			"clients":  {fresh.clients.want, used.clients.want},
		} {
			if d := cmp.Diff(pair[0], pair[1], cmp.AllowUnexported(element{}, clients{})); d != "" {
				t.Fatalf("step %d, %s (-new +used):\n%s", step, what, d)
			}
		}
	}
}

// recorder notes the transactions.
type recorder struct {
	knftables.Interface
	done []string
}

func (r *recorder) Run(ctx context.Context, tx *knftables.Transaction) error {
	r.done = append(r.done, tx.String())
	return r.Interface.Run(ctx, tx)
}

var deleted = regexp.MustCompile(`(?m)^delete chain inet headway-proxy (\S+)`)

// A chain goes in a later transaction than what led to it, as kernels before 6.2
// have it, and soon.
func TestChainsGoLater(t *testing.T) {
	r := newRules(t)
	fake := &recorder{Interface: knftables.NewFake(knftables.InetFamily, tableName)}
	r.nft = fake
	rng := rand.New(rand.NewPCG(5, 6))
	gone := 0
	for range 200 {
		d := random(rng, rng.IntN(8))
		if err := r.Apply(t.Context(), service.Changes{Of: map[types.NamespacedName]*service.Decision{d.Name: d}}); err != nil {
			t.Fatal(err)
		}
	}
	for i, tx := range fake.done {
		for _, m := range deleted.FindAllStringSubmatch(tx, -1) {
			gone++
			if regexp.MustCompile(`(?m)(goto|jump) ` + regexp.QuoteMeta(m[1]) + `( |$)`).MatchString(tx) {
				t.Errorf("transaction %d deletes the chain %s together with what leads to it:\n%s", i, m[1], tx)
			}
		}
	}
	if gone == 0 {
		t.Error("no chain was ever deleted")
	}
	if missing, err := r.Verify(t.Context()); missing || err != nil {
		t.Fatalf("Verify: %t, %v", missing, err)
	}
	left, err := fake.List(t.Context(), "chain")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if _, wanted := r.chains.want[name]; !wanted {
			t.Errorf("the chain %s is left", name)
		}
	}
}
