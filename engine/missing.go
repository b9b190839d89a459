package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"headway.dev/engine/store/file"
)

// ErrStoreMissing is returned by Open for a data directory that had a cluster
// but no longer has a store.
var ErrStoreMissing = errors.New("the file is missing")

// ensureStore makes the store's file if this is a new cluster, before anything
// else is made: where there is something of a cluster, but not its store, an
// empty one would be an empty cluster, and all pods would be removed.
func ensureStore(dataDir string, wanted bool) error {
	path := filepath.Join(dataDir, StoreFile)
	switch _, err := os.Stat(path); {
	case err == nil && wanted:
		return fmt.Errorf("a new store is asked for, but there is %s: leave out --new-store, or move the file away", path)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("find the store: %w", err)
	}
	var remains []string
	for _, name := range []string{"pki", "pods"} {
		entries, err := os.ReadDir(filepath.Join(dataDir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("find what a cluster left: %w", err)
		}
		if len(entries) > 0 {
			remains = append(remains, name+"/")
		}
	}
	if len(remains) > 0 && !wanted {
		return fmt.Errorf("open store %s: %w, though %s of its cluster is there: an empty store would be an empty cluster, and its pods would be removed; "+
			"restore the file from a backup, or, to begin with an empty one, give --new-store once, or remove all that is left with headway cleanup",
			path, ErrStoreMissing, strings.Join(remains, " and "))
	}
	return file.Create(path)
}
