package dns_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	hwdns "headway.dev/nodes/dns"
	"headway.dev/nodes/known"
)

// node is a name server under test, with the API behind it and a name server of its
// node's.
type node struct {
	t        *testing.T
	client   *fake.Clientset
	server   *hwdns.Server
	address  string
	warnings chan string
	stop     func()
}

// local is an address of the machine itself that nobody else listens on.
func local() netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(250)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
}

func start(t *testing.T, configure func(*hwdns.Config, *fake.Clientset)) *node {
	t.Helper()
	at := netip.AddrPortFrom(local(), 53)
	n := &node{t: t, client: fake.NewClientset(), address: at.String(), warnings: make(chan string, 100)}
	cfg := hwdns.Config{
		Address: at, Domain: "cluster.local", Ranges: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/15")},
		Client: n.client, Log: slog.New(slog.DiscardHandler),
		Warn: func(about *corev1.ConfigMap, reason, message string) {
			if about != nil {
				reason = about.Name + ": " + reason
			}
			n.warnings <- reason + ": " + message
		},
	}
	if configure != nil {
		configure(&cfg, n.client)
	}
	cfg.Cluster = known.Open(known.Config{Client: n.client, Log: cfg.Log})
	n.server = hwdns.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = cfg.Cluster.Run(ctx) }) // it has no error
	wg.Go(func() {
		if err := n.server.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	n.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(n.stop)
	return n
}

// upstream runs a name server that knows what handle says, and returns a resolv.conf
// that names it.
func upstream(t *testing.T, handle func(*dns.Msg)) string {
	t.Helper()
	at := netip.AddrPortFrom(local(), 53)
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		s := &dns.Server{Addr: at.String(), Net: network, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
			m := new(dns.Msg).SetReply(r)
			if handle(m); network == "udp" {
				m.Truncate(512)
			}
			_ = w.WriteMsg(m)
		})}
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.ListenAndServe() })
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); wg.Wait() })
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver "+at.Addr().String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (n *node) exchange(network, name string, qtype uint16, edit func(*dns.Msg)) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	if edit != nil {
		edit(m)
	}
	size := uint16(dns.MinMsgSize)
	if opt := m.IsEdns0(); opt != nil {
		size = opt.UDPSize()
	}
	c := dns.Client{Net: network, UDPSize: size, Timeout: 10 * time.Second}
	answer, _, err := c.ExchangeContext(n.t.Context(), m, n.address)
	return answer, err
}

// lookup is what the server says: the code, or the addresses in order.
func (n *node) lookup(name string) string {
	m, err := n.exchange("udp", name, dns.TypeA, nil)
	switch {
	case err != nil:
		return "error"
	case m.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[m.Rcode]
	}
	var out []string
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.CNAME:
			out = append(out, rr.Target)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (n *node) becomes(name, want string) {
	n.t.Helper()
	eventually(n.t, func() string {
		if got := n.lookup(name); got != want {
			return fmt.Sprintf("%s is %q, want %q", name, got, want)
		}
		return ""
	})
}

func eventually(t *testing.T, f func() string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; <-time.After(5 * time.Millisecond) {
		problem := f()
		if problem == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("after a minute: " + problem)
		}
	}
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
	}}
}

