package report

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/forge"
)

const (
	// toldLog is the store's log of what forges were told.
	toldLog = "commit-status"
	// maxTold bounds it, and what of it is known, in entries.
	maxTold = 10000
	// toldFile in the data dir is where earlier versions kept it.
	toldFile = "commit-status.json"
)

// toldStatus is what a forge was told about a Kustomization.
type toldStatus struct {
	// Of is the source and the Kustomization.
	Of    string      `json:"of,omitempty"`
	SHA   string      `json:"sha"`
	State forge.State `json:"state"`
}

// told knows across restarts what forges were told last, so that nothing is
// told twice and what began gets its end. What is lost of it, or cannot be read,
// costs a status that is set again.
type told struct {
	store env.Store
	log   *slog.Logger
	mu    sync.Mutex
	all   map[string]toldStatus // by Of
}

func newTold(store env.Store, log *slog.Logger) *told {
	return &told{store: store, log: log, all: map[string]toldStatus{}}
}

// load reads the log, and takes over the file that an earlier version left in
// the data dir.
func (t *told) load(ctx context.Context, dir string) {
	records, err := t.store.Records(toldLog, -maxTold, maxTold)
	if err != nil {
		t.log.Warn("read what forges were told", "err", err)
	}
	for _, r := range records {
		var s toldStatus
		if json.Unmarshal(r, &s) == nil {
			t.note(s)
		}
	}
	path := filepath.Join(dir, toldFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	old := map[string]toldStatus{}
	if err == nil {
		err = json.Unmarshal(data, &old)
	}
	if err != nil {
		t.log.Warn("what forges were told is forgotten", "file", path, "err", err)
	}
	var list []toldStatus
	for of, s := range old {
		if _, known := t.last(of); !known && len(list) < maxTold {
			s.Of = of
			list = append(list, s)
		}
	}
	if err := t.remember(ctx, list...); err != nil {
		return // at the next start, then
	}
	for _, name := range []string{path, path + ".next"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.log.Warn("remove what is in the store now", "err", err)
		}
	}
}

// last is what was told last of a source and a Kustomization.
func (t *told) last(of string) (toldStatus, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.all[of]
	return s, ok
}

func (t *told) note(s toldStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) >= maxTold {
		clear(t.all)
	}
	t.all[s.Of] = s
}

// remember notes statuses, and writes them to the log.
func (t *told) remember(ctx context.Context, list ...toldStatus) error {
	var tx change.Tx
	for _, s := range list {
		t.note(s)
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		tx.Append = append(tx.Append, change.Record{Log: toldLog, Data: data, Keep: maxTold})
	}
	if len(list) == 0 {
		return nil
	}
	if _, err := t.store.Commit(ctx, tx); err != nil {
		t.log.Warn("remember what the forge was told", "err", err)
		return err
	}
	return nil
}

// sourceKeyOf is the key of a GitRepository named namespace/name.
func sourceKeyOf(name string) (object.Key, bool) {
	namespace, short, ok := strings.Cut(name, "/")
	return object.Key{GroupKind: flux.GitRepository, Namespace: namespace, Name: short}, ok
}

func trimmed(data []byte) string { return strings.TrimSpace(string(data)) }
