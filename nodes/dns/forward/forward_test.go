package forward_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"headway.dev/nodes/dns/forward"
)

// upstream is a name server that counts what it is asked.
type upstream struct {
	addr     netip.AddrPort
	udp, tcp atomic.Int64
}

// serve runs a name server on UDP and TCP.
func serve(t *testing.T, at netip.AddrPort, handle func(m *dns.Msg, udp bool)) *upstream {
	t.Helper()
	u := &upstream{}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		m.RecursionAvailable = true
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		if udp {
			u.udp.Add(1)
		} else {
			u.tcp.Add(1)
		}
		if opt := r.IsEdns0(); opt != nil {
			m.SetEdns0(opt.UDPSize(), opt.Do())
		}
		if handle(m, udp); m.Id == r.Id {
			_ = w.WriteMsg(m)
		}
	})
	packets, stream := listen(t, at)
	u.addr = packets.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: stream, Handler: handler}} {
		var wg sync.WaitGroup
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); wg.Wait() })
	}
	return u
}

// listen listens by UDP and TCP at one port. Of those that the kernel gives for the one,
// somebody may have the other.
func listen(t *testing.T, at netip.AddrPort) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 10 {
		packets, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		stream, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, stream
		}
		_ = packets.Close()
		if at.Port() != 0 {
			t.Fatal(err)
		}
	}
	t.Fatal("no port is free for both")
	return nil, nil
}

func anywhere() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:0") }

// silent is a server that never answers.
func silent(m *dns.Msg, _ bool) { m.Id++ }

// address answers with an A record for the question.
func address(ip string, ttl int) func(*dns.Msg, bool) {
	return func(m *dns.Msg, _ bool) {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN A %s", m.Question[0].Name, ttl, ip))
		if err != nil {
			panic(err)
		}
		m.Answer = []dns.RR{rr}
	}
}

// none answers that there is none, with the SOA record's times.
func none(rcode, ttl, minimum int) func(*dns.Msg, bool) {
	return func(m *dns.Msg, _ bool) {
		m.Rcode = rcode
		if ttl > 0 {
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: uint32(ttl)}, Ns: "ns.example.", Mbox: "h.example.", Minttl: uint32(minimum)}}
		}
	}
}

func newForwarder(t *testing.T, cfg forward.Config, servers ...*upstream) *forward.Forwarder {
	t.Helper()
	f := forward.New(cfg)
	var list []netip.AddrPort
	for _, s := range servers {
		list = append(list, s.addr)
	}
	f.SetRoutes(nil, list)
	return f
}

func ask(t *testing.T, f *forward.Forwarder, name string) (*dns.Msg, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return f.Ask(ctx, forward.Question{Name: name, Type: dns.TypeA}, netip.MustParseAddr("10.0.0.1"))
}

// answer is the address in the answer, or the code if there is none.
func answer(t *testing.T, f *forward.Forwarder, name string) string {
	t.Helper()
	m, err := ask(t, f, name)
	switch {
	case err != nil:
		return "error: " + err.Error()
	case m.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[m.Rcode]
	case len(m.Answer) == 0:
		return "none"
	}
	return m.Answer[0].(*dns.A).A.String()
}

// Answers are asked for once as long as they may be kept, whatever the case of the name,
// and so is that there is none; what must not be kept is asked for each time.
func TestKept(t *testing.T) {
	for name, test := range map[string]struct {
		handle func(*dns.Msg, bool)
		want   string
		asked  int64
	}{
		"an address":                {address("192.0.2.1", 300), "192.0.2.1", 1},
		"an address without a time": {address("192.0.2.1", 0), "192.0.2.1", 3},
		"no name":                   {none(dns.RcodeNameError, 300, 60), "NXDOMAIN", 1},
		"no record":                 {none(dns.RcodeSuccess, 60, 300), "none", 1},
		"none without an SOA":       {none(dns.RcodeNameError, 0, 0), "NXDOMAIN", 3},
		"none for no time":          {none(dns.RcodeNameError, 300, 0), "NXDOMAIN", 3},
		"a failure":                 {none(dns.RcodeServerFailure, 300, 60), "SERVFAIL", 3},
		"a failure for once":        {none(dns.RcodeRefused, 0, 0), "REFUSED", 3},
	} {
		t.Run(name, func(t *testing.T) {
			u := serve(t, anywhere(), test.handle)
			f := newForwarder(t, forward.Config{}, u)
			for _, name := range []string{"www.example.", "WWW.example.", "www.EXAMPLE."} {
				if got := answer(t, f, name); got != test.want {
					t.Errorf("%s = %s, want %s", name, got, test.want)
				}
			}
			if got := u.udp.Load(); got != test.asked {
				t.Errorf("asked %d times, want %d", got, test.asked)
			}
			if hits := f.Stats.Hits.Load(); hits != 3-test.asked {
				t.Errorf("%d hits of the cache, want %d", hits, 3-test.asked)
			}
		})
	}
}