func slice(name, service string, ips ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, ip := range ips {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	return s
}

// Names follow the API: Services, endpoints and the node's pods come, change and go.
func TestFollows(t *testing.T) {
	n := start(t, func(_ *hwdns.Config, c *fake.Clientset) {
		_ = c.Tracker().Add(service("first", "10.43.0.1"))
		_ = c.Tracker().Add(service("db", "None"))
		_ = c.Tracker().Add(slice("db-1", "db", "10.42.0.1"))
	})
	ctx, services, slices := t.Context(), n.client.CoreV1().Services("default"), n.client.DiscoveryV1().EndpointSlices("default")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n.becomes("first.default.svc.cluster.local.", "10.43.0.1")
	n.becomes("db.default.svc.cluster.local.", "10.42.0.1")
	must(services.Create(ctx, service("second", "10.43.0.2"), metav1.CreateOptions{}))
	n.becomes("second.default.svc.cluster.local.", "10.43.0.2")
	must(services.Update(ctx, service("second", "10.43.0.3"), metav1.UpdateOptions{}))
	n.becomes("second.default.svc.cluster.local.", "10.43.0.3")
	must(slices.Update(ctx, slice("db-1", "db", "10.42.0.2", "10.42.0.3"), metav1.UpdateOptions{}))
	n.becomes("db.default.svc.cluster.local.", "10.42.0.2 10.42.0.3")
	must(nil, slices.Delete(ctx, "db-1", metav1.DeleteOptions{}))
	n.becomes("db.default.svc.cluster.local.", "NXDOMAIN")
	must(nil, services.Delete(ctx, "first", metav1.DeleteOptions{}))
	n.becomes("first.default.svc.cluster.local.", "NXDOMAIN")

	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "jobs", Name: "a", UID: "a"}}
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.42.0.9"}}
	const name = "10-42-0-9.jobs.pod.cluster.local."
	want := func(what, want string) {
		t.Helper()
		if got := n.lookup(name); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	want("before the pod", "NXDOMAIN")
	n.server.SetPod(p)
	n.server.SetPod(p)
	want("the pod", "10.42.0.9")
	done := p.DeepCopy()
	done.Status.Phase = corev1.PodSucceeded
	n.server.SetPod(done)
	want("a pod that ended", "NXDOMAIN")
	n.server.SetPod(p)
	n.server.RemovePod(p.UID)
	want("a pod that is gone", "NXDOMAIN")
	n.server.SetPod(p)
	n.server.KeepPods(nil)
	want("a pod that is not in the list", "NXDOMAIN")
}

// Before all of the API has been read, the cluster's names fail, as they are not known not
// to exist; others are answered. When the API is gone, names go on resolving.
func TestWithoutAPI(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	resolvConf := upstream(t, func(m *dns.Msg) {
		rr, _ := dns.NewRR(m.Question[0].Name + " 60 IN A 192.0.2.1")
		m.Answer = []dns.RR{rr}
	})
	asked := make(chan struct{}, 1000)
	n := start(t, func(cfg *hwdns.Config, c *fake.Clientset) {
		cfg.ResolvConf = resolvConf
		_ = c.Tracker().Add(service("web", "10.43.0.1"))
		refuse := func(clienttesting.Action) (bool, apiruntime.Object, error) {
			if !down.Load() {
				return false, nil, nil
			}
			select {
			case asked <- struct{}{}:
			default:
			}
			return true, nil, errors.New("the API is down")
		}
		c.PrependReactor("list", "endpointslices", refuse)
	})
	<-asked
	n.becomes("www.example.", "192.0.2.1")
	n.becomes("web.default.svc.cluster.local.", "SERVFAIL")
	n.becomes("gone.default.svc.cluster.local.", "SERVFAIL")
	down.Store(false)
	n.becomes("web.default.svc.cluster.local.", "10.43.0.1")
	n.becomes("gone.default.svc.cluster.local.", "NXDOMAIN")
}

// Before the settings are known nobody is asked: they may keep names in the house. They are
// known from an earlier run.
func TestSettingsAreKept(t *testing.T) {
	nodes := upstream(t, func(m *dns.Msg) {
		rr, _ := dns.NewRR(m.Question[0].Name + " 3600 IN A 192.0.2.1")
		m.Answer = []dns.RR{rr}
	})
	var down atomic.Bool
	kept := filepath.Join(t.TempDir(), "network", "settings.json")
	asked := make(chan struct{}, 1000)
	run := func() *node {
		return start(t, func(cfg *hwdns.Config, c *fake.Clientset) {
			cfg.ResolvConf, cfg.Kept = nodes, kept
			_ = c.Tracker().Add(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "headway-dns"}, Data: map[string]string{"hosts": "192.0.2.9 printer.office\n"}})
			c.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, apiruntime.Object, error) {
				if !down.Load() {
					return false, nil, nil
				}
				select {
				case asked <- struct{}{}:
				default:
				}
				return true, nil, errors.New("the API is down")
			})
		})
	}
	down.Store(true)
	n := run()
	<-asked
	n.becomes("www.example.", "SERVFAIL")
	down.Store(false)
	n.becomes("www.example.", "192.0.2.1")
	n.becomes("printer.office.", "192.0.2.9")
	n.stop()
	down.Store(true)
	n = run()
	n.becomes("printer.office.", "192.0.2.9")
	n.becomes("www.example.", "192.0.2.1")
	n.stop()
	if err := os.WriteFile(kept, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = run()
	n.becomes("printer.office.", "SERVFAIL")
}

