package flux_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headway.dev/syncer/flux"
)

// What a message records is read back as it was, whatever the words between are.
func TestRecordedIsReadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8)) //nolint:gosec // repeatable, and nothing secret
	words := []string{"it crashed", ": ", "; ", "Pod/team/web", "\n", "stays applied", "(with back-off)", "to try this one again", "[build a, try 1]", ". ", "é"}
	text := func() string {
		out := "x"
		for range r.IntN(6) {
			out += words[r.IntN(len(words))]
		}
		return out
	}
	or := func(value string) string {
		if r.IntN(2) == 0 {
			return ""
		}
		return value
	}
	for range 2000 {
		q := flux.Quarantine{Revision: "main@sha1:1", Why: text(), Pending: or(text()), Healthy: or("main@sha1:2"), Command: or("kubectl annotate x")}
		if diff := cmp.Diff(q, flux.ParseQuarantine(q.String())); diff != "" {
			t.Fatalf("%s\n(-want +got)\n%s", q, diff)
		}
		u := flux.Unpruned{Revision: "main@sha1:1", Kept: text()}
		if got := flux.ParseUnpruned(u.String()); got != u {
			t.Fatalf("%s is read as %+v", u, got)
		}
		o := &flux.Overrun{Why: text(), Until: time.Unix(r.Int64N(1<<32), 0).UTC(), Build: "0a1b2c", Tries: r.IntN(100)}
		if diff := cmp.Diff(o, flux.ParseOverrun(o.Error())); diff != "" {
			t.Fatalf("%v\n(-want +got)\n%s", o, diff)
		}
		s := flux.Suspension{By: text()}
		if got := flux.ParseSuspension(s.String()); got != s {
			t.Fatalf("%s is read as %+v", s, got)
		}
	}
	if flux.ParseOverrun("something else") != nil {
		t.Error("any message is an overrun")
	}
	if got := (flux.Unpruned{Revision: "main@sha1:1"}).String(); got != "" {
		t.Errorf("nothing is kept: %q", got)
	}
}

// The messages are as they always were: those of an older version are in the store.
func TestRecordedMessages(t *testing.T) {
	for want, got := range map[string]string{
		"main@sha1:2: it crashed; its revert failed and is tried again: refused (with back-off); main@sha1:1 stays applied until a newer commit comes; to try this one again run: kubectl annotate x": flux.Quarantine{
			Revision: "main@sha1:2", Why: "it crashed", Pending: "refused", Healthy: "main@sha1:1", Command: "kubectl annotate x",
		}.String(),
		"main@sha1:2: kept": flux.Unpruned{Revision: "main@sha1:2", Kept: "kept"}.String(),
		"too large. It is tried again at 2026-03-01T12:00:00Z, or once something changes [build 0a1b, try 2]": (&flux.Overrun{
			Why: "too large", Until: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Build: "0a1b", Tries: 2,
		}).Error(),
		"suspended by ada": flux.Suspension{By: "ada"}.String(),
	} {
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	// One that was too long for a condition.
	if q := flux.ParseQuarantine("main@sha1:2: it crashed; its revert failed and is tried again: ref..."); q.Why != "it crashed" || q.Pending == "" || q.Healthy != "" {
		t.Errorf("%+v", q)
	}
}
