package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"headway.dev/manifests/guard"
)

// Config is what a Forwarder needs; fields may be zero.
type Config struct {
	// ResolvConf is the file that names the upstream servers, or resolv.Own.
	ResolvConf string
	// Self is the own address, which is never asked.
	Self netip.AddrPort
	// Attempt is how long one server has for an answer, Total how long all have.
	// Default: 2 and 6 seconds.
	Attempt, Total time.Duration
	// Parallel bounds the questions that wait for other servers, PerClient those
	// of one client, which also gets no more than half of what others leave.
	// Default: 1,000 and 250.
	Parallel, PerClient int
	// CacheBytes bounds what the cache takes, about. Default: 4 MiB.
	CacheBytes int
	// Looped is told of a server that leads back here for the names of a zone, which is
	// "." for all but those of stub domains. It is not asked then.
	Looped func(server netip.AddrPort, zone string)
	Log    *slog.Logger
}

// Errors of Ask, apart from those of the way to the servers.
var (
	ErrBusy      = errors.New("too many questions wait for other name servers")
	ErrNoServers = errors.New("there is no name server to ask")
	ErrLoop      = errors.New("the question was asked here, and has come back")
)

// Question is what is asked.
type Question struct {
	Name string
	Type uint16
	// DNSSEC and Unchecked are the bits DO and CD.
	DNSSEC, Unchecked bool
}

func (q Question) key() string {
	flags := [3]byte{byte(q.Type >> 8), byte(q.Type), 0}
	if q.DNSSEC {
		flags[2] |= 1
	}
	if q.Unchecked {
		flags[2] |= 2
	}
	return string(flags[:]) + strings.ToLower(q.Name)
}

// Stats count since the start.
type Stats struct{ Hits, Misses, Errors, Refused atomic.Int64 }

// Forwarder asks other name servers.
type Forwarder struct {
	cfg    Config
	Stats  Stats
	cache  *cache
	flight singleflight.Group
	routes routes
	probes probes

	mu      sync.Mutex
	waiting int
	clients map[netip.Addr]int
}

