package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"headway.dev/proxy"
)

// unanswered waits until connections are neither answered nor refused.
func unanswered(t *testing.T, what string, from *host, addr string) {
	t.Helper()
	eventually(t, what+" is not answered", func() bool {
		c, err := from.dialFor(500*time.Millisecond, "tcp", addr)
		if err == nil {
			c.Close()
		}
		var timeout net.Error
		return errors.As(err, &timeout) && timeout.Timeout()
	})
}

func refused(t *testing.T, what string, from *host, addr string) {
	t.Helper()
	eventually(t, what+" is refused", func() bool { _, _, err := from.ask(addr); return errors.Is(err, syscall.ECONNREFUSED) })
}

func balancer(ip string, edit ...func(*corev1.Service)) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
		for _, e := range edit {
			e(s)
		}
	}
}

// TestExternalAddresses follows packets to external IPs and to the addresses of
// load balancers: whom they serve, by which endpoints, and who is refused how.
func TestExternalAddresses(t *testing.T) { eachMode(t, testExternalAddresses) }

func testExternalAddresses(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a, b)
	outside, client := newOutside(t), newPod(t, "10.244.0.20")
	// A connection without a route fails before it reaches any rule.
	if err := netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.ParseIP("198.51.100.0"), Mask: net.CIDRMask(24, 32)}, Gw: net.ParseIP(outside.ip)}); err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	start(t, mode, m)
	const external, lb, proxied = "198.51.100.7", "198.51.100.8", "198.51.100.9"
	local := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	from := func(ranges ...string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = ranges }
	}
	both := func(edit ...func(*corev1.Service)) *corev1.Service {
		return newService("web", vip, 30080, append(edit, balancer(lb), func(s *corev1.Service) { s.Spec.ExternalIPs = []string{external} })...)
	}

	m.set(both(), ready(a))
	for _, ip := range []string{external, lb} {
		for name, h := range map[string]*host{"outside": outside, "a pod": client, "the node": nil} {
			eventually(t, name+" reaches "+ip, reaches(h, ip+":80", a))
		}
		if _, seen, err := outside.ask(ip + ":80"); err != nil || seen != bridgeIP {
			t.Errorf("through %s the client is %q, %v; want it masqueraded", ip, seen, err)
		}
	}

	// What a policy Local does not bind: the cluster's pods and this node.
	m.set(both(local), ready(a), elsewhere(ready(b)))
	for _, ip := range []string{external, lb} {
		eventually(t, "the client keeps its address at "+ip, func() bool {
			server, seen, err := outside.try(ip + ":80")
			return err == nil && server == a && seen == outside.ip
		})
		for name, h := range map[string]*host{"a pod": client, "the node": nil} {
			eventually(t, name+" reaches the other node's endpoint at "+ip, reaches(h, ip+":80", b))
		}
	}
	m.set(both(local), elsewhere(ready(b)))
	eventually(t, "the pod reaches the other node's endpoint", reaches(client, lb+":80", b))
	unanswered(t, "who comes from outside, without a local endpoint,", outside, lb+":80")

	m.set(both())
	for _, ip := range []string{external, lb} {
		for name, h := range map[string]*host{"outside": outside, "a pod": client, "the node": nil} {
			refused(t, name+" at "+ip, h, ip+":80")
		}
	}

	// Source ranges are about the load balancer's address alone.
	m.set(both(from("192.0.2.0/24", "10.9.0.0/16")), ready(a))
	eventually(t, "outside is in the range", reaches(outside, lb+":80", a))
	unanswered(t, "a pod that is not in the range", client, lb+":80")
	eventually(t, "a pod reaches the external IP", reaches(client, external+":80", a))
	m.set(both(from("10.9.0.0/16")), ready(a))
	unanswered(t, "outside when it is not in the range", outside, lb+":80")
	eventually(t, "outside reaches the node port", reaches(outside, nodeIP+":30080", a))
	m.set(both(from("192.0.2.0/24")))
	refused(t, "who is in the range, without endpoints,", outside, lb+":80")

	// The mode Proxy leaves the address to the load balancer.
	m.set(newService("proxied", "10.96.0.12", 30082, balancer(proxied, func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress[0].IPMode = new(corev1.LoadBalancerIPModeProxy)
	})), ready(a))
	eventually(t, "the cluster IP answers", reaches(client, "10.96.0.12:80", a))
	if strings.Contains(saved(t), proxied) {
		t.Errorf("the rules have a load balancer's address of the mode Proxy:\n%s", saved(t))
	}

	// Two Services with one external IP: one has it, and when it goes the other.
	same := func(s *corev1.Service) { s.Spec.ExternalIPs = []string{proxied} }
	m.set(newService("one", "10.96.0.13", 0, same), ready(a))
	eventually(t, "the first has the address", reaches(outside, proxied+":80", a))
	m.set(newService("two", "10.96.0.14", 0, same), ready(b))
	eventually(t, "the second answers at its cluster IP", reaches(client, "10.96.0.14:80", b))
	eventually(t, "the first still has the address", reaches(outside, proxied+":80", a))
	m.remove("one")
	eventually(t, "the second has the address", reaches(outside, proxied+":80", b))
}

// TestHealthCheckNodePort asks as a load balancer does.
func TestHealthCheckNodePort(t *testing.T) {
	m := newMemory()
	start(t, proxy.ModeIptables, m)
	const port = 32100
	web := newService("web", vip, 30080, balancer("198.51.100.8", func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.HealthCheckNodePort = port
	}))
	type answer struct {
		Service struct {
			Namespace, Name string
		} `json:"service"`
		LocalEndpoints      int  `json:"localEndpoints"`
		ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func() (int, http.Header, answer, error) {
		var got answer
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, nil, got, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header, got, json.NewDecoder(resp.Body).Decode(&got)
	}
	for _, state := range []struct {
		endpoints   []discoveryv1.Endpoint
		code, local int
	}{
		{[]discoveryv1.Endpoint{ready(a), ready(b), elsewhere(ready(c))}, http.StatusOK, 2},
		{[]discoveryv1.Endpoint{terminating(a), elsewhere(ready(c))}, http.StatusServiceUnavailable, 0},
		{[]discoveryv1.Endpoint{ready(b)}, http.StatusOK, 1},
	} {
		m.set(web, state.endpoints...)
		eventually(t, fmt.Sprintf("it answers %d with %d endpoints", state.code, state.local), func() bool {
			code, header, got, err := ask()
			return err == nil && code == state.code && got.LocalEndpoints == state.local && got.ServiceProxyHealthy && got.Service.Namespace == "test" &&
				got.Service.Name == "web" && header.Get("X-Load-Balancing-Endpoint-Weight") == fmt.Sprint(state.local) &&
				header.Get("Content-Type") == "application/json" && header.Get("X-Content-Type-Options") == "nosniff"
		})
	}
	m.remove("web")
	eventually(t, "nobody answers", func() bool { _, _, _, err := ask(); return errors.Is(err, syscall.ECONNREFUSED) })

	// A port that another program has is answered at once it is free.
	var listen net.ListenConfig
	taken, err := listen.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	m.set(web, ready(a))
	eventually(t, "the rules are there", func() bool { return leads(t, a) })
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	m.set(newService("other", "10.96.0.11", 0), ready(a))
	eventually(t, "it answers after the next change", func() bool { code, _, _, err := ask(); return err == nil && code == http.StatusOK })
}
