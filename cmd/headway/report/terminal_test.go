package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/wire"
)

// What containers print comes along in messages, and moves nobody's cursor.
func TestScreen(t *testing.T) {
	const evil = "probe failed: \x1b[2J\x1b]52;c;cm0gLXJmIC8=\x07\r\x1b[8mhidden\u009b1A\u202eback"
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	clean := func(what, out string) {
		t.Helper()
		if strings.ContainsAny(out, "\x1b\x07\r\u009b\u202e") {
			t.Errorf("%s passes on what a terminal acts upon: %q", what, out)
		}
		if !strings.Contains(out, "probe failed: ") || !strings.Contains(out, "back") {
			t.Errorf("%s does not tell the message: %q", what, out)
		}
	}
	var out bytes.Buffer
	PrintStatus(&out, wire.Status{Kustomizations: []wire.KustomizationStatus{{
		Namespace: "default", Name: "web", Ready: "False", Message: evil, Reason: "HealthCheckFailed", Sync: wire.SyncFailed, Errors: []wire.Fault{{Message: evil}},
		Unhealthy: []wire.Object{{Kind: "Deployment", Name: "web", Message: evil}}, WaitsFor: []wire.Object{{Kind: "Kustomization", Name: "db", Message: evil}},
	}}}, now)
	clean("status", out.String())
	out.Reset()
	if err := Table(&out, []string{"REASON"}, [][]string{logRow(wire.LogEntry{Entry: wire.Entry{Reason: evil}}, now)}); err != nil {
		t.Fatal(err)
	}
	clean("log", out.String())
	clean("sync", Naming{}.Line(wire.Event{Phase: wire.PhaseVerdict, Verdict: "unhealthy", Message: evil}))
	out.Reset()
	PlanText(&out, wire.Plans{Plan: wire.Plan{Checks: []wire.Check{{Name: "health", Result: wire.CheckFailed, Message: evil}}}})
	clean("plan", out.String())

	painted := Palette{on: true}.Red("a\tb\n") + Palette{on: true}.dim("c")
	if got := Screen(painted); got != painted {
		t.Errorf("screen(%q) = %q", painted, got)
	}
}

// A reason of kilobytes does not push the rest of a table out of sight.
func TestReasonsOfLog(t *testing.T) {
	row := logRow(wire.LogEntry{Entry: wire.Entry{Reason: "failed: " + strings.Repeat("ä", 5000)}}, time.Now())
	if got := []rune(row[len(row)-1]); len(got) != maxReason || !strings.HasPrefix(string(got), "failed: ä") || got[maxReason-1] != '…' {
		t.Errorf("%d characters: %s", len(got), string(got))
	}
}
