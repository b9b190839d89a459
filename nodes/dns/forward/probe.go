package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// probes are questions that nobody else asks: one that comes back has gone in a circle.
type probes struct {
	mu   sync.Mutex
	seen map[string]bool
}

// came reports whether a name is that of a probe, and notes that it came back.
func (p *probes) came(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == 0 {
		return false
	}
	name = strings.ToLower(name)
	if _, ok := p.seen[name]; !ok {
		return false
	}
	p.seen[name] = true
	return true
}

// probePeriod is how often it is looked whether there are new servers. Those that lead
// back are probed anew each time: others may have mended that.
const probePeriod = 15 * time.Second

// Run probes servers until ctx ends.
func (f *Forwarder) Run(ctx context.Context) {
	tick := time.NewTicker(probePeriod)
	defer tick.Stop()
	for {
		f.servers(".")
		for _, s := range f.routes.all() {
			if !s.probed.Load() || s.looped.Load() {
				f.probe(ctx, s)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// longestName is that of a name with its last dot.
const longestName = 254

// probe finds out whether a server leads back here.
func (f *Forwarder) probe(ctx context.Context, s *server) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // it never fails
	text := hex.EncodeToString(random[:])
	// Of two labels: servers may keep a single one from others. No zone has it. In a stub
	// domain, as its server may send nothing else back here.
	name := text[:16] + "." + text[16:] + "."
	if s.zone != "." {
		if name += s.zone; len(name) > longestName {
			name = text[:8] + "." + s.zone
		}
		if len(name) > longestName {
			s.probed.Store(true) // there are no names in it
			return
		}
	}
	f.probes.mu.Lock()
	f.probes.seen[name] = false
	f.probes.mu.Unlock()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeHINFO)
	_, err := f.exchange(ctx, "udp", m, s.address)
	f.probes.mu.Lock()
	looped := f.probes.seen[name]
	delete(f.probes.seen, name)
	f.probes.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if looped != s.looped.Load() {
		s.looped.Store(looped)
		if looped {
			f.cfg.Log.Error("a name server leads back to the cluster's and is not asked; neither the node's resolv.conf nor the settings may name servers that ask the cluster's", "server", s.address.String(), "zone", s.zone)
			f.cfg.Looped(s.address, s.zone)
		}
	}
	s.probed.Store(err == nil || looped)
}
