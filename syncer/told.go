package syncer

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/forge"
)

// maxTold bounds what is remembered about forges, in Kustomizations.
const maxTold = 10000

// toldStatus is what a forge was told last about a Kustomization.
type toldStatus struct {
	SHA   string      `json:"sha"`
	State forge.State `json:"state"`
}

// toldFile remembers across restarts what forges were told, so that nothing is
// told twice and what began gets its end. What cannot be read is forgotten, at
// the price of a status that is set again. Its user locks.
type toldFile struct {
	path string
	all  map[string]toldStatus // by source and Kustomization
}

func openTold(dir string) *toldFile {
	t := &toldFile{path: filepath.Join(dir, "commit-status.json"), all: map[string]toldStatus{}}
	data, err := os.ReadFile(t.path)
	if err != nil || json.Unmarshal(data, &t.all) != nil || t.all == nil {
		t.all = map[string]toldStatus{}
	}
	return t
}

func (t *toldFile) last(at string) (toldStatus, bool) {
	s, ok := t.all[at]
	return s, ok
}

func (t *toldFile) set(at string, s toldStatus, log *slog.Logger) {
	if len(t.all) >= maxTold {
		clear(t.all)
	}
	t.all[at] = s
	data, err := json.Marshal(t.all)
	if err == nil {
		next := t.path + ".next"
		if err = os.WriteFile(next, data, 0o600); err == nil {
			err = os.Rename(next, t.path)
		}
	}
	if err != nil {
		log.Warn("remember what the forge was told", "err", err)
	}
}

// sourceKeyOf is the key of a GitRepository named namespace/name.
func sourceKeyOf(name string) (object.Key, bool) {
	namespace, short, ok := strings.Cut(name, "/")
	return object.Key{GroupKind: flux.GitRepository, Namespace: namespace, Name: short}, ok
}

func trimmed(data []byte) string { return strings.TrimSpace(string(data)) }