// What clients ask gets the answer that is due.
func TestProtocol(t *testing.T) {
	var asked atomic.Pointer[dns.Msg]
	resolvConf := upstream(t, func(m *dns.Msg) {
		asked.Store(m.Copy())
		name := m.Question[0].Name
		switch strings.ToLower(name) {
		case "www.example.":
			rr, _ := dns.NewRR(name + " 60 IN A 192.0.2.1")
			m.Answer = []dns.RR{rr}
		case "many.example.":
			for i := range 250 {
				rr, _ := dns.NewRR(fmt.Sprintf("%s 60 IN A 192.0.2.%d", name, i))
				m.Answer = append(m.Answer, rr)
			}
		case "broken.example.":
			m.Rcode = dns.RcodeServerFailure
		default:
			m.Rcode = dns.RcodeNameError
		}
	})
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("10.42.1.%d", i))
	}
	external := func(name, target string) *corev1.Service {
		s := service(name, "")
		s.Spec.ClusterIPs, s.Spec.Type, s.Spec.ExternalName = nil, corev1.ServiceTypeExternalName, target
		return s
	}
	n := start(t, func(cfg *hwdns.Config, c *fake.Clientset) {
		cfg.ResolvConf = resolvConf
		for _, obj := range []apiruntime.Object{
			service("web", "10.43.0.1"), service("many", "None"), slice("many-1", "many", many...), service("few", "None"), slice("few-1", "few", many[:40]...),
			external("out", "www.example"), external("nowhere", "none.example"), external("broken", "broken.example"),
		} {
			_ = c.Tracker().Add(obj)
		}
	})
	n.becomes("web.default.svc.cluster.local.", "10.43.0.1")
	edns := func(size uint16) func(*dns.Msg) { return func(m *dns.Msg) { m.SetEdns0(size, false) } }
	for what, test := range map[string]struct {
		network, name string
		qtype         uint16
		edit          func(*dns.Msg)
		check         func(*dns.Msg) bool
	}{
		"authoritative": {"udp", "WEB.default.svc.cluster.local.", dns.TypeA, nil, func(m *dns.Msg) bool {
			return m.Authoritative && m.RecursionAvailable && m.IsEdns0() == nil && m.Question[0].Name == "WEB.default.svc.cluster.local." && m.Answer[0].Header().Ttl == 5
		}},
		"NODATA": {"udp", "web.default.svc.cluster.local.", dns.TypeAAAA, nil, func(m *dns.Msg) bool {
			return m.Rcode == dns.RcodeSuccess && len(m.Answer) == 0 && m.Ns[0].Header().Rrtype == dns.TypeSOA && m.Authoritative
		}},
		"any": {"udp", "web.default.svc.cluster.local.", dns.TypeANY, nil, func(m *dns.Msg) bool {
			return len(m.Answer) == 1 && m.Answer[0].Header().Rrtype == dns.TypeHINFO
		}},
		"a transfer": {"tcp", "cluster.local.", dns.TypeAXFR, nil, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeRefused }},
		"another class": {"udp", "version.bind.", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, func(m *dns.Msg) bool {
			return m.Rcode == dns.RcodeRefused
		}},
		"an update":         {"udp", "cluster.local.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeNotImplemented }},
		"two questions":     {"udp", "a.example.", dns.TypeA, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeFormatError }},
		"a later EDNS":      {"udp", "web.default.svc.cluster.local.", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeBadVers }},
		"small packets":     {"udp", "few.default.svc.cluster.local.", dns.TypeA, nil, func(m *dns.Msg) bool { return m.Truncated && len(m.Answer) > 0 && len(m.Answer) < 40 }},
		"large packets":     {"udp", "few.default.svc.cluster.local.", dns.TypeA, edns(4096), func(m *dns.Msg) bool { return !m.Truncated && len(m.Answer) == 40 && m.IsEdns0() != nil }},
		"larger than those": {"udp", "many.default.svc.cluster.local.", dns.TypeA, edns(4096), func(m *dns.Msg) bool { return m.Truncated && len(m.Answer) > 40 && m.IsEdns0() != nil }},
		"by TCP":            {"tcp", "many.default.svc.cluster.local.", dns.TypeA, nil, func(m *dns.Msg) bool { return !m.Truncated && len(m.Answer) == 200 }},
		"many elsewhere":    {"udp", "many.example.", dns.TypeA, nil, func(m *dns.Msg) bool { return m.Truncated && !m.Authoritative }},
		"by TCP elsewhere":  {"tcp", "many.example.", dns.TypeA, nil, func(m *dns.Msg) bool { return len(m.Answer) == 250 && !m.Truncated }},
		"elsewhere": {"udp", "WWW.example.", dns.TypeA, edns(1232), func(m *dns.Msg) bool {
			return !m.Authoritative && len(m.Answer) == 1 && m.Question[0].Name == "WWW.example." && m.IsEdns0() != nil
		}},
		"none elsewhere":   {"udp", "none.example.", dns.TypeA, nil, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeNameError }},
		"broken elsewhere": {"udp", "broken.example.", dns.TypeA, nil, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeServerFailure }},
		"an external name": {"udp", "out.default.svc.cluster.local.", dns.TypeA, nil, func(m *dns.Msg) bool {
			return m.Rcode == dns.RcodeSuccess && len(m.Answer) == 2 && m.Answer[0].(*dns.CNAME).Target == "www.example." && m.Answer[1].(*dns.A).A.String() == "192.0.2.1"
		}},
		"an external name alone": {"udp", "out.default.svc.cluster.local.", dns.TypeCNAME, nil, func(m *dns.Msg) bool { return len(m.Answer) == 1 }},
		"an external name of nothing": {"udp", "nowhere.default.svc.cluster.local.", dns.TypeA, nil, func(m *dns.Msg) bool {
			return m.Rcode == dns.RcodeNameError && len(m.Answer) == 1
		}},
		"an external name that fails": {"udp", "broken.default.svc.cluster.local.", dns.TypeA, nil, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeServerFailure }},
	} {
		m, err := n.exchange(test.network, test.name, test.qtype, test.edit)
		if err != nil || !test.check(m) {
			t.Errorf("%s: %v, %v", what, m, err)
		}
	}
	// What is not known of the cluster is asked of nobody else.
	asked.Store(nil)
	for _, name := range []string{"secret.default.svc.cluster.local.", "www.example.com.cluster.local.", "9.0.43.10.in-addr.arpa."} {
		if m, err := n.exchange("udp", name, dns.TypePTR, nil); err != nil || m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	if m := asked.Load(); m != nil {
		t.Errorf("others were asked for %s", m.Question[0].Name)
	}
	families, err := n.server.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(families)
	for _, want := range []string{"headway_dns_queries_total", "headway_dns_query_duration_seconds", "headway_dns_cache_hits_total", `value:"NXDOMAIN"`, `value:"cluster"`, `value:"forward"`} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

// The settings change what is asked of whom, and what is not asked of anybody; errors in
// them change nothing, and are told. The cluster's names stay its own.
func TestSettings(t *testing.T) {
	answer := func(ip string) func(*dns.Msg) {
		return func(m *dns.Msg) {
			if m.Question[0].Qtype == dns.TypeA {
				rr, _ := dns.NewRR(m.Question[0].Name + " 3600 IN A " + ip)
				m.Answer = []dns.RR{rr}
			}
		}
	}
	server := func(ip string) string {
		data, err := os.ReadFile(upstream(t, answer(ip)))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(data))[1]
	}
	corp, other := server("192.0.2.2"), server("192.0.2.3")
	nodes := upstream(t, answer("192.0.2.1"))
	external := service("printer", "")
	external.Spec.ClusterIPs, external.Spec.Type, external.Spec.ExternalName = nil, corev1.ServiceTypeExternalName, "printer.office"
	n := start(t, func(cfg *hwdns.Config, c *fake.Clientset) {
		cfg.ResolvConf = nodes
		_ = c.Tracker().Add(external)
		_ = c.Tracker().Add(service("web", "10.43.0.1"))
	})
	n.becomes("www.corp.example.", "192.0.2.1")
	maps := n.client.CoreV1().ConfigMaps("kube-system")
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "headway-dns"}, Data: map[string]string{
		"stubDomains": `{"corp.example": ["` + corp + `"]}`, "hosts": "192.0.2.9 printer.office\n",
	}}
	if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	update := func(edit func()) {
		t.Helper()
		m = m.DeepCopy()
		edit()
		if _, err := maps.Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	n.becomes("www.corp.example.", "192.0.2.2")
	n.becomes("www.example.", "192.0.2.1")
	n.becomes("Printer.office.", "192.0.2.9")
	n.becomes("printer.default.svc.cluster.local.", "192.0.2.9 printer.office.")
	n.becomes("web.default.svc.cluster.local.", "10.43.0.1")
	if m, err := n.exchange("udp", "9.2.0.192.in-addr.arpa.", dns.TypePTR, nil); err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.PTR).Ptr != "printer.office." {
		t.Errorf("the name of a host: %v, %v", m, err)
	}
	if m, err := n.exchange("udp", "printer.office.", dns.TypeAAAA, nil); err != nil || len(m.Answer) != 0 || m.Rcode != dns.RcodeSuccess {
		t.Errorf("another type of a host: %v, %v", m, err)
	}
	update(func() { m.Data["hosts"], m.Data["upstreamNameservers"] = "x y", `["`+other+`"]` })
	if got, want := <-n.warnings, `headway-dns: InvalidDNSSettings: The settings stay as they were: hosts: line 1: "x" is not an address`; got != want {
		t.Errorf("warning %q, want %q", got, want)
	}
	n.becomes("www.corp.example.", "192.0.2.2")
	n.becomes("printer.office.", "192.0.2.9")
	n.becomes("www.example.", "192.0.2.1")
	update(func() { delete(m.Data, "hosts") })
	n.becomes("www.example.", "192.0.2.3")
	n.becomes("www.corp.example.", "192.0.2.2")
	n.becomes("printer.office.", "192.0.2.3")
	if err := maps.Delete(t.Context(), m.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.becomes("www.corp.example.", "192.0.2.1")
}