// An answer that does not fit into a packet is asked for by TCP, and comes whole.
func TestTruncated(t *testing.T) {
	u := serve(t, anywhere(), func(m *dns.Msg, udp bool) {
		for i := range 200 {
			rr, _ := dns.NewRR(fmt.Sprintf("%s 60 IN A 192.0.2.%d", m.Question[0].Name, i))
			m.Answer = append(m.Answer, rr)
		}
		if udp {
			m.Truncate(512)
		}
	})
	f := newForwarder(t, forward.Config{}, u)
	for range 2 {
		m, err := ask(t, f, "many.example.")
		if err != nil || len(m.Answer) != 200 || m.Truncated {
			t.Fatalf("answer: %v, %v", m, err)
		}
	}
	if udp, tcp := u.udp.Load(), u.tcp.Load(); udp != 1 || tcp != 1 {
		t.Errorf("asked %d times by UDP and %d by TCP, want 1 and 1", udp, tcp)
	}
}

// Where TCP does not get through, the answer is what came by UDP, and says that it is cut.
func TestTruncatedWithoutTCP(t *testing.T) {
	u := serve(t, anywhere(), func(m *dns.Msg, udp bool) {
		if !udp {
			m.Id++
			return
		}
		address("192.0.2.1", 60)(m, udp)
		m.Truncated = true
	})
	f := newForwarder(t, forward.Config{}, u)
	for range 2 { // it is not kept
		m, err := ask(t, f, "many.example.")
		if err != nil || len(m.Answer) != 1 || !m.Truncated {
			t.Fatalf("answer: %v, %v", m, err)
		}
	}
	if udp := u.udp.Load(); udp != 2 {
		t.Errorf("asked %d times, want 2", udp)
	}
}

// Servers are asked in order. One that does not answer is asked after the others from
// then on; one that fails has the others asked, and its failure is told if all do.
func TestServersThatFail(t *testing.T) {
	dead := serve(t, anywhere(), silent)
	failing := serve(t, anywhere(), none(dns.RcodeServerFailure, 0, 0))
	lying := serve(t, anywhere(), func(m *dns.Msg, _ bool) { m.Question[0].Name = "other.example." })
	works := serve(t, anywhere(), address("192.0.2.1", 60))
	f := newForwarder(t, forward.Config{Attempt: 300 * time.Millisecond, Total: time.Minute}, dead, lying, failing, works)
	for _, name := range []string{"a.example.", "b.example.", "c.example."} {
		if got := answer(t, f, name); got != "192.0.2.1" {
			t.Errorf("%s = %s", name, got)
		}
	}
	if got := dead.udp.Load(); got != 1 {
		t.Errorf("the server that is dead was asked %d times, want once", got)
	}
	if got := failing.udp.Load(); got != 3 {
		t.Errorf("the server that fails was asked %d times, want 3", got)
	}
	f = newForwarder(t, forward.Config{Attempt: 100 * time.Millisecond, Total: time.Minute}, dead, failing)
	if got := answer(t, f, "a.example."); got != "SERVFAIL" {
		t.Errorf("without one that works: %s", got)
	}
	f = newForwarder(t, forward.Config{Attempt: 100 * time.Millisecond, Total: time.Minute}, dead)
	if _, err := ask(t, f, "a.example."); err == nil {
		t.Error("an answer from nobody")
	}
	if _, err := ask(t, newForwarder(t, forward.Config{}), "a.example."); !errors.Is(err, forward.ErrNoServers) {
		t.Errorf("without servers: %v", err)
	}
}

