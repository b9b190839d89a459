package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A cluster whose data dir is removed, or replaced by another one, ends with an
// error that says how to remove the rest; one whose data dir stays does not.
func TestDataDirIsGone(t *testing.T) {
	for what, change := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"replaced": func(dir string) error {
			if err := os.Rename(dir, dir+".old"); err != nil {
				return err
			}
			unlock, err := lockDataDir(dir)
			if err == nil {
				unlock()
			}
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			unlock, err := lockDataDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			held, err := heldDataDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				ended <- runParts(t.Context(), part{name: "data dir", run: func(ctx context.Context) error { return held.keep(ctx, time.Millisecond) }, again: true})
			}()
			if err := os.WriteFile(filepath.Join(dir, "more"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "headway cleanup --data-dir "+dir) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "data")
	unlock, err := lockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	held, err := heldDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	cancelled := runParts(ctx, part{name: "data dir", run: func(ctx context.Context) error { return held.keep(ctx, time.Millisecond) }, again: true},
		part{name: "end", run: func(context.Context) error {
			for ; looks < 50; looks++ {
				if err := os.WriteFile(filepath.Join(dir, "more"), nil, 0o600); err != nil {
					return err
				}
			}
			cancel()
			return nil
		}})
	if cancelled != nil && !errors.Is(cancelled, context.Canceled) {
		t.Errorf("with its data dir in place it ends with %v", cancelled)
	}
}
