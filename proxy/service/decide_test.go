package service_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/proxy/service"
)

var config = service.Config{
	NodeName:     "here",
	ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")},
	ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/64")},
}

// endpoints are written "IP NODE WORD…": notready, terminating (and serving),
// ended (and not serving), zone=Z and node=N for hints.
func endpoints(lines ...string) []*discoveryv1.EndpointSlice {
	byFamily := map[discoveryv1.AddressType]*discoveryv1.EndpointSlice{}
	for _, line := range lines {
		words := strings.Fields(line)
		e := discoveryv1.Endpoint{Addresses: words[:1], NodeName: &words[1], Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)}}
		for _, word := range words[2:] {
			name, value, _ := strings.Cut(word, "=")
			if value != "" && e.Hints == nil {
				e.Hints = &discoveryv1.EndpointHints{}
			}
			switch name {
			case "notready":
				e.Conditions.Ready, e.Conditions.Serving = new(false), new(false)
			case "terminating":
				e.Conditions.Ready, e.Conditions.Terminating = new(false), new(true)
			case "ended":
				e.Conditions.Ready, e.Conditions.Serving, e.Conditions.Terminating = new(false), new(false), new(true)
			case "zone":
				e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: value})
			case "node":
				e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: value})
			}
		}
		family := discoveryv1.AddressTypeIPv4
		if strings.Contains(words[0], ":") {
			family = discoveryv1.AddressTypeIPv6
		}
		if byFamily[family] == nil {
			byFamily[family] = &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Name: string(family)}, AddressType: family,
				Ports: []discoveryv1.EndpointPort{{Port: new(int32(8080))}},
			}
		}
		byFamily[family].Endpoints = append(byFamily[family].Endpoints, e)
	}
	var out []*discoveryv1.EndpointSlice
	for _, s := range byFamily {
		out = append(out, s)
	}
	return out
}

func web(edit ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 80}}},
	}
	for _, e := range edit {
		e(svc)
	}
	return svc
}

func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
}

func externalLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func target(t service.Target) string {
	var ips []string
	for _, e := range t.Endpoints {
		ips = append(ips, strings.TrimPrefix(e.Addr().String(), "10.244."))
	}
	switch {
	case len(ips) > 0:
		return strings.Join(ips, " ")
	case t.Otherwise == service.Drop:
		return "drop"
	}
	return "reject"
}

