package syncer

import (
	"os"
	"path/filepath"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

// mirrorMark is the file in a mirror that says which URL it is of.
const mirrorMark = "headway-url"

// mirrorDir is where the mirror of a source is kept.
func (s *Syncer) mirrorDir(key object.Key) string {
	return filepath.Join(s.cfg.DataDir, "git", key.Namespace, key.Name)
}

// removeMirrors removes the mirrors of sources that were deleted while nobody
// looked.
func (s *Syncer) removeMirrors() {
	// The pattern is well-formed, and Glob has no other error.
	marks, _ := filepath.Glob(s.mirrorDir(object.Key{Namespace: "*", Name: "*"}) + "/" + mirrorMark)
	for _, mark := range marks {
		dir := filepath.Dir(mark)
		key := object.Key{GroupKind: flux.GitRepository, Namespace: filepath.Base(filepath.Dir(dir)), Name: filepath.Base(dir)}
		if s.env.Store.Get(key) == nil {
			s.removeMirror(dir)
		}
	}
}

// removeMirror removes a directory if it is a mirror.
func (s *Syncer) removeMirror(dir string) {
	if _, err := os.Stat(filepath.Join(dir, mirrorMark)); err != nil {
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		s.env.Log.Warn("remove the mirror of a deleted source", "dir", dir, "err", err)
	}
}
