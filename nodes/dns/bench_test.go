package dns_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	hwdns "headway.dev/nodes/dns"
	"headway.dev/nodes/known"
)

const benchServices = 1000

// BenchmarkNames measures questions by UDP of eight clients at once, for 1,000 names that
// the server has itself and for one that it has in its cache from another server, and
// the same of dnsmasq. They share the machine with the clients and each other.
func BenchmarkNames(b *testing.B) {
	resolvConf := benchUpstream(b)
	servers := map[string]string{"headway": benchHeadway(b, resolvConf), "dnsmasq": benchDnsmasq(b, resolvConf)}
	var own []string
	for i := range benchServices {
		own = append(own, fmt.Sprintf("web-%d.default.svc.cluster.local.", i))
	}
	for _, what := range []struct {
		name  string
		names []string
	}{{"own", own}, {"cached", []string{"www.example."}}} {
		for _, server := range []string{"headway", "dnsmasq"} {
			b.Run(what.name+"/"+server, func(b *testing.B) { benchQueries(b, servers[server], what.names) })
		}
	}
}

func benchQueries(b *testing.B, server string, names []string) {
	b.Helper()
	var packets [][]byte
	for _, name := range names {
		wire, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			b.Fatal(err)
		}
		packets = append(packets, wire)
	}
	var mu sync.Mutex
	var all []time.Duration
	b.SetParallelism(4) // of two processors
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("udp", server) //nolint:noctx // it sends nothing
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		buf := make([]byte, 2048)
		var took []time.Duration
		for i := 0; pb.Next(); i++ {
			began := time.Now()
			_ = conn.SetDeadline(began.Add(10 * time.Second))
			if _, err := conn.Write(packets[i%len(packets)]); err != nil {
				b.Error(err)
				return
			}
			n, err := conn.Read(buf)
			if err != nil || n < 12 || buf[3]&0xf != 0 || buf[7] == 0 {
				b.Errorf("answer of %d bytes: %v", n, err)
				return
			}
			took = append(took, time.Since(began))
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, took...)
	})
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "queries/s")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	}
}

func benchUpstream(b *testing.B) string {
	b.Helper()
	at := netip.AddrPortFrom(local(), 53)
	started := make(chan struct{})
	s := &dns.Server{Addr: at.String(), Net: "udp", NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		rr, _ := dns.NewRR(m.Question[0].Name + " 3600 IN A 192.0.2.1")
		m.Answer = []dns.RR{rr}
		_ = w.WriteMsg(m)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.ListenAndServe() })
	<-started
	b.Cleanup(func() { _ = s.Shutdown(); wg.Wait() })
	file := filepath.Join(b.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver "+at.Addr().String()+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

func benchHeadway(b *testing.B, resolvConf string) string {
	b.Helper()
	client := fake.NewClientset()
	for i := range benchServices {
		_ = client.Tracker().Add(service(fmt.Sprint("web-", i), fmt.Sprintf("10.43.%d.%d", i/250, i%250)))
	}
	at := netip.AddrPortFrom(local(), 53)
	cluster := known.Open(known.Config{Client: client, Log: slog.New(slog.DiscardHandler)})
	s := hwdns.New(hwdns.Config{Cluster: cluster, Address: at, Domain: "cluster.local", Client: client, ResolvConf: resolvConf, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = cluster.Run(ctx) })
	wg.Go(func() { _ = s.Run(ctx) })
	b.Cleanup(func() { cancel(); wg.Wait() })
	benchAnswers(b, at.String())
	return at.String()
}

func benchDnsmasq(b *testing.B, resolvConf string) string {
	b.Helper()
	var hosts strings.Builder
	for i := range benchServices {
		fmt.Fprintf(&hosts, "10.43.%d.%d web-%d.default.svc.cluster.local\n", i/250, i%250, i)
	}
	file := filepath.Join(b.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte(hosts.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	program, err := exec.LookPath("dnsmasq")
	if err != nil {
		b.Fatalf("%v: scripts/deps bench installs it", err)
	}
	at := netip.AddrPortFrom(local(), 53)
	cmd := exec.Command(program, "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-hosts", "--addn-hosts="+file, "--resolv-file="+resolvConf, //nolint:noctx // ended below
		"--bind-interfaces", "--listen-address="+at.Addr().String(), "--cache-size=10000", "--pid-file")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	benchAnswers(b, at.String())
	return at.String()
}

// benchAnswers waits until a server has all names.
func benchAnswers(b *testing.B, server string) {
	b.Helper()
	client := dns.Client{Timeout: time.Second}
	for end := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		m, _, err := client.ExchangeContext(b.Context(), new(dns.Msg).SetQuestion(fmt.Sprintf("web-%d.default.svc.cluster.local.", benchServices-1), dns.TypeA), server)
		if err == nil && len(m.Answer) == 1 {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("no answer from %s: %v, %v", server, m, err)
		}
	}
}

// BenchmarkEndpointChange measures the time from an endpoint's change in the API to the
// first answer with it, among 1,000 headless Services. The API is a fake in the process.
func BenchmarkEndpointChange(b *testing.B) {
	client := fake.NewClientset()
	for i := range benchServices {
		_ = client.Tracker().Add(service(fmt.Sprint("web-", i), "None"))
		_ = client.Tracker().Add(slice(fmt.Sprint("web-", i), fmt.Sprint("web-", i), "10.42.0.1"))
	}
	at := netip.AddrPortFrom(local(), 53)
	cluster := known.Open(known.Config{Client: client, Log: slog.New(slog.DiscardHandler)})
	s := hwdns.New(hwdns.Config{Cluster: cluster, Address: at, Domain: "cluster.local", Client: client, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = cluster.Run(ctx) })
	wg.Go(func() { _ = s.Run(ctx) })
	b.Cleanup(func() { cancel(); wg.Wait() })
	benchAnswers(b, at.String())
	ask := dns.Client{Timeout: time.Second}
	for i := 0; b.Loop(); i++ {
		ip := fmt.Sprintf("10.42.%d.%d", 1+i/250%250, i%250)
		if _, err := client.DiscoveryV1().EndpointSlices("default").Update(ctx, slice("web-7", "web-7", ip), metav1.UpdateOptions{}); err != nil {
			b.Fatal(err)
		}
		for {
			m, _, err := ask.ExchangeContext(ctx, new(dns.Msg).SetQuestion("web-7.default.svc.cluster.local.", dns.TypeA), at.String())
			if err == nil && len(m.Answer) == 1 && m.Answer[0].(*dns.A).A.String() == ip {
				break
			}
		}
	}
}
