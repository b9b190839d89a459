package control_test

import (
	"testing"
	"testing/synctest"
	"time"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/object"
)

// A key rests for ten times as long as its write took, and not for long; others do not.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := object.Key{Name: "slow"}, object.Key{Name: "fast"}
		r := control.NewRest()
		if left := r.Left(slow); left > 0 {
			t.Errorf("what was never written rests for %s", left)
		}
		r.Wrote(slow, time.Minute)
		r.Wrote(fast, time.Millisecond)
		if left := r.Left(fast); left != 10*time.Millisecond {
			t.Errorf("after a millisecond it rests for %s", left)
		}
		if left := r.Left(slow); left != 100*time.Millisecond {
			t.Errorf("after a minute it rests for %s", left)
		}
		<-time.After(100 * time.Millisecond)
		if r.Left(fast) > 0 || r.Left(slow) > 0 {
			t.Error("they rest for too long")
		}
	})
}
