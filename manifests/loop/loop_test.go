package loop_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/manifests/loop"
)

var backoff = loop.Backoff{First: time.Second, Last: 5 * time.Second}

// told replaces the panic handlers of the process for the test, and counts.
func told(t *testing.T) *int {
	t.Helper()
	n := new(int)
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { *n++ }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })
	return n
}

func TestBackoff(t *testing.T) {
	for _, tc := range []struct {
		failures int
		want     time.Duration
	}{{0, time.Second}, {1, 2 * time.Second}, {2, 4 * time.Second}, {3, 5 * time.Second}, {1 << 40, 5 * time.Second}} {
		if got := backoff.After(tc.failures); got != tc.want {
			t.Errorf("after %d failures: %v, want %v", tc.failures, got, tc.want)
		}
	}
	spread := backoff
	spread.Spread = 0.1
	var least, most time.Duration = time.Hour, 0
	for range 1000 {
		d := spread.After(9)
		least, most = min(least, d), max(most, d)
	}
	if least < 4500*time.Millisecond || most > 5500*time.Millisecond || least == most {
		t.Errorf("spread by a tenth, 5s are from %v to %v", least, most)
	}
}

func TestFailures(t *testing.T) {
	f := loop.NewFailures[string](backoff)
	got := []time.Duration{f.When("a"), f.When("a"), f.When("b")}
	if want := []time.Duration{time.Second, 2 * time.Second, time.Second}; !slices.Equal(got, want) {
		t.Errorf("waits %v, want %v", got, want)
	}
	f.Forget("a")
	if f.NumRequeues("a") != 0 || f.NumRequeues("b") != 1 || f.When("a") != time.Second {
		t.Error("a success of a is not one of a alone")
	}
}

// Follow waits as long as a look says, longer after each failure in a row, a
// panic or not, and no longer after a wake; how often it is woken meanwhile does
// not matter.
func TestFollow(t *testing.T) {
	panics := told(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		wake := loop.NewFlag()
		var at []time.Duration
		steps := []func() (time.Duration, error){
			func() (time.Duration, error) { return time.Minute, nil },
			func() (time.Duration, error) { return 0, errors.New("no") },
			func() (time.Duration, error) { panic("worse") },
			func() (time.Duration, error) { return 0, nil }, // the test wakes it
			func() (time.Duration, error) { wake.Set(); wake.Set(); return time.Minute, nil },
			func() (time.Duration, error) { return 0, errors.New("no, again") },
			func() (time.Duration, error) { return 0, fmt.Errorf("look: %w", loop.ErrGone) },
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			loop.Follow(t.Context(), "a test", wake, backoff, func(context.Context) (time.Duration, error) {
				at = append(at, time.Since(began))
				return steps[len(at)-1]()
			})
		}()
		time.Sleep(2 * time.Minute) //nolint:forbidigo // on the clock of the bubble
		wake.Set()
		<-done
		want := []time.Duration{
			0, time.Minute, time.Minute + time.Second, time.Minute + 3*time.Second, // as said, and after two failures
			2 * time.Minute, 2 * time.Minute, // woken
			2*time.Minute + time.Second, // after one failure: the success before it counts
		}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
	})
	if *panics != 1 {
		t.Errorf("%d panics were told, want 1", *panics)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		looks := 0
		loop.Follow(ctx, "a test", loop.NewFlag(), backoff, func(context.Context) (time.Duration, error) { looks++; return 0, nil })
		if looks != 1 || ctx.Err() == nil {
			t.Errorf("%d looks, then %v", looks, ctx.Err())
		}
	})
}

// A key is looked at by one at a time, once more if it was woken during the
// look, and by itself when it is due, or after a back-off; others go on.
func TestKeys(t *testing.T) {
	panics := told(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		looks, active, failures := map[string][]time.Duration{}, map[string]int{}, map[string][]int{}
		var keys *loop.Keys[string]
		keys = loop.NewKeys(loop.Options[string]{
			Name: "look at", Workers: 2, Backoff: backoff,
			Look: func(_ context.Context, key string) (time.Duration, error) {
				mu.Lock()
				looks[key] = append(looks[key], time.Since(began))
				n := len(looks[key])
				active[key]++
				if active[key] > 1 {
					t.Errorf("%s is looked at twice at a time", key)
				}
				mu.Unlock()
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					active[key]--
				}()
				switch {
				case key == "busy" && n == 1:
					for range 3 {
						keys.Wake(key)
					}
					time.Sleep(time.Minute) //nolint:forbidigo // on the clock of the bubble
				case key == "due" && n == 1:
					return time.Second, nil
				case key == "bad" && n <= 2:
					return 0, errors.New("no")
				case key == "bad" && n == 3:
					panic("worse")
				}
				return 0, nil
			},
			Failed: func(_ context.Context, key string, before int, err error) {
				mu.Lock()
				defer mu.Unlock()
				failures[key] = append(failures[key], before)
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		keys.Wake("busy") // before it runs
		done := make(chan error)
		go func() { done <- keys.Run(ctx) }()
		keys.Wake("due")
		keys.Wake("bad")
		keys.WakeAfter("later", 10*time.Second)
		time.Sleep(time.Hour) //nolint:forbidigo // on the clock of the bubble
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		want := map[string][]time.Duration{
			"busy": {0, time.Minute}, "due": {0, time.Second},
			"bad":   {0, time.Second, 3 * time.Second, 7 * time.Second},
			"later": {10 * time.Second},
		}
		if diff := cmp.Diff(want, looks); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string][]int{"bad": {0, 1, 2}}, failures); diff != "" {
			t.Errorf("failures before each (-want +got):\n%s", diff)
		}
	})
	if *panics != 1 {
		t.Errorf("%d panics were told, want 1", *panics)
	}
}

// Run returns when no look goes on any more, and what the end breaks off is no
// failure.
func TestKeysEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		keys := loop.NewKeys(loop.Options[int]{
			Name: "look at", Backoff: backoff,
			Look: func(ctx context.Context, key int) (time.Duration, error) {
				if key > 1 {
					t.Error("a look after the end")
				}
				<-ctx.Done()
				time.Sleep(time.Second) //nolint:forbidigo // on the clock of the bubble
				return 0, ctx.Err()
			},
			Failed: func(context.Context, int, int, error) { t.Error("the end is a failure") },
		})
		for key := range 4 {
			keys.Wake(key + 1)
		}
		if err := keys.Run(ctx); err != nil || time.Since(began) != time.Minute+time.Second {
			t.Errorf("Run: %v, after %v", err, time.Since(began))
		}
	})
}

func TestSeconds(t *testing.T) {
	const most = 9223372036 * time.Second
	for n, want := range map[int64]time.Duration{
		0: 0, 30: 30 * time.Second, -30: -30 * time.Second, 9223372036: most, 9223372037: most, math.MaxInt64: most, math.MinInt64: -most,
	} {
		if got := loop.Seconds(n); got != want {
			t.Errorf("Seconds(%d) = %v, want %v", n, got, want)
		}
	}
}