// A server that knows nothing of EDNS is asked without.
func TestOldServer(t *testing.T) {
	u := serve(t, anywhere(), func(m *dns.Msg, _ bool) {
		if m.IsEdns0() != nil {
			m.Extra, m.Rcode = nil, dns.RcodeFormatError
			return
		}
		address("192.0.2.1", 60)(m, true)
	})
	if got := answer(t, newForwarder(t, forward.Config{}, u), "www.example."); got != "192.0.2.1" {
		t.Errorf("answer: %s", got)
	}
}

// Who asks the same at once shares one question; one client cannot keep the others
// from asking.
func TestParallel(t *testing.T) {
	blocked, other := make(chan struct{}), make(chan struct{})
	release, came := sync.OnceFunc(func() { close(blocked) }), sync.OnceFunc(func() { close(other) })
	u := serve(t, anywhere(), func(m *dns.Msg, _ bool) {
		if m.Question[0].Name == "other.example." {
			came()
		}
		<-blocked
		address("192.0.2.1", 60)(m, true)
	})
	t.Cleanup(release) // before the server ends
	f := newForwarder(t, forward.Config{Attempt: time.Minute, Parallel: 99, PerClient: 49}, u)
	var wg sync.WaitGroup
	for range 49 {
		wg.Go(func() {
			if got := answer(t, f, "same.example."); got != "192.0.2.1" {
				t.Errorf("answer: %s", got)
			}
		})
	}
	eventually(t, "all ask", func() bool { return f.Stats.Misses.Load() == 49 })
	eventually(t, "a client has too many", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := f.Ask(ctx, forward.Question{Name: "more.example.", Type: dns.TypeA}, netip.MustParseAddr("10.0.0.1"))
		return errors.Is(err, forward.ErrBusy)
	})
	wg.Go(func() {
		_, err := f.Ask(t.Context(), forward.Question{Name: "other.example.", Type: dns.TypeA}, netip.MustParseAddr("10.0.0.2"))
		if err != nil {
			t.Errorf("another client: %v", err)
		}
	})
	<-other
	// Of the 49 that are left a third client gets 25, and a fourth still some.
	var refused atomic.Int64
	for range 40 {
		wg.Go(func() {
			_, err := f.Ask(t.Context(), forward.Question{Name: "third.example.", Type: dns.TypeA}, netip.MustParseAddr("10.0.0.3"))
			switch {
			case errors.Is(err, forward.ErrBusy):
				refused.Add(1)
			case err != nil:
				t.Errorf("a third client: %v", err)
			}
		})
	}
	eventually(t, "a third client gets half of what others leave", func() bool { return refused.Load() == 40-25 })
	before := f.Stats.Misses.Load()
	wg.Go(func() {
		if _, err := f.Ask(t.Context(), forward.Question{Name: "fourth.example.", Type: dns.TypeA}, netip.MustParseAddr("10.0.0.4")); err != nil {
			t.Errorf("a fourth client: %v", err)
		}
	})
	eventually(t, "a fourth asks", func() bool { return f.Stats.Misses.Load() > before })
	release()
	wg.Wait()
	asked := u.udp.Load()
	if got := answer(t, f, "same.example."); got != "192.0.2.1" || u.udp.Load() != asked {
		t.Errorf("answer: %s after %d questions, %d before", got, u.udp.Load(), asked)
	}
}

// Names at and below a stub domain are asked of its servers, those of the longest; the
// others of the upstream servers. Own addresses are none.
func TestStubDomains(t *testing.T) {
	corp, lab, rest := serve(t, anywhere(), address("192.0.2.1", 60)), serve(t, anywhere(), address("192.0.2.2", 60)), serve(t, anywhere(), address("192.0.2.3", 60))
	f := forward.New(forward.Config{Self: rest.addr})
	f.SetRoutes(map[string][]netip.AddrPort{"Corp.example": {corp.addr}, "lab.corp.example.": {lab.addr}, "none.example": {rest.addr}}, nil)
	for name, want := range map[string]string{"corp.example.": "192.0.2.1", "www.CORP.example.": "192.0.2.1", "x.lab.corp.example.": "192.0.2.2", "xcorp.example.": "error: " + forward.ErrNoServers.Error(), "a.none.example.": "error: " + forward.ErrNoServers.Error()} {
		if got := answer(t, f, name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	// Other servers, other answers.
	f.SetRoutes(map[string][]netip.AddrPort{"corp.example": {lab.addr}}, []netip.AddrPort{corp.addr})
	for name, want := range map[string]string{"corp.example.": "192.0.2.2", "other.example.": "192.0.2.1"} {
		if got := answer(t, f, name); got != want {
			t.Errorf("%s = %s, want %s after the change", name, got, want)
		}
	}
}

// local is an address of the machine itself that nobody else listens on.
func local() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(250)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))}), 53)
}

