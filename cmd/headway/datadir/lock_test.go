package datadir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lockedDataDir makes a data dir that is locked until the test ends.
func lockedDataDir(t *testing.T) Held {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	held, err := Hold(dir)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// A cluster whose data dir is removed, or replaced by another one, ends with an
// error that says how to remove the rest; one whose data dir stays does not.
func TestDataDirIsGone(t *testing.T) {
	for what, change := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"replaced": func(dir string) error {
			if err := os.Rename(dir, dir+".old"); err != nil {
				return err
			}
			unlock, err := Lock(dir)
			if err == nil {
				unlock()
			}
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			held := lockedDataDir(t)
			ended := make(chan error, 1)
			go func() { ended <- held.Keep(t.Context(), time.Millisecond) }()
			if err := os.WriteFile(filepath.Join(held.dir, "more"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := change(held.dir); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "headway cleanup --data-dir "+held.dir) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
	held := lockedDataDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- held.Keep(ctx, time.Millisecond) }()
	for range 50 {
		if err := os.WriteFile(filepath.Join(held.dir, "more"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("with its data dir in place it ends with %v", err)
	}
}
