package slot_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"headway.dev/nodes/slot"
)

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slot.New(1, time.Minute)
		began := time.Now()
		hangs, err := s.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Take(ctx); err == nil {
			t.Error("two hold the one slot")
		}
		second, err := s.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != time.Minute {
			t.Errorf("the slot was lost after %s, want 1m", got)
		}
		// What was lost is not given back again: that would make two of one.
		hangs()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Take(ctx); err == nil {
			t.Error("two hold the one slot")
		}
		second()
		second()
		if _, err := s.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
