package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// commonDir is where a linked working tree keeps its references.
func commonDir(gitDir string) string {
	data, err := os.ReadFile(filepath.Join(gitDir, "commondir"))
	if err != nil {
		return gitDir
	}
	dir := string(bytes.TrimSpace(data))
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(gitDir, dir)
	}
	return dir
}

// ErrGone reports that a watched repository was moved away or removed.
var ErrGone = errors.New("the repository was moved or removed")

// Watch calls changed after every change of a reference of a local repository,
// until ctx ends. It does not tell what changed, and may call too often, but
// never too rarely: a change made while Watch starts is seen by the caller's
// first look after ready is called.
func (r *Repository) Watch(ctx context.Context, ready, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch repository: %w", err)
	}
	defer func() { _ = w.Close() }()
	root := r.CommonDir()
	// The directory itself is watched for packed-refs and HEAD, which Git
	// replaces by renaming a new file into place.
	if err := w.Add(root); err != nil {
		return fmt.Errorf("watch repository %s: %w", root, err)
	}
	if err := addDirs(w, filepath.Join(root, "refs")); err != nil {
		return fmt.Errorf("watch repository %s: %w", root, err)
	}
	ready()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err, ok := <-w.Errors:
			if !ok {
				return fmt.Errorf("watch repository %s: the watch ended", root)
			}
			// An overflow lost events: look.
			if err != nil {
				changed()
			}
		case ev, ok := <-w.Events:
			if !ok {
				return fmt.Errorf("watch repository %s: the watch ended", root)
			}
			rel, err := filepath.Rel(root, ev.Name)
			if err != nil || strings.HasSuffix(rel, ".lock") || ev.Op == fsnotify.Chmod {
				continue
			}
			if rel == "." && (ev.Op.Has(fsnotify.Remove) || ev.Op.Has(fsnotify.Rename)) {
				return fmt.Errorf("watch repository %s: %w", root, ErrGone)
			}
			inRefs := rel == "refs" || strings.HasPrefix(rel, "refs"+string(filepath.Separator))
			if ev.Op.Has(fsnotify.Create) && inRefs {
				// feature/x is a directory and a file; the file may be there
				// before the watch of its directory is.
				_ = addDirs(w, ev.Name)
			}
			if inRefs || rel == "packed-refs" || rel == "HEAD" {
				changed()
			}
		}
	}
}

// addDirs watches a directory and those below it; files are left out, and
// what vanishes meanwhile.
func addDirs(w *fsnotify.Watcher, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it vanished, which its parent's watch reports
		}
		if !d.IsDir() {
			return nil
		}
		return w.Add(path)
	})
}
