package forward

import (
	"container/list"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// No answer is kept for longer, whatever it says.
	longestPositive = time.Hour
	longestNegative = 5 * time.Minute
	// overhead is about what an answer takes besides its bytes.
	overhead = 250
)

// cache keeps answers as they were sent, those that were used last.
type cache struct {
	limit int

	mu      sync.Mutex
	entries map[string]*list.Element
	used    list.List // of *entry, the newest first
	bytes   int
	flushed int
}

type entry struct {
	key          string
	wire         []byte
	since, until time.Time
}

func (e *entry) size() int { return len(e.key) + len(e.wire) + overhead }

func newCache(limit int) *cache { return &cache{limit: limit, entries: map[string]*list.Element{}} }

// age changes when everything is forgotten. What was asked before is not kept then.
func (c *cache) age() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushed
}

func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

func (c *cache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushed++
	clear(c.entries)
	c.used.Init()
	c.bytes = 0
}

// get returns an answer, with what is left of its records' time.
func (c *cache) get(key string, now time.Time) *dns.Msg {
	c.mu.Lock()
	at := c.entries[key]
	if at == nil {
		c.mu.Unlock()
		return nil
	}
	e := at.Value.(*entry)
	if !now.Before(e.until) {
		c.remove(at)
		c.mu.Unlock()
		return nil
	}
	c.used.MoveToFront(at)
	c.mu.Unlock()
	m := new(dns.Msg)
	if m.Unpack(e.wire) != nil {
		return nil
	}
	passed := uint32(now.Sub(e.since) / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			h := rr.Header()
			h.Ttl -= min(passed, h.Ttl)
		}
	}
	return m
}

// put keeps an answer if it may be kept.
func (c *cache) put(key string, m *dns.Msg, now time.Time, age int) {
	life := lifetime(m)
	if life <= 0 || m.Truncated {
		return
	}
	wire, err := m.Pack()
	if err != nil {
		return
	}
	e := &entry{key: key, wire: wire, since: now, until: now.Add(life)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if age != c.flushed || e.size() > c.limit/8 {
		return
	}
	if old := c.entries[key]; old != nil {
		c.remove(old)
	}
	c.entries[key] = c.used.PushFront(e)
	for c.bytes += e.size(); c.bytes > c.limit; {
		c.remove(c.used.Back())
	}
}

func (c *cache) remove(at *list.Element) {
	e := at.Value.(*entry)
	delete(c.entries, e.key)
	c.used.Remove(at)
	c.bytes -= e.size()
}

// lifetime is for how long an answer may be kept: as long as each of its records, and
// if it says that there is none, as long as the SOA record of the zone says (RFC 2308).
func lifetime(m *dns.Msg) time.Duration {
	if len(m.Question) != 1 || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	limit, found := longestPositive, false
	for _, rr := range m.Answer {
		limit = min(limit, time.Duration(rr.Header().Ttl)*time.Second)
		found = found || rr.Header().Rrtype == m.Question[0].Qtype || m.Question[0].Qtype == dns.TypeANY
	}
	if found && m.Rcode == dns.RcodeSuccess {
		return limit
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(limit, longestNegative, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return 0
}
