package records_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/dns/records"
)

func newZone() *records.Zone {
	return records.NewZone(records.Config{
		Domain: "Cluster.local", Server: netip.MustParseAddr("169.254.53.53"),
		Ranges: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("10.8.0.0/14"), netip.MustParsePrefix("fd00::/48"), {}},
	})
}

func service(name string, edit func(*corev1.ServiceSpec), ips ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIPs: ips}}
	s.Spec.ClusterIP = ips[0]
	if edit != nil {
		edit(&s.Spec)
	}
	return s
}

func ports(list ...string) []corev1.ServicePort {
	var out []corev1.ServicePort
	for _, text := range list {
		var p corev1.ServicePort
		var proto string
		if _, err := fmt.Sscanf(text, "%s %s %d", &p.Name, &proto, &p.Port); err != nil {
			panic(err)
		}
		p.Protocol = corev1.Protocol(proto)
		if p.Name == "-" {
			p.Name = ""
		}
		out = append(out, p)
	}
	return out
}

// slice has endpoints of "address[ host][ unready][ pod]".
func slice(svc, name string, of []corev1.ServicePort, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, p := range of {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(p.Port), Protocol: new(p.Protocol)})
	}
	for _, text := range endpoints {
		fields := strings.Fields(text)
		e := discoveryv1.Endpoint{Addresses: fields[:1]}
		for _, f := range fields[1:] {
			switch f {
			case "unready":
				e.Conditions.Ready = new(false)
			case "pod":
				e.TargetRef = &corev1.ObjectReference{Kind: "Pod"}
			default:
				e.Hostname = new(f)
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func cluster() *records.Zone {
	z := newZone()
	web := ports("https TCP 443", "dns UDP 53", "- TCP 80")
	z.SetService(service("kubernetes", func(s *corev1.ServiceSpec) { s.Ports = web }, "10.43.0.1"))
	z.SetService(service("dual", func(s *corev1.ServiceSpec) { s.Ports = ports("a SCTP 1") }, "10.43.0.2", "fd00::2"))
	z.SetService(service("six", nil, "fd00::6"))
	z.SetService(service("headless", nil, "None"))
	z.SetSlice(slice("headless", "headless-a", ports("https TCP 8443"), "10.9.0.1 my-pet", "10.9.0.2 my-pet", "10.9.0.3", "10.9.0.4 late unready"))
	z.SetSlice(slice("headless", "headless-b", ports("https TCP 9443", "metrics TCP 9000"), "10.9.0.5", "10.9.0.3"))
	v6 := slice("headless", "headless-6", nil, "fd00::5 my-pet")
	v6.AddressType = discoveryv1.AddressTypeIPv6
	z.SetSlice(v6)
	names := slice("headless", "headless-names", nil, "example.com")
	names.AddressType = discoveryv1.AddressTypeFQDN
	z.SetSlice(names)
	z.SetService(service("none", nil, "None"))
	z.SetSlice(slice("none", "none-a", ports("http TCP 80"), "10.9.1.1 db-0 unready"))
	z.SetService(service("early", func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = true }, "None"))
	z.SetSlice(slice("early", "early-a", nil, "10.9.1.2 db-0 unready"))
	z.SetService(service("outside", nil, "None")) // without a selector
	z.SetSlice(slice("outside", "by-hand", nil, "192.0.2.7 printer"))
	z.SetSlice(slice("kubernetes", "kubernetes", nil, "10.9.2.1 api", "10.9.2.2 pod"))
	external := func(name string) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = corev1.ServiceTypeExternalName, name }
	}
	z.SetService(service("foo", external("www.Example.com"), ""))
	z.SetService(service("alias", external("kubernetes.default.svc.cluster.local"), ""))
	z.SetService(service("dangling", external("gone.default.svc.cluster.local."), ""))
	z.SetService(service("tick", external("tock.default.svc.cluster.local"), ""))
	z.SetService(service("tock", external("tick.default.svc.cluster.local"), ""))
	z.AddPod("jobs", netip.MustParseAddr("10.9.3.1"), 1)
	z.AddPod("jobs", netip.MustParseAddr("fd00::31"), 1)
	return z
}

