package containerd

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"headway.dev/nodes/runtime"
)

// What is left of an adoption that failed is tried again, more and more rarely, until it
// is done, also if it panics; and not after the end.
func TestInsist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &containerSet{log: slog.New(slog.DiscardHandler)}
		began, tries := time.Now(), 0
		r.insist(t.Context(), "c", func(context.Context) error {
			switch tries++; tries {
			case 1:
				return errors.New("containerd is busy")
			case 2:
				panic("at the second try")
			}
			return nil
		})
		// 1, 2 and 4 seconds, a tenth more or less.
		if took := time.Since(began); tries != 3 || took < 6*time.Second || took > 8*time.Second {
			t.Errorf("%d tries in %s, want 3 in some 7s", tries, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		tries = 0
		r.insist(ctx, "c", func(context.Context) error { tries++; return errors.New("never") })
		if tries < 55 || tries > 80 {
			t.Errorf("%d tries in an hour, want one a minute", tries)
		}
	})
}

// What is left to do with a stored container is not done with another one that has been
// made in its place.
func TestWhileIts(t *testing.T) {
	t.Parallel()
	named := func() *container {
		return &container{info: runtime.Container{ID: "c", Name: "main", Pod: runtime.PodRef{UID: "p"}}}
	}
	stored, again := named(), named()
	for name, tc := range map[string]struct {
		known, is *container
		done      bool
	}{
		"nothing was made":              {nil, nil, true},
		"one was made":                  {nil, again, false},
		"it is known":                   {stored, stored, true},
		"it is gone":                    {stored, nil, false},
		"another has come in its place": {stored, again, false},
	} {
		r := &containerSet{state: newState(), podLock: &keyedLock{}}
		if tc.is != nil {
			r.containers["c"] = tc.is
		}
		done := false
		if err := r.whileIts(stored, tc.known, func(context.Context) error { done = true; return nil })(t.Context()); err != nil || done != tc.done {
			t.Errorf("%s: done: %v, %v; want %v", name, done, err, tc.done)
		}
	}
}
