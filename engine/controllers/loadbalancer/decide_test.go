package loadbalancer_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/controllers/loadbalancer"
)

// service is one that is so many minutes old; what it holds is an address of its status,
// with ports that it was given.
func service(name string, age int, holds string, given []int32, ports ...int32) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-time.Duration(age) * time.Minute))}}
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	for _, p := range ports {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Port: p})
	}
	if holds != "" {
		in := corev1.LoadBalancerIngress{IP: holds}
		for _, p := range given {
			in.Ports = append(in.Ports, corev1.PortStatus{Port: p, Protocol: corev1.ProtocolTCP})
		}
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{in}
	}
	return svc
}

// of gives a Service its families.
func of(svc *corev1.Service, families ...corev1.IPFamily) *corev1.Service {
	svc.Spec.IPFamilies = families
	return svc
}

// What a Service has nobody takes from it: no older one that wants it later, no node that
// claims it, and of what others have later only what nodes cannot do without.
func TestDecideKeeps(t *testing.T) {
	tcp := func(n int32) loadbalancer.Port {
		return loadbalancer.Port{Protocol: corev1.ProtocolTCP, Number: n}
	}
	const ip = "192.0.2.10"
	nodes := []loadbalancer.Node{{Name: "n1", IPs: []netip.Addr{netip.MustParseAddr(ip)}, Usable: true}}
	taken := map[loadbalancer.Port]string{tcp(22): "SSH"}
	reserved := map[loadbalancer.Port]loadbalancer.Reserved{
		tcp(80):    {By: "the Ingresses"},
		tcp(30080): {By: "the node port of the Service d/web", Service: types.NamespacedName{Namespace: "d", Name: "web"}},
	}
	for name, c := range map[string]struct {
		pool     string
		services []*corev1.Service
		want     map[string]string // the address, or a part of the problem
	}{
		"the older wins if nobody has it": {
			services: []*corev1.Service{service("young", 1, "", nil, 81), service("old", 9, "", nil, 81)},
			want:     map[string]string{"old": ip, "young": "port 81/TCP of the nodes belongs to the Service d/old"},
		},
		"an older one adds a port": {
			services: []*corev1.Service{service("young", 1, ip, []int32{81}, 81), service("old", 9, ip, []int32{90}, 90, 81)},
			want:     map[string]string{"young": ip, "old": "port 81/TCP of the nodes belongs to the Service d/young: choose another port, or give a pool"},
		},
		"a port that is given up is free": {
			services: []*corev1.Service{service("young", 1, ip, []int32{81}, 82), service("old", 9, "", nil, 81)},
			want:     map[string]string{"young": ip, "old": ip},
		},
		"SSH is nobody's":                        {services: []*corev1.Service{service("had", 9, ip, []int32{22}, 22)}, want: map[string]string{"had": "that of SSH"}},
		"Ingresses were there":                   {services: []*corev1.Service{service("web", 9, "", nil, 80)}, want: map[string]string{"web": "port 80/TCP of the nodes is that of the Ingresses"}},
		"the Service was there before Ingresses": {services: []*corev1.Service{service("web", 9, ip, []int32{80}, 80)}, want: map[string]string{"web": ip}},
		"another's node port":                    {services: []*corev1.Service{service("api", 9, "", nil, 30080)}, want: map[string]string{"api": "the node port of the Service d/web"}},
		"its own node port":                      {services: []*corev1.Service{service("web", 9, "", nil, 30080)}, want: map[string]string{"web": ip}},
		"a node claims what a Service has": {
			pool: "192.0.2.10-192.0.2.11", services: []*corev1.Service{service("web", 9, ip, nil, 80), service("new", 1, "", nil, 80)},
			want: map[string]string{"web": ip, "new": "192.0.2.11"},
		},
		"IPv6 alone":                    {services: []*corev1.Service{of(service("six", 9, "", nil, 81), corev1.IPv6Protocol), service("four", 1, "", nil, 81)}, want: map[string]string{"six": "addresses of load balancers are of IPv4, which is not one of spec.ipFamilies", "four": ip}},
		"IPv6 first":                    {services: []*corev1.Service{of(service("both", 9, "", nil, 81), corev1.IPv6Protocol, corev1.IPv4Protocol)}, want: map[string]string{"both": ip}},
		"IPv6 alone of a pool":          {pool: "192.0.2.11", services: []*corev1.Service{of(service("six", 9, "", nil, 81), corev1.IPv6Protocol), service("four", 1, "", nil, 81)}, want: map[string]string{"six": "addresses of load balancers are of IPv4", "four": "192.0.2.11"}},
		"a node's address is not given": {pool: ip, services: []*corev1.Service{service("new", 1, "", nil, 80)}, want: map[string]string{"new": "all addresses of the pool are taken"}},
	} {
		pool, err := loadbalancer.ParsePool(c.pool)
		if err != nil {
			t.Fatal(err)
		}
		out := loadbalancer.Decide(loadbalancer.Input{Pool: pool, Services: c.services, Nodes: nodes, Taken: taken, Reserved: reserved})
		for svc, want := range c.want {
			got := out[types.NamespacedName{Namespace: "d", Name: svc}]
			if len(got.IPs) == 1 {
				if got.IPs[0].String() != want || got.Problem != "" {
					t.Errorf("%s: %s has %s (%s), want %s", name, svc, got.IPs[0], got.Problem, want)
				}
			} else if got.Problem == "" || !strings.Contains(got.Problem, want) {
				t.Errorf("%s: %s has %v (%s), want %s", name, svc, got.IPs, got.Problem, want)
			}
		}
	}
}