// The node's servers are those of its resolv.conf, also after that has changed: with
// them what is kept goes. A file that is missing or empty for a moment changes nothing,
// and an own address in it is passed over.
func TestResolvConf(t *testing.T) {
	self := local()
	first, second := serve(t, local(), address("192.0.2.1", 3600)), serve(t, local(), address("192.0.2.2", 3600))
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf("search example\nnameserver %s\nnameserver %s\n", self.Addr(), first.addr.Addr()))
	f := forward.New(forward.Config{ResolvConf: file, Self: self})
	if got := answer(t, f, "www.example."); got != "192.0.2.1" {
		t.Fatalf("answer: %s", got)
	}
	write("")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, f, "www2.example."); got != "192.0.2.1" {
		t.Errorf("without the file: %s", got)
	}
	write("nameserver " + second.addr.Addr().String() + "\n")
	eventually(t, "the other server is asked", func() bool { return answer(t, f, "www.example.") == "192.0.2.2" })
}

// A server that asks here what it is asked is found out, and not asked again; names go
// to the others.
func TestLoop(t *testing.T) {
	var f atomic.Pointer[forward.Forwarder]
	circle := serve(t, anywhere(), func(m *dns.Msg, _ bool) {
		q := forward.Question{Name: m.Question[0].Name, Type: m.Question[0].Qtype}
		if got, err := f.Load().Ask(context.Background(), q, netip.MustParseAddr("10.0.0.9")); err == nil {
			m.Answer, m.Ns, m.Rcode = got.Answer, got.Ns, got.Rcode
		} else {
			m.Rcode = dns.RcodeServerFailure
		}
	})
	works := serve(t, anywhere(), func(m *dns.Msg, udp bool) {
		if strings.HasSuffix(m.Question[0].Name, "example.") {
			address("192.0.2.1", 60)(m, udp)
		} else {
			m.Rcode = dns.RcodeNameError
		}
	})
	made := newForwarder(t, forward.Config{Attempt: time.Second}, circle, works)
	f.Store(made)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { made.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	// It is no longer asked, once it is known: the question after that adds none.
	serial := 0
	eventually(t, "it is not asked", func() bool {
		before := circle.udp.Load()
		serial++
		return answer(t, made, fmt.Sprintf("www%d.example.", serial)) == "192.0.2.1" && circle.udp.Load() == before
	})
}

// A server of a stub domain that asks here for its names alone is found out, and told.
func TestLoopOfAStubDomain(t *testing.T) {
	var f atomic.Pointer[forward.Forwarder]
	circle := serve(t, anywhere(), func(m *dns.Msg, _ bool) {
		m.Rcode = dns.RcodeNameError
		if name := m.Question[0].Name; strings.HasSuffix(name, ".corp.example.") {
			if _, err := f.Load().Ask(context.Background(), forward.Question{Name: name, Type: m.Question[0].Qtype}, netip.MustParseAddr("10.0.0.9")); err != nil {
				m.Rcode = dns.RcodeServerFailure
			}
		}
	})
	works := serve(t, anywhere(), address("192.0.2.1", 60))
	told := make(chan string, 10)
	made := forward.New(forward.Config{Attempt: time.Second, Looped: func(server netip.AddrPort, zone string) { told <- fmt.Sprint(server, " ", zone) }})
	f.Store(made)
	made.SetRoutes(map[string][]netip.AddrPort{"Corp.example": {circle.addr, works.addr}, "other.example": {works.addr}}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { made.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	if got, want := <-told, fmt.Sprint(circle.addr, " corp.example."); got != want {
		t.Errorf("told of %s, want %s", got, want)
	}
	before := circle.udp.Load()
	for _, name := range []string{"www.corp.example.", "www.other.example."} {
		if got := answer(t, made, name); got != "192.0.2.1" {
			t.Errorf("%s is %s", name, got)
		}
	}
	if circle.udp.Load() != before {
		t.Error("it is asked")
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
