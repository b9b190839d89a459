package nftables

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

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
		used.take(d.Name, now[d.Name])
		if step%10 != 0 {
			continue
		}
		fresh := newRules(t)
		for name, d := range now {
			fresh.take(name, d)
		}
		for what, pair := range map[string][2]any{
			"elements": {fresh.claims.elements.want, used.claims.elements.want},
			"chains":   {fresh.chains.want, used.chains.want},
			"clients":  {fresh.clients.want, used.clients.want},
		} {
			if d := cmp.Diff(pair[0], pair[1], cmp.AllowUnexported(element{}, clients{})); d != "" {
				t.Fatalf("step %d, %s (-new +used):\n%s", step, what, d)
			}
		}
	}
}

// Of two that claim an element the first has it until it lets go.
func TestClaims(t *testing.T) {
	one, two, three := types.NamespacedName{Name: "1"}, types.NamespacedName{Name: "2"}, types.NamespacedName{Name: "3"}
	e := element{"services-4", "198.51.100.1 . tcp . 80"}
	c := newClaims()
	want := func(value string) {
		t.Helper()
		if got := c.elements.want[e]; got != value {
			t.Errorf("the element is %q, want %q", got, value)
		}
	}
	c.claim(e, two, "of two")
	c.claim(e, three, "of three")
	c.claim(e, one, "of one")
	want("of two")
	c.claim(e, two, "of two, changed")
	want("of two, changed")
	c.release(e, two)
	want("of one")
	c.release(e, three)
	c.release(e, one)
	want("")
	if len(c.owners)+len(c.rivals)+len(c.elements.want) > 0 {
		t.Errorf("something is left: %+v", c)
	}
}