// Which endpoints serve whom, as Kubernetes documents it for virtual IPs, traffic
// policies, terminating endpoints and topology.
func TestEndpoints(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(*corev1.Service)
		zone string
		have []string
		// Who serves the cluster IP, external addresses, and these for the cluster's pods.
		internal, external, cluster string
	}{
		{"none", nil, "", nil, "reject", "reject", "reject"},
		{"ready ones", nil, "", []string{"10.244.0.1 here", "10.244.1.1 there", "10.244.1.2 there notready"}, "0.1 1.1", "0.1 1.1", "0.1 1.1"},
		{"not ready only", nil, "", []string{"10.244.0.1 here notready"}, "reject", "reject", "reject"},
		{"a terminating one among ready ones", nil, "", []string{"10.244.0.1 here terminating", "10.244.1.1 there"}, "1.1", "1.1", "1.1"},
		{"terminating ones only", nil, "", []string{"10.244.0.1 here terminating", "10.244.1.1 there ended"}, "0.1", "0.1", "0.1"},

		{"internal Local", internalLocal, "", []string{"10.244.0.1 here", "10.244.1.1 there"}, "0.1", "0.1 1.1", "0.1 1.1"},
		{"internal Local, terminating here", internalLocal, "", []string{"10.244.0.1 here terminating", "10.244.1.1 there"}, "0.1", "1.1", "1.1"},
		{"internal Local, none here", internalLocal, "", []string{"10.244.1.1 there"}, "drop", "1.1", "1.1"},
		{"internal Local, not ready here", internalLocal, "", []string{"10.244.0.1 here notready", "10.244.1.1 there"}, "drop", "1.1", "1.1"},
		{"internal Local, none at all", internalLocal, "", nil, "reject", "reject", "reject"},

		{"external Local", externalLocal, "", []string{"10.244.0.1 here", "10.244.1.1 there"}, "0.1 1.1", "0.1", "0.1 1.1"},
		{"external Local, terminating here", externalLocal, "", []string{"10.244.0.1 here terminating", "10.244.1.1 there"}, "1.1", "0.1", "1.1"},
		{"external Local, terminating here among ready ones", externalLocal, "", []string{"10.244.0.1 here terminating", "10.244.0.2 here"}, "0.2", "0.2", "0.2"},
		{"external Local, none here", externalLocal, "", []string{"10.244.1.1 there"}, "1.1", "drop", "1.1"},
		{"external Local, none at all", externalLocal, "", nil, "reject", "reject", "reject"},

		{"zone", nil, "z1", []string{"10.244.0.1 here zone=z1", "10.244.1.1 there zone=z2", "10.244.1.2 there zone=z1"}, "0.1 1.2", "0.1 1.2", "0.1 1.2"},
		{"zone of which no endpoint is", nil, "z3", []string{"10.244.0.1 here zone=z1", "10.244.1.1 there zone=z2"}, "0.1 1.1", "0.1 1.1", "0.1 1.1"},
		{"zone, a hint is missing", nil, "z1", []string{"10.244.0.1 here zone=z1", "10.244.1.1 there"}, "0.1 1.1", "0.1 1.1", "0.1 1.1"},
		{"zone, the node has none", nil, "", []string{"10.244.0.1 here zone=z1", "10.244.1.1 there zone=z2"}, "0.1 1.1", "0.1 1.1", "0.1 1.1"},
		{"zone, hints of those that are not ready do not count", nil, "z1", []string{"10.244.0.1 here zone=z1", "10.244.1.1 there terminating"}, "0.1", "0.1", "0.1"},
		{"zone, only terminating ones", nil, "z1", []string{"10.244.0.1 here zone=z1 terminating", "10.244.1.1 there zone=z2 terminating"}, "0.1 1.1", "0.1 1.1", "0.1 1.1"},
		{"zone and external Local", externalLocal, "z1", []string{"10.244.0.1 here zone=z2", "10.244.1.1 there zone=z1"}, "1.1", "0.1", "1.1"},
		{"node", nil, "z1", []string{"10.244.0.1 here zone=z1 node=here", "10.244.1.1 there zone=z1 node=there"}, "0.1", "0.1", "0.1"},
		{"node of which no endpoint is: the zone", nil, "z1", []string{"10.244.1.1 there zone=z1 node=there", "10.244.2.1 other zone=z2 node=other"}, "1.1", "1.1", "1.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			svc := web(func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 })
			if test.edit != nil {
				test.edit(svc)
			}
			d := service.Decide(config, test.zone, svc, endpoints(test.have...))
			if len(d.Ports) != 1 {
				t.Fatalf("%d ports, want 1", len(d.Ports))
			}
			got := []string{target(d.Ports[0].Internal), target(d.Ports[0].External), target(d.Ports[0].Cluster)}
			if want := []string{test.internal, test.external, test.cluster}; !slices.Equal(got, want) {
				t.Errorf("internal, external, cluster: %q, want %q", got, want)
			}
		})
	}
}