// New returns a Forwarder that has asked nobody yet.
func New(cfg Config) *Forwarder {
	for _, d := range []struct {
		value *int
		def   int
	}{{&cfg.Parallel, 1000}, {&cfg.PerClient, 250}, {&cfg.CacheBytes, 4 << 20}} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	if cfg.Attempt <= 0 {
		cfg.Attempt = 2 * time.Second
	}
	if cfg.Total <= 0 {
		cfg.Total = 3 * cfg.Attempt
	}
	if cfg.Looped == nil {
		cfg.Looped = func(netip.AddrPort, string) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Forwarder{cfg: cfg, cache: newCache(cfg.CacheBytes), clients: map[netip.Addr]int{}, probes: probes{seen: map[string]bool{}}}
}

// SetRoutes says whom to ask: for names at or below a stub domain its servers, for all
// others the upstream servers, or without any those of the node. What is in the cache
// is forgotten.
func (f *Forwarder) SetRoutes(stubs map[string][]netip.AddrPort, upstream []netip.AddrPort) {
	f.routes.set(stubs, upstream, f.cfg.Self)
	f.cache.flush()
}

// Entries returns how many answers are kept.
func (f *Forwarder) Entries() int { return f.cache.len() }

// Ask returns the answer to a question, which the caller may change. The answer's
// question is that of the first who asked.
func (f *Forwarder) Ask(ctx context.Context, q Question, client netip.Addr) (*dns.Msg, error) {
	if f.probes.came(q.Name) {
		return nil, ErrLoop
	}
	servers := f.servers(q.Name) // before the cache: they may have changed, which empties it
	key := q.key()
	if m := f.cache.get(key, time.Now()); m != nil {
		f.Stats.Hits.Add(1)
		return m, nil
	}
	f.Stats.Misses.Add(1)
	if len(servers) == 0 {
		return nil, ErrNoServers
	}
	if !f.enter(client) {
		f.Stats.Refused.Add(1)
		return nil, ErrBusy
	}
	defer f.leave(client)
	done := f.flight.DoChan(key, func() (any, error) {
		var m *dns.Msg
		// Not with the context of who asked first: the others wait, too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.cfg.Total)
		defer cancel()
		err := guard.Call(ctx, "ask a name server", func() (err error) {
			if m = f.cache.get(key, time.Now()); m != nil {
				return nil // who asked before got it in between
			}
			age := f.cache.age()
			if m, err = f.askAll(ctx, q, servers); err == nil {
				f.cache.put(key, m, time.Now(), age)
			}
			return err
		})
		return m, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			f.Stats.Errors.Add(1)
			return nil, r.Err
		}
		return r.Val.(*dns.Msg).Copy(), nil
	}
}

// servers are those for a name.
func (f *Forwarder) servers(name string) []*server {
	if f.routes.reload(f.cfg.ResolvConf, f.cfg.Self, time.Now(), f.cfg.Log) {
		f.cache.flush()
	}
	return f.routes.of(name)
}

func (f *Forwarder) enter(client netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Of what others leave a client gets half, so that a few do not take it all.
	own := f.clients[client]
	if left := f.cfg.Parallel - (f.waiting - own); own >= min(f.cfg.PerClient, (left+1)/2) {
		return false
	}
	f.waiting++
	f.clients[client]++
	return true
}

func (f *Forwarder) leave(client netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
	if f.clients[client]--; f.clients[client] <= 0 {
		delete(f.clients, client)
	}
}

// askAll asks servers one after the other, twice, until one gives an answer. An
// answer that says that the server failed is returned if there is no other.
func (f *Forwarder) askAll(ctx context.Context, q Question, servers []*server) (*dns.Msg, error) {
	var failed *dns.Msg
	var errs []error
	for range 2 {
		answered := false
		for _, s := range ordered(servers, time.Now()) {
			m, err := f.ask(ctx, q, s.address)
			switch {
			case ctx.Err() != nil && err != nil:
				s.fail(time.Now())
				return failed, errors.Join(append(errs, err)...)
			case err != nil:
				s.fail(time.Now())
				errs = append(errs, err)
			case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
				s.work()
				return m, nil
			default:
				answered, failed = true, m
			}
		}
		if answered {
			return failed, nil
		}
	}
	return nil, errors.Join(append(errs, ErrNoServers)...)
}

// udpSize is what fits into a packet on any way.
const udpSize = 1232

// ask asks one server.
func (f *Forwarder) ask(ctx context.Context, q Question, address netip.AddrPort) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Type)
	m.CheckingDisabled = q.Unchecked
	m.SetEdns0(udpSize, q.DNSSEC)
	answer, err := f.exchange(ctx, "udp", m, address)
	if err == nil && (answer.Rcode == dns.RcodeFormatError || answer.Rcode == dns.RcodeNotImplemented) && answer.IsEdns0() == nil {
		m.Extra = nil // it is older than EDNS
		m.Id = dns.Id()
		answer, err = f.exchange(ctx, "udp", m, address)
	}
	if err == nil && answer.Truncated {
		// Where TCP is blocked, what there is of the answer is better than none.
		if whole, failed := f.exchange(ctx, "tcp", m, address); failed == nil {
			answer = whole
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", address, err)
	}
	extra := answer.Extra[:0]
	for _, rr := range answer.Extra {
		if rr.Header().Rrtype != dns.TypeOPT { // it is between two servers
			extra = append(extra, rr)
		}
	}
	answer.Extra = extra
	return answer, nil
}

func (f *Forwarder) exchange(ctx context.Context, network string, m *dns.Msg, address netip.AddrPort) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Attempt)
	defer cancel()
	client := dns.Client{Net: network, UDPSize: udpSize, Timeout: f.cfg.Attempt}
	answer, _, err := client.ExchangeContext(ctx, m, address.String())
	switch {
	case err != nil:
		return nil, err
	case !answer.Response || answer.Opcode != dns.OpcodeQuery || len(answer.Question) != 1 ||
		answer.Question[0].Qtype != m.Question[0].Qtype || answer.Question[0].Qclass != m.Question[0].Qclass ||
		!strings.EqualFold(answer.Question[0].Name, m.Question[0].Name):
		return nil, errors.New("the answer is not to the question")
	}
	return answer, nil
}
