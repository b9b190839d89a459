package source

import (
	"os"
	"path/filepath"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

// mirrorMark is the file in a mirror that says which URL it is of.
const mirrorMark = "headway-url"

// MirrorDir returns the directory of a source's mirror.
func (s *Set) MirrorDir(key object.Key) string {
	return filepath.Join(s.options.DataDir, "git", key.Namespace, key.Name)
}

// RemoveMirrors removes the mirrors of sources that were deleted while the
// syncer was not running.
func (s *Set) RemoveMirrors() {
	// The pattern is well-formed, and Glob has no other error.
	marks, _ := filepath.Glob(s.MirrorDir(object.Key{Namespace: "*", Name: "*"}) + "/" + mirrorMark)
	for _, mark := range marks {
		dir := filepath.Dir(mark)
		key := object.Key{GroupKind: flux.GitRepository, Namespace: filepath.Base(filepath.Dir(dir)), Name: filepath.Base(dir)}
		if s.env.Store.Get(key) == nil {
			s.RemoveMirror(dir)
		}
	}
}

// RemoveMirror removes a directory if it is a mirror.
func (s *Set) RemoveMirror(dir string) {
	if _, err := os.Stat(filepath.Join(dir, mirrorMark)); err != nil {
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		s.env.Log.Warn("remove the mirror of a deleted source", "dir", dir, "err", err)
	}
}