// text is an answer: its code if that is an error, its records sorted, those of the
// additional section with +, the owner of the SOA record with "soa ".
func text(a records.Answer) []string {
	var out []string
	if a.Rcode != dns.RcodeSuccess {
		out = append(out, dns.RcodeToString[a.Rcode])
	}
	add := func(prefix string, list []dns.RR) {
		var lines []string
		for _, rr := range list {
			line := strings.Join(strings.Fields(rr.String()), " ")
			if soa, ok := rr.(*dns.SOA); ok && prefix == "soa " {
				line = soa.Hdr.Name
			}
			lines = append(lines, prefix+strings.Replace(line, " 5 IN ", " ", 1))
		}
		slices.Sort(lines)
		out = append(out, lines...)
	}
	add("", a.Answer)
	add("+", a.Extra)
	add("soa ", a.Ns)
	if a.Target != "" {
		out = append(out, "on to "+a.Target)
	}
	return out
}

// The records of the specification's sections, and what must not exist.
func TestSpecification(t *testing.T) {
	const soa = "soa cluster.local."
	nx, nodata := []string{"NXDOMAIN", soa}, []string{soa}
	z := cluster()
	for _, test := range []struct {
		name string
		typ  string
		want []string
	}{
		// 2.2
		{"dns-version.cluster.local.", "TXT", []string{`dns-version.cluster.local. TXT "1.1.0"`}},
		{"dns-version.cluster.local.", "A", nodata},
		{"x.dns-version.cluster.local.", "TXT", nx},
		// 2.3
		{"kubernetes.default.svc.cluster.local.", "A", []string{"kubernetes.default.svc.cluster.local. A 10.43.0.1"}},
		{"Kubernetes.DEFAULT.svc.cluster.LOCAL.", "A", []string{"Kubernetes.DEFAULT.svc.cluster.LOCAL. A 10.43.0.1"}},
		{"kubernetes.default.svc.cluster.local.", "AAAA", nodata},
		{"kubernetes.default.svc.cluster.local.", "MX", nodata},
		{"dual.default.svc.cluster.local.", "A", []string{"dual.default.svc.cluster.local. A 10.43.0.2"}},
		{"dual.default.svc.cluster.local.", "AAAA", []string{"dual.default.svc.cluster.local. AAAA fd00::2"}},
		{"six.default.svc.cluster.local.", "A", nodata},
		{"gone.default.svc.cluster.local.", "A", nx},
		{"kubernetes.other.svc.cluster.local.", "A", nx},
		{"*.default.svc.cluster.local.", "A", nx},
		{"kubernetes.*.svc.cluster.local.", "A", nx},
		{"*.*.kubernetes.default.svc.cluster.local.", "SRV", nx},
		{"any.any.kubernetes.default.svc.cluster.local.", "SRV", nx},
		{"_https._tcp.kubernetes.default.svc.cluster.local.", "SRV", []string{
			"_https._tcp.kubernetes.default.svc.cluster.local. SRV 0 100 443 kubernetes.default.svc.cluster.local.", "+kubernetes.default.svc.cluster.local. A 10.43.0.1",
		}},
		{"_DNS._UDP.kubernetes.default.svc.cluster.local.", "SRV", []string{
			"_DNS._UDP.kubernetes.default.svc.cluster.local. SRV 0 100 53 kubernetes.default.svc.cluster.local.", "+kubernetes.default.svc.cluster.local. A 10.43.0.1",
		}},
		{"_a._sctp.dual.default.svc.cluster.local.", "SRV", []string{
			"_a._sctp.dual.default.svc.cluster.local. SRV 0 100 1 dual.default.svc.cluster.local.",
			"+dual.default.svc.cluster.local. A 10.43.0.2", "+dual.default.svc.cluster.local. AAAA fd00::2",
		}},
		{"_https._udp.kubernetes.default.svc.cluster.local.", "SRV", nx},
		{"_._tcp.kubernetes.default.svc.cluster.local.", "SRV", nx}, // unnamed ports have none
		{"_https._tcp.kubernetes.default.svc.cluster.local.", "A", nodata},
		{"_tcp.kubernetes.default.svc.cluster.local.", "A", nodata},
		{"_sctp.kubernetes.default.svc.cluster.local.", "A", nx},
		{"1.0.43.10.in-addr.arpa.", "PTR", []string{"1.0.43.10.in-addr.arpa. PTR kubernetes.default.svc.cluster.local."}},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.F.IP6.arpa.", "PTR", []string{
			"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.F.IP6.arpa. PTR dual.default.svc.cluster.local.",
		}},
		{"9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR", []string{"NXDOMAIN", "soa 0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa."}},
		{"99.0.43.10.in-addr.arpa.", "PTR", []string{"NXDOMAIN", "soa 43.10.in-addr.arpa."}},
		{"1.0.43.10.in-addr.arpa.", "A", []string{"soa 43.10.in-addr.arpa."}},
		{"43.10.in-addr.arpa.", "SOA", []string{"soa 43.10.in-addr.arpa."}},
		{"lb._dns-sd._udp.0.0.43.10.in-addr.arpa.", "PTR", []string{"NXDOMAIN", "soa 43.10.in-addr.arpa."}},
		{"77.0.11.10.in-addr.arpa.", "PTR", []string{"NXDOMAIN", "soa 11.10.in-addr.arpa."}}, // of a /14
		// 2.4
		{"headless.default.svc.cluster.local.", "A", []string{
			"headless.default.svc.cluster.local. A 10.9.0.1", "headless.default.svc.cluster.local. A 10.9.0.2",
			"headless.default.svc.cluster.local. A 10.9.0.3", "headless.default.svc.cluster.local. A 10.9.0.5",
		}},
		{"headless.default.svc.cluster.local.", "AAAA", []string{"headless.default.svc.cluster.local. AAAA fd00::5"}},
		{"none.default.svc.cluster.local.", "A", nx},
		{"db-0.none.default.svc.cluster.local.", "A", nx},
		{"_http._tcp.none.default.svc.cluster.local.", "SRV", nx},
		{"early.default.svc.cluster.local.", "A", []string{"early.default.svc.cluster.local. A 10.9.1.2"}},
		{"db-0.early.default.svc.cluster.local.", "A", []string{"db-0.early.default.svc.cluster.local. A 10.9.1.2"}},
		{"outside.default.svc.cluster.local.", "A", []string{"outside.default.svc.cluster.local. A 192.0.2.7"}},
		{"my-pet.headless.default.svc.cluster.local.", "A", []string{
			"my-pet.headless.default.svc.cluster.local. A 10.9.0.1", "my-pet.headless.default.svc.cluster.local. A 10.9.0.2",
		}},
		{"10-9-0-3.headless.default.svc.cluster.local.", "A", []string{"10-9-0-3.headless.default.svc.cluster.local. A 10.9.0.3"}},
		{"10-9-0-1.headless.default.svc.cluster.local.", "A", nx}, // it has a name
		{"late.headless.default.svc.cluster.local.", "A", nx},
		{"x.my-pet.headless.default.svc.cluster.local.", "A", nx},
		{"api.kubernetes.default.svc.cluster.local.", "A", []string{"api.kubernetes.default.svc.cluster.local. A 10.9.2.1"}},
		{"10-9-2-2.kubernetes.default.svc.cluster.local.", "A", nx},
		{"_https._tcp.headless.default.svc.cluster.local.", "SRV", []string{
			"_https._tcp.headless.default.svc.cluster.local. SRV 0 100 8443 10-9-0-3.headless.default.svc.cluster.local.",
			"_https._tcp.headless.default.svc.cluster.local. SRV 0 100 8443 my-pet.headless.default.svc.cluster.local.",
			"_https._tcp.headless.default.svc.cluster.local. SRV 0 100 9443 10-9-0-3.headless.default.svc.cluster.local.",
			"_https._tcp.headless.default.svc.cluster.local. SRV 0 100 9443 10-9-0-5.headless.default.svc.cluster.local.",
			"+10-9-0-3.headless.default.svc.cluster.local. A 10.9.0.3", "+10-9-0-5.headless.default.svc.cluster.local. A 10.9.0.5",
			"+my-pet.headless.default.svc.cluster.local. A 10.9.0.1", "+my-pet.headless.default.svc.cluster.local. A 10.9.0.2",
		}},
		{"_tcp.headless.default.svc.cluster.local.", "SRV", nodata},
		{"_metrics._tcp.headless.default.svc.cluster.local.", "A", nodata},
		{"1.0.9.10.in-addr.arpa.", "PTR", []string{"1.0.9.10.in-addr.arpa. PTR my-pet.headless.default.svc.cluster.local."}},
		{"3.0.9.10.in-addr.arpa.", "PTR", []string{"3.0.9.10.in-addr.arpa. PTR 10-9-0-3.headless.default.svc.cluster.local."}},
		{"4.0.9.10.in-addr.arpa.", "PTR", []string{"NXDOMAIN", "soa 9.10.in-addr.arpa."}}, // not ready
		{"1.2.9.10.in-addr.arpa.", "PTR", []string{"NXDOMAIN", "soa 9.10.in-addr.arpa."}}, // not headless
		{"7.2.0.192.in-addr.arpa.", "PTR", []string{"7.2.0.192.in-addr.arpa. PTR printer.outside.default.svc.cluster.local."}},
		// 2.5
		{"foo.default.svc.cluster.local.", "CNAME", []string{"foo.default.svc.cluster.local. CNAME www.Example.com."}},
		{"foo.default.svc.cluster.local.", "A", []string{"foo.default.svc.cluster.local. CNAME www.Example.com.", "on to www.Example.com."}},
		{"_p._tcp.foo.default.svc.cluster.local.", "SRV", nx},
		{"alias.default.svc.cluster.local.", "A", []string{"alias.default.svc.cluster.local. CNAME kubernetes.default.svc.cluster.local.", "kubernetes.default.svc.cluster.local. A 10.43.0.1"}},
		{"alias.default.svc.cluster.local.", "AAAA", []string{"alias.default.svc.cluster.local. CNAME kubernetes.default.svc.cluster.local.", soa}},
		{"dangling.default.svc.cluster.local.", "A", []string{"NXDOMAIN", "dangling.default.svc.cluster.local. CNAME gone.default.svc.cluster.local.", soa}},
		{"tick.default.svc.cluster.local.", "A", []string{"SERVFAIL"}},
		// 2.6, for pods that are there
		{"10-9-3-1.jobs.pod.cluster.local.", "A", []string{"10-9-3-1.jobs.pod.cluster.local. A 10.9.3.1"}},
		{"fd00--31.jobs.pod.cluster.local.", "AAAA", []string{"fd00--31.jobs.pod.cluster.local. AAAA fd00::31"}},
		{"10-9-2-2.default.pod.cluster.local.", "A", []string{"10-9-2-2.default.pod.cluster.local. A 10.9.2.2"}},
		{"10-9-3-1.default.pod.cluster.local.", "A", nx},
		{"10-9-3-9.jobs.pod.cluster.local.", "A", nx},
		{"jobs.pod.cluster.local.", "A", nodata},
		{"none.pod.cluster.local.", "A", nx},
		// What is above others exists, without records.
		{"default.svc.cluster.local.", "A", nodata},
		{"other.svc.cluster.local.", "A", nx},
		{"svc.cluster.local.", "A", nodata},
		{"pod.cluster.local.", "A", nodata},
		{"cluster.local.", "A", nodata},
		{"cluster.local.", "NS", []string{"cluster.local. NS ns.dns.cluster.local.", "+ns.dns.cluster.local. A 169.254.53.53"}},
		{"cluster.local.", "SOA", []string{"cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"}},
		{"example.com.cluster.local.", "A", nx},
	} {
		a, ours := z.Lookup(test.name, dns.StringToType[test.typ])
		if !ours {
			t.Errorf("%s %s: not the cluster's", test.name, test.typ)
			continue
		}
		if diff := cmp.Diff(test.want, text(a)); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.name, test.typ, diff)
		}
	}
	for _, name := range []string{"example.com.", "local.", ".", "xcluster.local.", "10.in-addr.arpa.", "in-addr.arpa.", "1.2.0.192.in-addr.arpa.", "x.in-addr.arpa."} {
		if _, ours := z.Lookup(name, dns.TypePTR); ours {
			t.Errorf("%s is the cluster's", name)
		}
	}
}

