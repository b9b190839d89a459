package forward

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func message(t *testing.T, name string, ttl int) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN A 192.0.2.1", name, ttl))
	if err != nil {
		t.Fatal(err)
	}
	m.Answer = []dns.RR{rr}
	return m
}

// What is left of an answer's time becomes less, and then it is gone. Its time is that
// of its record that has the least, an hour at most.
func TestTimePasses(t *testing.T) {
	c, start := newCache(1<<20), time.Unix(0, 0)
	m := message(t, "a.example.", 100)
	m.Answer = append(m.Answer, message(t, "a.example.", 60).Answer...)
	c.put("a", m, start, 0)
	c.put("long", message(t, "long.example.", 1e6), start, 0)
	if got := c.get("a", start.Add(59*time.Second)); got == nil || got.Answer[0].Header().Ttl != 41 || got.Answer[1].Header().Ttl != 1 {
		t.Errorf("after 59 seconds: %v", got)
	}
	if got := c.get("a", start.Add(60*time.Second)); got != nil {
		t.Errorf("after 60 seconds: %v", got)
	}
	if c.get("long", start.Add(time.Hour-1)) == nil || c.get("long", start.Add(time.Hour)) != nil {
		t.Error("an answer is not kept for an hour")
	}
	if n := c.len(); n != 0 {
		t.Errorf("%d answers are left", n)
	}
}

// The cache takes no more than its limit; what is used stays.
func TestCacheIsBounded(t *testing.T) {
	c, now := newCache(100*overhead), time.Unix(0, 0)
	c.put("used", message(t, "used.example.", 60), now, 0)
	for i := range 1000 {
		name := fmt.Sprintf("n%d.example.", i)
		c.put(name, message(t, name, 60), now, 0)
		if c.get("used", now) == nil {
			t.Fatalf("what is used is gone after %d others", i)
		}
		if c.bytes > c.limit {
			t.Fatalf("%d bytes are more than %d", c.bytes, c.limit)
		}
	}
	if n := c.len(); n < 50 || n > 100 {
		t.Errorf("%d answers are kept", n)
	}
	large := message(t, "large.example.", 60)
	for range 1000 {
		large.Answer = append(large.Answer, large.Answer[0])
	}
	c.put("large", large, now, 0)
	if c.get("large", now) != nil {
		t.Error("one answer may take all of the cache")
	}
	// What was asked before everything was forgotten is not kept.
	c.flush()
	c.put("late", message(t, "late.example.", 60), now, 0)
	if c.get("late", now) != nil || c.len() != 0 || c.bytes != 0 {
		t.Error("something is left after a flush")
	}
}