// Who is not among the clients is refused.
func TestClients(t *testing.T) {
	for clients, want := range map[string]string{"127.0.0.0/8": "10.43.0.1", "10.42.0.0/16": "REFUSED"} {
		n := start(t, func(cfg *hwdns.Config, c *fake.Clientset) {
			cfg.Clients = []netip.Prefix{netip.MustParsePrefix(clients)}
			_ = c.Tracker().Add(service("web", "10.43.0.1"))
		})
		n.becomes("web.default.svc.cluster.local.", want)
	}
}

// A client that opens connections and asks nothing keeps others from nothing, and the
// server ends while they are open.
func TestConnections(t *testing.T) {
	n := start(t, func(_ *hwdns.Config, c *fake.Clientset) { _ = c.Tracker().Add(service("web", "10.43.0.1")) })
	n.becomes("web.default.svc.cluster.local.", "10.43.0.1")
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: local().AsSlice()}}
	for range 150 {
		conn, err := dialer.DialContext(t.Context(), "tcp", n.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	if m, err := n.exchange("tcp", "web.default.svc.cluster.local.", dns.TypeA, nil); err != nil || len(m.Answer) != 1 {
		t.Errorf("another client: %v, %v", m, err)
	}
	n.stop()
}

// A server whose address is taken or missing says so, and serves as soon as it can.
func TestAddressIsTaken(t *testing.T) {
	var taken net.PacketConn
	var held atomic.Bool
	n := start(t, func(cfg *hwdns.Config, c *fake.Clientset) {
		_ = c.Tracker().Add(service("web", "10.43.0.1"))
		var err error
		if taken, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", cfg.Address.String()); err != nil {
			t.Fatal(err)
		}
		cfg.Hold = func() error {
			if !held.Swap(true) {
				return errors.New("no link")
			}
			return nil
		}
	})
	for _, want := range []string{"NamesNotServed: Pods cannot resolve names: no link", "address already in use"} {
		if got := <-n.warnings; !strings.Contains(got, want) {
			t.Errorf("warning %q, want %q", got, want)
		}
	}
	_ = taken.Close()
	n.becomes("web.default.svc.cluster.local.", "10.43.0.1")
}