// What goes takes its names along, whatever the order; nothing of it is kept.
func TestChanges(t *testing.T) {
	z := newZone()
	lookup := func(name string) string {
		a, _ := z.Lookup(name, dns.TypeA)
		return strings.Join(text(a), "; ")
	}
	const name, nx = "web.default.svc.cluster.local.", "NXDOMAIN; soa cluster.local."
	want := func(what, name, want string) {
		t.Helper()
		if got := lookup(name); got != want {
			t.Errorf("%s: %s = %q, want %q", what, name, got, want)
		}
	}
	ptr := func(what, name string, count int) {
		t.Helper()
		if a, _ := z.Lookup(name, dns.TypePTR); len(a.Answer) != count {
			t.Errorf("%s: %s has %d names, want %d", what, name, len(a.Answer), count)
		}
	}
	z.SetSlice(slice("web", "web-a", nil, "10.9.0.1 pod"))
	want("a slice without its Service", name, nx)
	want("its pod", "10-9-0-1.default.pod.cluster.local.", "10-9-0-1.default.pod.cluster.local. A 10.9.0.1")
	z.SetService(service("web", nil, "None"))
	want("headless", name, name+" A 10.9.0.1")
	z.SetSlice(slice("web", "web-a", nil, "10.9.0.2 pod"))
	want("another endpoint", name, name+" A 10.9.0.2")
	want("the pod before", "10-9-0-1.default.pod.cluster.local.", nx)
	ptr("the endpoint before", "1.0.9.10.in-addr.arpa.", 0)
	ptr("the endpoint", "2.0.9.10.in-addr.arpa.", 1)
	z.SetService(service("web", nil, "10.43.0.9"))
	want("a cluster IP", name, name+" A 10.43.0.9")
	ptr("an endpoint of a cluster IP", "2.0.9.10.in-addr.arpa.", 0)
	z.SetService(service("web", nil, "10.43.0.10"))
	ptr("the address before", "9.0.43.10.in-addr.arpa.", 0)
	ptr("the address", "10.0.43.10.in-addr.arpa.", 1)
	moved := slice("api", "web-a", nil, "10.9.0.3 pod")
	z.SetSlice(moved)
	z.SetService(service("web", nil, "None"))
	want("its slice is another's now", name, nx)
	z.DeleteSlice("default", "web-a")
	want("a pod of a slice that is gone", "10-9-0-3.default.pod.cluster.local.", nx)
	z.AddPod("default", netip.MustParseAddr("10.9.0.3"), 1)
	want("told by its node", "10-9-0-3.default.pod.cluster.local.", "10-9-0-3.default.pod.cluster.local. A 10.9.0.3")
	z.AddPod("default", netip.MustParseAddr("10.9.0.3"), -1)
	want("gone there, too", "10-9-0-3.default.pod.cluster.local.", nx)

	z.SetService(service("kept", nil, "10.43.0.11"))
	z.SetSlice(slice("kept", "kept-a", nil, "10.9.0.4 pod"))
	z.SetSlice(slice("web", "web-b", nil, "10.9.0.5 pod"))
	z.KeepServices(func(_, name string) bool { return name == "kept" })
	z.KeepSlices(func(_, name string) bool { return name == "kept-a" })
	want("not in the list", name, nx)
	want("in the list", "kept.default.svc.cluster.local.", "kept.default.svc.cluster.local. A 10.43.0.11")
	want("a pod not in the list", "10-9-0-5.default.pod.cluster.local.", nx)
	z.DeleteService("default", "kept")
	want("a namespace without Services", "default.svc.cluster.local.", nx)
}

