package datadir

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"headway.dev/engine"
	"headway.dev/engine/store/file"
)

// lockFile is the first file that a data dir gets, and the last that it loses.
const lockFile = "lock"

// dataNames are what Headway has in a data dir, and what earlier versions had
// (commit-status.json).
var dataNames = []string{
	engine.StoreFile, "pki", "repo.git", "git", "commit-status.json", "runtime", "pods", "volumes", "logs", "network", "images", "kubeconfig", lockFile,
}

// cutOff begin the names of what a write that was cut off leaves.
var cutOff = []string{engine.StoreFile + ".new-", engine.StoreFile + file.NextSuffix, "repo.git.unfinished", ".kubeconfig-", "commit-status.json.next"}

// dataOf splits what is in a directory into Headway's and what somebody else has
// put there. A directory that does not exist has nothing.
func dataOf(dir string) (own, foreign []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("list the data dir: %w", err)
	}
	for _, e := range entries {
		begins := func(prefix string) bool { return strings.HasPrefix(e.Name(), prefix) }
		if slices.Contains(dataNames, e.Name()) || slices.ContainsFunc(cutOff, begins) {
			own = append(own, e.Name())
		} else {
			foreign = append(foreign, e.Name())
		}
	}
	return own, foreign, nil
}

// CheckNew refuses to create a cluster in a directory with somebody else's
// files, because the directory would be closed to other users.
func CheckNew(dir string) error {
	own, foreign, err := dataOf(dir)
	// Every file system of ext4 begins with this one.
	foreign = slices.DeleteFunc(foreign, func(name string) bool { return name == "lost+found" })
	if err != nil || len(foreign) == 0 || slices.Contains(own, lockFile) || slices.Contains(own, engine.StoreFile) {
		return err
	}
	return fmt.Errorf("data dir %s has %s in it, which is not Headway's: give --data-dir a directory of its own", dir, listed(foreign))
}

// CheckUsed refuses to clean up a directory that never held a cluster. It
// counts as used, too, if somebody removed the files by hand but the cluster's
// sockets and namespaces still exist.
func CheckUsed(dir string) error {
	own, _, err := dataOf(dir)
	if err != nil || slices.Contains(own, lockFile) || slices.Contains(own, engine.StoreFile) || !Missing(RunDir(dir)) {
		return err
	}
	return fmt.Errorf("%s is no data dir of Headway: it has neither %s nor %s; nothing was removed", dir, lockFile, engine.StoreFile)
}

// Remove removes what Headway has in a directory and returns a list of it. The
// directory itself is removed as well, unless it contains something else or is
// a mount point.
func Remove(dir string, out io.Writer) error {
	own, foreign, err := dataOf(dir)
	if err != nil {
		return err
	}
	// What is cut off here can be cleaned up again as long as the lock is there.
	slices.SortStableFunc(own, func(a, b string) int { return strings.Compare(last(a), last(b)) })
	for _, name := range own {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove the data: %w", err)
		}
	}
	removed := strings.Join(own, ", ")
	if len(foreign) > 0 {
		fmt.Fprintf(out, "removed what is Headway's in %s (%s); left %s, which is not\n", dir, removed, listed(foreign))
		return nil
	}
	err = os.Remove(dir)
	switch {
	case errors.Is(err, unix.EBUSY):
		fmt.Fprintf(out, "removed all in %s (%s); the directory is a mount point and stays\n", dir, removed)
		return nil
	case err != nil:
		return fmt.Errorf("remove the data dir: %w", err)
	}
	fmt.Fprintf(out, "removed %s (%s)\n", dir, removed)
	return nil
}

// last sorts the lock behind everything else.
func last(name string) string {
	if name == lockFile {
		return "1"
	}
	return "0"
}

// listed names a few of many files.
func listed(names []string) string {
	const few = 5
	if len(names) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
	}
	return strings.Join(names, ", ")
}

// Default is the data directory whose cluster keeps in /run/headway what does
// not outlive a reboot.
const Default = "/var/lib/headway"

// RunDir returns the directory with the sockets and namespaces of a data
// directory's cluster. It is not in the data directory: it must be empty after
// a reboot, and socket paths must be short.
func RunDir(dataDir string) string {
	if dataDir == Default {
		return "/run/headway"
	}
	sum := sha256.Sum256([]byte(dataDir))
	return "/run/headway-" + hex.EncodeToString(sum[:4])
}

// Missing reports whether nothing exists at a path.
func Missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
