package proxy_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"headway.dev/proxy"
)

const vip6 = "fd00:96::10"

// dual makes a Service of both families.
func dual(ip string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.ClusterIPs = []string{s.Spec.ClusterIP, ip} }
}

// set6 sets the IPv6 slice of a Service.
func (m *memory) set6(svc *corev1.Service, endpoints ...discoveryv1.Endpoint) {
	slice := sliceOf(svc)
	slice.Name, slice.AddressType = svc.Name+"-6", discoveryv1.AddressTypeIPv6
	for _, e := range endpoints {
		e.Addresses = []string{v6(e.Addresses[0])}
		slice.Endpoints = append(slice.Endpoints, e)
	}
	m.SetSlice(slice)
}

// TestDualStack follows packets of both families to one Service, whose endpoints
// come and go in each on their own.
func TestDualStack(t *testing.T) { eachMode(t, testDualStack) }

func testDualStack(t *testing.T, mode proxy.Mode) {
	t.Helper()
	pods := servers(t, a, b)
	outside, client := newOutside(t), newPod(t, "10.244.0.20")
	m := newMemory()
	start(t, mode, m)
	web := newService("web", vip, 30080, dual(vip6))
	m.set(web, ready(a))
	m.set6(web, ready(b))
	eventually(t, "IPv4 is answered by its endpoint", reaches(client, vip+":80", a))
	eventually(t, "IPv6 is answered by its endpoint", reaches(client, "["+vip6+"]:80", b))
	if _, seen, err := client.ask("[" + vip6 + "]:80"); err != nil || seen != v6(client.ip) {
		t.Errorf("a pod's connection comes from %q, %v; want its own address", seen, err)
	}
	eventually(t, "the node port answers from outside", reaches(outside, "["+nodeIP6+"]:30080", b))
	if _, seen, err := outside.ask("[" + nodeIP6 + "]:30080"); err != nil || seen != v6(bridgeIP) {
		t.Errorf("through the node port the client is %q, %v; want it masqueraded", seen, err)
	}
	eventually(t, "the node reaches it", reaches(nil, "["+vip6+"]:80", b))
	eventually(t, "an endpoint reaches itself", reaches(pods[1], "["+vip6+"]:80", b))

	// A UDP flow of IPv6 is led elsewhere.
	conn, err := client.dial("udp6", "["+vip6+"]:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answered := func(by string) func() bool {
		return func() bool {
			buf := make([]byte, 100)
			if err := conn.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("x")); err != nil {
				return false
			}
			n, err := conn.Read(buf)
			return err == nil && string(buf[:n]) == by
		}
	}
	eventually(t, "the first endpoint answers datagrams", answered(b))
	m.set6(web, ready(a))
	eventually(t, "the second endpoint answers datagrams", answered(a))

	local := newService("web", vip, 30080, dual(vip6), func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	m.set6(local, ready(a), elsewhere(ready(b)))
	m.SetService(local)
	eventually(t, "a client from outside keeps its address", func() bool {
		server, seen, err := outside.ask("[" + nodeIP6 + "]:30080")
		return err == nil && server == a && seen == v6(outside.ip)
	})
	m.set6(local)
	for name, from := range map[string]*host{"a pod": client, "the node": nil} {
		eventually(t, name+" is refused", func() bool {
			_, _, err := from.ask("[" + vip6 + "]:80")
			return errors.Is(err, syscall.ECONNREFUSED)
		})
	}
	eventually(t, "IPv4 is still answered", reaches(client, vip+":80", a))

	sticky := newService("web", vip, 30080, dual(vip6), func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	m.SetService(sticky)
	m.set6(sticky, ready(a), ready(b))
	eventually(t, "it answers", func() bool { _, _, err := client.try("[" + vip6 + "]:80"); return err == nil })
	first, _, err := client.ask("[" + vip6 + "]:80")
	for range 10 {
		if next, _, nextErr := client.ask("[" + vip6 + "]:80"); err != nil || nextErr != nil || next != first {
			t.Fatalf("answered by %q and %q (%v, %v), want one", first, next, err, nextErr)
		}
	}
}