func FuzzLookup(f *testing.F) {
	z := cluster()
	for _, name := range []string{"_https._tcp.headless.default.svc.cluster.local.", "1.0.43.10.in-addr.arpa.", "10-9-3-1.jobs.pod.cluster.local.", "..svc.cluster.local.", "f.ip6.arpa."} {
		f.Add(name, dns.TypeA)
	}
	f.Fuzz(func(t *testing.T, name string, qtype uint16) {
		a, ours := z.Lookup(name, qtype)
		if ours && a.Rcode == dns.RcodeSuccess && len(a.Answer) == 0 && len(a.Ns) == 0 {
			t.Errorf("%q: neither an answer nor an SOA record", name)
		}
	})
}

// BenchmarkReverse measures the name of one of 10,000 endpoints of a headless Service.
func BenchmarkReverse(b *testing.B) {
	z := newZone()
	z.SetService(service("large", nil, "None"))
	for i := range 100 {
		endpoints := make([]string, 100)
		for j := range endpoints {
			endpoints[j] = fmt.Sprintf("10.9.%d.%d", i, j)
		}
		z.SetSlice(slice("large", fmt.Sprint("large-", i), nil, endpoints...))
	}
	for b.Loop() {
		if a, _ := z.Lookup("7.42.9.10.in-addr.arpa.", dns.TypePTR); len(a.Answer) != 1 {
			b.Fatal(text(a))
		}
	}
}
