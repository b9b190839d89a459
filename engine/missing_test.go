package engine_test

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/engine"
)

// A data dir that had a cluster and lost its store is refused and left as it
// is; a start that was cut off before anything of the cluster was there is not.
func TestMissingStore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, engine.StoreFile)
	open := func(newStore bool) error {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		e, err := engine.Open(engine.Config{
			DataDir: dir, Listener: listener, Address: listener.Addr().(*net.TCPAddr).AddrPort(), NewStore: newStore,
			ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		return e.Close()
	}
	if err := open(false); err != nil {
		t.Fatalf("a new data dir: %v", err)
	}
	for _, left := range []string{"pki/", "pods/"} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if left == "pods/" {
			if err := os.RemoveAll(filepath.Join(dir, "pki")); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(dir, "pods", "a-pod"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		err := open(false)
		if !errors.Is(err, engine.ErrStoreMissing) {
			t.Fatalf("without its store, beside %s: %v, want a refusal", left, err)
		}
		for _, want := range []string{file, left, "restore the file from a backup", "--new-store"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the refusal does not tell %q: %v", want, err)
			}
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a store was made by a refused start: %v", err)
		}
		if err := open(true); err != nil {
			t.Fatalf("a new store on purpose: %v", err)
		}
		if err := open(false); err != nil {
			t.Fatalf("after it: %v", err)
		}
	}
	if err := open(true); err == nil || !strings.Contains(err.Error(), "leave out --new-store") {
		t.Errorf("--new-store beside a store: %v, want a refusal", err)
	}
	// Killed right after the first file was made.
	for _, name := range []string{"pki", "pods"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(false); err != nil {
		t.Errorf("a store alone: %v", err)
	}
}
