package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy/health"
	"headway.dev/proxy/kernel"
	"headway.dev/proxy/service"
)

// slow are rules that take their time.
type slow struct {
	takes time.Duration
	mu    sync.Mutex // of all below
	fail  error
	at    []time.Time
	tries int // after a refusal
	bad   bool
}

func (s *slow) Name(context.Context) (string, error) { return "slow", nil }

func (s *slow) Apply(context.Context, service.Changes) error {
	s.do(func() { s.at = append(s.at, time.Now()) })
	<-time.After(s.takes)
	var fail error
	s.do(func() { fail = s.fail })
	return fail
}
func (s *slow) Verify(context.Context) (bool, error) { return false, nil }

func (s *slow) Refused() (bad map[types.NamespacedName]error) {
	s.do(func() {
		if s.bad {
			bad = map[types.NamespacedName]error{{Name: "bad"}: errors.New("refused")}
		}
	})
	return bad
}
func (s *slow) Again() { s.do(func() { s.tries++ }) }

func (s *slow) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// written are the times of all writes.
func (s *slow) written() (at []time.Time) {
	s.do(func() { at = slices.Clone(s.at) })
	return at
}

// paced runs a proxy with these rules.
func paced(t *testing.T, rules *slow, during func(*State)) {
	t.Helper()
	state := NewState()
	p := &Proxy{
		cfg:   Config{Source: source{state}, VerifyPeriod: time.Hour, Log: slog.New(slog.DiscardHandler)},
		rules: rules, fronts: service.NewFronts(), flows: kernel.NewFlows(slog.New(slog.DiscardHandler), nil), health: health.New(slog.New(slog.DiscardHandler)), open: true,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.loop(ctx) }()
	<-time.After(time.Minute)
	during(state)
	cancel()
	<-done
}

type source struct{ *State }

func (s source) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func touch(s *State, i int) {
	svc := &corev1.Service{}
	svc.Name = fmt.Sprint(i)
	s.SetService(svc)
}

// The first change is written at once; those of a burst are written together, with
// pauses as long as writing takes.
func TestPace(t *testing.T) {
	for _, tc := range []struct{ takes, period time.Duration }{
		{time.Millisecond, 21 * time.Millisecond}, {100 * time.Millisecond, 200 * time.Millisecond}, {5 * time.Second, 6 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			rules := &slow{takes: tc.takes}
			paced(t, rules, func(s *State) {
				synctest.Wait()
				begun := time.Now()
				rules.do(func() { rules.at = nil })
				for i := range 1000 {
					touch(s, i)
					<-time.After(tc.takes / 10)
				}
				<-time.After(time.Minute)
				times := rules.written()
				if len(times) == 0 || times[0] != begun {
					t.Fatalf("the first change was not written at once: %v", times)
				}
				for i, at := range times[1:] {
					if pause := at.Sub(times[i]); pause < tc.period {
						t.Errorf("written %v after the last time, want %v", pause, tc.period)
					}
				}
				if most := int(100*tc.takes/tc.period) + 3; len(times) > most {
					t.Errorf("written %d times, want at most %d", len(times), most)
				}
			})
		})
	}
}

// What failed, and what the kernel refused, is tried again, less and less often.
func TestTriesAgain(t *testing.T) {
	for what, rules := range map[string]*slow{"failed": {fail: errors.New("no memory")}, "refused": {bad: true}} {
		synctest.Test(t, func(t *testing.T) {
			paced(t, rules, func(*State) {
				<-time.After(time.Hour)
				tries := 0
				rules.do(func() { tries = rules.tries })
				if n := len(rules.written()); n < 10 || n > 150 || tries < n-1 {
					t.Errorf("%s: written %d times in an hour, %d of them with what was refused", what, n, tries)
				}
				rules.do(func() { rules.fail, rules.bad = nil, false })
				<-time.After(10 * time.Minute)
				n := len(rules.written())
				<-time.After(time.Hour)
				if len(rules.written()) != n {
					t.Errorf("%s: written again after it had worked", what)
				}
			})
		})
	}
}
