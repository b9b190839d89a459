package proxy_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"headway.dev/proxy"
)

// elsewhere puts an endpoint on another node.
func elsewhere(e discoveryv1.Endpoint) discoveryv1.Endpoint {
	e.NodeName = new("there")
	return e
}

// TestLocalPolicies follows packets to a Service whose policies say Local, by
// where its endpoints are: a is of this node, b of another one.
func TestLocalPolicies(t *testing.T) { eachMode(t, testLocalPolicies) }

func testLocalPolicies(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a, b)
	outside, client := newOutside(t), newPod(t, "10.244.0.20")
	m := newMemory()
	external := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	internal := func(s *corev1.Service) {
		s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
	}
	start(t, mode, m)
	const port = nodeIP + ":30080"
	for _, state := range []struct {
		name      string
		edit      func(*corev1.Service)
		endpoints []discoveryv1.Endpoint
		// Who answers; "" is nobody, as long as the other node does serve it.
		fromOutside, fromPod, fromNode, byClusterIP string
	}{
		{"ready here and there", external, []discoveryv1.Endpoint{ready(a), elsewhere(terminating(b))}, a, a, a, a},
		{"terminating here, ready there", external, []discoveryv1.Endpoint{terminating(a), elsewhere(ready(b))}, a, b, b, b},
		{"only there", external, []discoveryv1.Endpoint{elsewhere(ready(b))}, "", b, b, b},
		{"terminating only", external, []discoveryv1.Endpoint{terminating(a)}, a, a, a, a},
		{"both policies, terminating here", func(s *corev1.Service) { external(s); internal(s) }, []discoveryv1.Endpoint{terminating(a), elsewhere(ready(b))}, a, b, b, a},
		{"both policies, only there", func(s *corev1.Service) { external(s); internal(s) }, []discoveryv1.Endpoint{elsewhere(ready(b))}, "", b, b, ""},
	} {
		t.Run(state.name, func(t *testing.T) {
			m.set(newService("web", vip, 30080, state.edit), state.endpoints...)
			for _, way := range []struct {
				name       string
				from       *host
				addr, want string
			}{
				{"outside", outside, port, state.fromOutside},
				{"a pod", client, port, state.fromPod},
				{"the node", nil, port, state.fromNode},
				{"a pod, by the cluster IP", client, vip + ":80", state.byClusterIP},
			} {
				if way.want != "" {
					eventually(t, way.name+" is answered by "+way.want, reaches(way.from, way.addr, way.want))
				}
			}
			for _, way := range []struct {
				name       string
				from       *host
				addr, want string
			}{{"outside", outside, port, state.fromOutside}, {"by the cluster IP", client, vip + ":80", state.byClusterIP}} {
				if way.want == "" {
					eventually(t, way.name+" is answered by nobody", func() bool { _, _, err := way.from.try(way.addr); return err != nil })
				}
			}
			if state.fromOutside != "" {
				if _, seen, err := outside.ask(port); err != nil || seen != outside.ip {
					t.Errorf("a client from outside is seen as %q, %v; want its own address", seen, err)
				}
			}
		})
	}
}

// TestTopology follows packets to the endpoints of the node's zone, which the
// node learns of, loses and changes while the proxy runs.
func TestTopology(t *testing.T) { eachMode(t, testTopology) }

func testTopology(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a, b)
	client := newPod(t, "10.244.0.20")
	m := newMemory()
	start(t, mode, m)
	in := func(e discoveryv1.Endpoint, zone string) discoveryv1.Endpoint {
		e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
		return e
	}
	m.SetZone("east")
	m.set(newService("web", vip, 0), in(ready(a), "east"), in(ready(b), "west"))
	eventually(t, "the zone's endpoint answers", reaches(client, vip+":80", a))
	if got := answers(t, client, 20); got[a] != 20 {
		t.Errorf("answers from %v, want only %s", got, a)
	}
	m.SetZone("west")
	eventually(t, "the new zone's endpoint answers", reaches(client, vip+":80", b))
	m.set(newService("web", vip, 0), in(ready(a), "east"), in(terminating(b), "west"))
	eventually(t, "the other zone's answers when this one has none", reaches(client, vip+":80", a))
}
