package forward

import (
	"bytes"
	"cmp"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"headway.dev/nodes/dns/resolv"
)

const (
	// lookAgain is how long the node's resolv.conf is taken to be the same.
	lookAgain = time.Second
	// shun is for how long a server that gave no answer is asked after the others.
	shun = 10 * time.Second
	// resolvConfLimit bounds what is read of the file.
	resolvConfLimit = 64 << 10
)

// server is one that may be asked.
type server struct {
	address netip.AddrPort
	// zone is the stub domain whose server it is; ".": all names.
	zone   string
	failed atomic.Int64 // when, in Unix nanoseconds; 0 if it answered since
	looped atomic.Bool
	probed atomic.Bool
}

func (s *server) fail(now time.Time) { s.failed.Store(now.UnixNano()) }
func (s *server) work()              { s.failed.Store(0) }

// ordered are the servers in the order in which to ask them.
func ordered(servers []*server, now time.Time) []*server {
	shunned := func(s *server) int {
		if at := s.failed.Load(); at != 0 && now.UnixNano()-at < int64(shun) {
			return 1
		}
		return 0
	}
	out := slices.DeleteFunc(slices.Clone(servers), func(s *server) bool { return s.looped.Load() })
	slices.SortStableFunc(out, func(a, b *server) int { return cmp.Compare(shunned(a), shunned(b)) })
	return out
}

// routes say which servers are asked for which names.
type routes struct {
	mu       sync.Mutex
	stubs    map[string][]*server // by the domain's canonical name
	upstream []*server            // those that were set
	node     []*server            // those of the node
	looked   time.Time
	file     []byte
	unread   bool // the file could not be read, which was told
}

func (r *routes) set(stubs map[string][]netip.AddrPort, upstream []netip.AddrPort, self netip.AddrPort) {
	made := make(map[string][]*server, len(stubs))
	for domain, list := range stubs {
		zone := dns.CanonicalName(domain)
		made[zone] = serversOf(zone, list, self)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stubs, r.upstream = made, serversOf(".", upstream, self)
}

func serversOf(zone string, list []netip.AddrPort, self netip.AddrPort) []*server {
	var out []*server
	for _, a := range list {
		if a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port()); a != self && !slices.ContainsFunc(out, func(s *server) bool { return s.address == a }) {
			out = append(out, &server{address: a, zone: zone})
		}
	}
	return out
}

// of returns the servers for a name. A stub domain without servers of its own has
// none: its names are asked of nobody else.
func (r *routes) of(name string) []*server {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.stubs) > 0 {
		name = dns.CanonicalName(name)
		for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
			if list, ok := r.stubs[name[off:]]; ok {
				return list
			}
		}
	}
	if len(r.upstream) > 0 {
		return r.upstream
	}
	return r.node
}

// all are the servers of all routes.
func (r *routes) all() []*server {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Concat(r.upstream, r.node)
	for _, list := range r.stubs {
		out = append(out, list...)
	}
	return out
}

// reload reads the node's servers if their file has changed, and reports whether they
// have. A file that is gone or empty for a moment, while it is written, changes nothing.
func (r *routes) reload(file string, self netip.AddrPort, now time.Time, log *slog.Logger) bool {
	if file == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.looked.IsZero() && now.Sub(r.looked) < lookAgain {
		return false
	}
	r.looked = now
	data, err := readFile(resolv.File(file))
	if err != nil {
		if !r.unread {
			log.Warn("the node's name servers stay as they are", "err", err)
		}
		r.unread = true
		return false
	}
	r.unread = false
	if bytes.Equal(data, r.file) && r.file != nil || len(bytes.TrimSpace(data)) == 0 {
		return false
	}
	r.file = data
	cfg, err := dns.ClientConfigFromReader(bytes.NewReader(data))
	if err != nil {
		log.Warn("the node's name servers stay as they are", "file", file, "err", err)
		return false
	}
	var list []netip.AddrPort
	for _, text := range cfg.Servers {
		if a, err := netip.ParseAddrPort(net.JoinHostPort(text, cfg.Port)); err == nil {
			list = append(list, a)
		}
	}
	r.node = serversOf(".", list, self)
	return true
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, resolvConfLimit)
	n := 0
	for n < len(buf) {
		m, err := f.Read(buf[n:])
		n += m
		if err != nil {
			break
		}
	}
	return slices.Clone(buf[:n]), nil
}
