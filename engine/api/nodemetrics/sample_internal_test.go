package nodemetrics

import (
	"fmt"
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds, nanos int, started time.Time) point {
		return point{at: start.Add(time.Duration(seconds) * time.Second), start: started, nanos: uint64(nanos), bytes: 7}
	}
	again := start.Add(25 * time.Second)
	for name, c := range map[string]struct {
		before *point
		now    point
		want   uint64
		window time.Duration
		ok     bool
	}{
		"between two":                   {new(at(10, 1e9, start)), at(30, 11e9, start), 5e8, 20 * time.Second, true},
		"idle":                          {new(at(10, 1e9, start)), at(30, 1e9, start), 0, 20 * time.Second, true},
		"since the start":               {nil, at(30, 15e9, start), 5e8, 30 * time.Second, true},
		"since it was started again":    {new(at(10, 1e9, start)), at(30, 1e9, again), 2e8, 5 * time.Second, true},
		"a counter that began anew":     {new(at(10, 9e9, start)), at(30, 3e9, start), 1e8, 30 * time.Second, true},
		"one sample of unknown start":   {nil, at(30, 15e9, time.Time{}), 0, 0, false},
		"two samples of unknown start":  {new(at(10, 1e9, time.Time{})), at(20, 2e9, time.Time{}), 1e8, 10 * time.Second, true},
		"twice at the same time":        {new(at(10, 1e9, start)), at(10, 1e9, start), 0, 0, false},
		"a clock that has gone back":    {new(at(30, 1e9, start)), at(10, 2e9, start), 0, 0, false},
		"a start that is yet to happen": {nil, at(10, 1e9, again), 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := rate(c.before, c.now)
			if ok != c.ok || ok && (got.nanocore != c.want || got.window != c.window || got.bytes != 7) {
				t.Errorf("%+v, %v", got, ok)
			}
		})
	}
}

// A pod is known once all of its containers are.
func TestPodIsKnownAsAWhole(t *testing.T) {
	summary := func(at string, containers ...string) *sample {
		t.Helper()
		list := ""
		for i, c := range containers {
			if i > 0 {
				list += ","
			}
			list += fmt.Sprintf(`{"name":%q,"cpu":{"time":%q,"usageCoreNanoSeconds":5},"memory":{"workingSetBytes":1}}`, c, at)
		}
		s, err := decode([]byte(fmt.Sprintf(`{"node":{"nodeName":"n"},"pods":[{"podRef":{"uid":"u"},"containers":[%s]}]}`, list)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first, both, later := summary("2026-03-01T12:00:00Z", "a"), summary("2026-03-01T12:00:15Z", "a", "b"), summary("2026-03-01T12:00:30Z", "a", "b")
	for name, c := range map[string]struct {
		reading reading
		want    int
	}{"nothing": {reading{}, 0}, "one sample": {reading{now: both}, 0}, "a new container": {reading{first, both}, 0}, "both": {reading{both, later}, 2}} {
		if got, ok := c.reading.pod("u"); len(got) != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	if _, ok := (reading{both, later}).node(); ok {
		t.Error("a node that says nothing of itself is known")
	}
	if _, err := decode([]byte("{")); err == nil {
		t.Error("nonsense is read")
	}
}
