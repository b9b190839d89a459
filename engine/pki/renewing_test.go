package pki_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"headway.dev/engine/pki"
)

// A certificate is another one before the first has ended; if none can be had, the first
// is used until then.
func TestRenewing(t *testing.T) {
	set, err := pki.Ensure(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var failing error
	signed, at := 0, time.Now()
	r, err := pki.NewRenewing(nil, func() time.Time { return at }, func() ([]byte, []byte, error) {
		signed++
		if failing != nil {
			return nil, nil, failing
		}
		return set.Client("ada")
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func() *tls.Certificate {
		t.Helper()
		c, err := r.Get()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get()
	if again := get(); again != first || signed != 1 {
		t.Errorf("signed %d times at once", signed)
	}
	at = first.Leaf.NotAfter.Add(-time.Hour)
	failing = errors.New("the authority is away")
	if got := get(); got != first {
		t.Error("an hour before its end another one is used, and there is none")
	}
	failing = nil
	if got := get(); bytes.Equal(got.Certificate[0], first.Certificate[0]) {
		t.Error("an hour before its end it was not renewed")
	}
	failing = errors.New("the authority is away")
	at = at.Add(10 * 365 * 24 * time.Hour)
	if c, err := r.Get(); err == nil || !errors.Is(err, failing) {
		t.Errorf("after its end: %v, %v", c, err)
	}
}
