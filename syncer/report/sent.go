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
	// sentLog is the store's log of the statuses that forges were sent.
	sentLog = "commit-status"
	// maxSent bounds it, and what of it is known, in entries.
	maxSent = 10000
	// sentFile in the data dir is where earlier versions kept it.
	sentFile = "commit-status.json"
)

// sentStatus is the status that a forge was sent about a Kustomization.
type sentStatus struct {
	// Of is the source and the Kustomization.
	Of    string      `json:"of,omitempty"`
	SHA   string      `json:"sha"`
	State forge.State `json:"state"`
}

// sent knows across restarts which statuses forges were sent last, so that none
// is sent twice and what began gets its end. If some of it is lost or cannot be
// read, a status is set again.
type sent struct {
	store env.Store
	log   *slog.Logger
	mu    sync.Mutex
	all   map[string]sentStatus // by Of
}

func newSent(store env.Store, log *slog.Logger) *sent {
	return &sent{store: store, log: log, all: map[string]sentStatus{}}
}

// load reads the log, and takes over the file that an earlier version left in
// the data dir.
func (t *sent) load(ctx context.Context, dir string) {
	records, err := t.store.Records(sentLog, -maxSent, maxSent)
	if err != nil {
		t.log.Warn("read what forges were told", "err", err)
	}
	for _, r := range records {
		var s sentStatus
		if json.Unmarshal(r, &s) == nil {
			t.note(s)
		}
	}
	path := filepath.Join(dir, sentFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	old := map[string]sentStatus{}
	if err == nil {
		err = json.Unmarshal(data, &old)
	}
	if err != nil {
		t.log.Warn("what forges were told is forgotten", "file", path, "err", err)
	}
	var list []sentStatus
	for of, s := range old {
		if _, known := t.last(of); !known && len(list) < maxSent {
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

// last returns the status sent last about a source and a Kustomization.
func (t *sent) last(of string) (sentStatus, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.all[of]
	return s, ok
}

func (t *sent) note(s sentStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.all[s.Of]; !known && len(t.all) >= maxSent {
		clear(t.all)
	}
	t.all[s.Of] = s
}

// remember notes statuses, and writes them to the log.
func (t *sent) remember(ctx context.Context, list ...sentStatus) error {
	var tx change.Tx
	for _, s := range list {
		t.note(s)
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		tx.Append = append(tx.Append, change.Record{Log: sentLog, Data: data, Keep: maxSent})
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