// The addresses that lead to a Service.
func TestAddresses(t *testing.T) {
	balancer := func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
			{IP: "198.51.100.1"},
			{IP: "198.51.100.2", IPMode: new(corev1.LoadBalancerIPModeProxy)},
			{Hostname: "lb.example"},
			{IP: "2001:db8::1", IPMode: new(corev1.LoadBalancerIPModeVIP)},
		}
	}
	show := func(d *service.Decision) (out []string) {
		for _, p := range d.Ports {
			words := []string{p.Name, p.Protocol, netip.AddrPortFrom(p.ClusterIP, p.Number).String()}
			for _, ip := range p.ExternalIPs {
				words = append(words, "external="+ip.String())
			}
			for _, ip := range p.LoadBalancerIPs {
				words = append(words, "balancer="+ip.String())
			}
			for _, r := range p.SourceRanges {
				words = append(words, "from="+r.String())
			}
			if p.Restricted && len(p.SourceRanges) == 0 {
				words = append(words, "from=nobody")
			}
			if p.Affinity > 0 {
				words = append(words, "affinity="+p.Affinity.String())
			}
			out = append(out, strings.Join(words, " "))
		}
		return out
	}
	for _, test := range []struct {
		name string
		edit func(*corev1.Service)
		want []string
	}{
		{"cluster IP", func(*corev1.Service) {}, []string{"d/web tcp 10.96.0.1:80"}},
		{"several ports", func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "ss7", Port: 90, Protocol: corev1.ProtocolSCTP}}
		}, []string{"d/web:http tcp 10.96.0.1:80", "d/web:dns udp 10.96.0.1:53", "d/web:ss7 sctp 10.96.0.1:90"}},
		{"headless", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }, nil},
		{"external name", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }, nil},
		{"both families", func(s *corev1.Service) {
			s.Spec.ClusterIPs = []string{"10.96.0.1", "fd00:96::1"}
			s.Spec.ExternalIPs = []string{"198.51.100.7", "2001:db8::7", "198.51.100.7"}
			balancer(s)
		}, []string{
			"d/web tcp 10.96.0.1:80 external=198.51.100.7 balancer=198.51.100.1",
			"d/web tcp [fd00:96::1]:80 external=2001:db8::7 balancer=2001:db8::1",
		}},
		{"a load balancer's status of another type", func(s *corev1.Service) { balancer(s); s.Spec.Type = corev1.ServiceTypeNodePort }, []string{"d/web tcp 10.96.0.1:80"}},
		{"source ranges", func(s *corev1.Service) {
			balancer(s)
			s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.1/24", "10.0.0.0/8", "2001:db8::/32"}
		}, []string{"d/web tcp 10.96.0.1:80 balancer=198.51.100.1 from=10.0.0.0/8 from=192.0.2.0/24"}},
		{"source ranges of everybody", func(s *corev1.Service) {
			balancer(s)
			s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8", "0.0.0.0/0"}
		}, []string{"d/web tcp 10.96.0.1:80 balancer=198.51.100.1"}},
		{"source ranges of the other family", func(s *corev1.Service) { balancer(s); s.Spec.LoadBalancerSourceRanges = []string{"2001:db8::/32"} }, []string{"d/web tcp 10.96.0.1:80 balancer=198.51.100.1 from=nobody"}},
		{"source ranges by annotation", func(s *corev1.Service) {
			balancer(s)
			s.Annotations = map[string]string{corev1.AnnotationLoadBalancerSourceRangesKey: "10.0.0.0/8, 192.0.2.0/24"}
		}, []string{"d/web tcp 10.96.0.1:80 balancer=198.51.100.1 from=10.0.0.0/8 from=192.0.2.0/24"}},
		{"affinity", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }, []string{"d/web tcp 10.96.0.1:80 affinity=3h0m0s"}},
		{"affinity with a timeout", func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(9))}}
		}, []string{"d/web tcp 10.96.0.1:80 affinity=" + (9 * time.Second).String()}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := show(service.Decide(config, "", web(test.edit), nil))
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// Each family has its own endpoints, and a family that is not served has none.
func TestFamilies(t *testing.T) {
	svc := web(func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"fd00:96::1", "10.96.0.1"} })
	have := endpoints("10.244.0.1 here", "fd00:244::1 here", "fd00:244::2 there")
	d := service.Decide(config, "", svc, have)
	var got []string
	for _, p := range d.Ports {
		got = append(got, p.Family.String()+" "+target(p.Internal))
	}
	if want := []string{"IPv6 fd00:244::1 fd00:244::2", "IPv4 0.1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	only := config
	only.ServiceCIDRs = only.ServiceCIDRs[:1]
	if d := service.Decide(only, "", svc, have); len(d.Ports) != 1 || d.Ports[0].Family != service.IPv4 {
		t.Errorf("without a range for IPv6: %+v", d.Ports)
	}
}

// What a load balancer is told of this node: its endpoints that are ready, each
// once, of Services whose policy makes it ask.
func TestHealth(t *testing.T) {
	ask := func(edit ...func(*corev1.Service)) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Type, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, 32000
			externalLocal(s)
			for _, e := range edit {
				e(s)
			}
		}
	}
	have := endpoints("10.244.0.1 here", "10.244.0.2 here terminating", "10.244.0.3 here notready", "10.244.1.1 there")
	for _, test := range []struct {
		name string
		edit func(*corev1.Service)
		want *service.Health
	}{
		{"Local", ask(), &service.Health{Port: 32000, Local: 1}},
		{"two ports", ask(func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 81}) }), &service.Health{Port: 32000, Local: 1}},
		{"Cluster", ask(func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster }), nil},
		{"no load balancer", ask(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.want, service.Decide(config, "", web(test.edit), have).Health); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
