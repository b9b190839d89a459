package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Lock reserves the data directory for this process: two servers on one store,
// or two agents on one node's containers, would undo each other's work. The
// lock ends with the process, however that ends.
func Lock(dir string) (unlock func(), err error) {
	if err := closeDataDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data dir: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		owner, _ := os.ReadFile(path) // only makes the message better
		file.Close()
		return nil, &inUseError{dir, strings.TrimSpace(string(owner))}
	}
	if err == nil {
		err = errors.Join(file.Truncate(0), writeString(file, strconv.Itoa(os.Getpid())+"\n"))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock the data dir: %w", err)
	}
	return func() { file.Close() }, nil
}

// ErrInUse is what the errors of Lock are that another process causes.
var ErrInUse = errors.New("data dir in use")

type inUseError struct{ dir, owner string }

func (e *inUseError) Error() string {
	return fmt.Sprintf("data dir %s is in use by another process (pid %s): stop that one, or give --data-dir", e.dir, e.owner)
}

func (e *inUseError) Is(target error) bool { return target == ErrInUse }

// Held is a data directory that this process has locked.
type Held struct {
	dir  string
	lock os.FileInfo
}

// Hold returns the data directory that this process has just locked.
func Hold(dir string) (Held, error) {
	lock, err := os.Stat(filepath.Join(dir, lockFile))
	if err != nil {
		return Held{}, fmt.Errorf("look at the data dir: %w", err)
	}
	return Held{dir, lock}, nil
}

// Keep returns an error once the data directory is gone: otherwise the process
// would continue with a store that nobody can open again, and another process
// could start beside it.
func (h Held) Keep(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		now, err := os.Stat(filepath.Join(h.dir, lockFile))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(h.lock, now) {
			return fmt.Errorf("data dir %s was removed or replaced while the cluster ran, and the store with it: containers go on until `headway cleanup --data-dir %[1]s` removes what is left", h.dir)
		}
	}
}

// closeDataDir makes the data dir, or closes the one there is, to other users:
// it has the store with its Secrets, keys, and the repository. A directory that
// others use too, such as /tmp, stays as it is and is refused.
func closeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data dir: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the data dir: %w", err)
	}
	if info.Mode()&os.ModeSticky != 0 {
		return fmt.Errorf("data dir %s is a directory that all users share: give --data-dir one of its own", dir)
	}
	if info.Mode().Perm() == 0o700 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("close the data dir to other users: %w", err)
	}
	return nil
}

func writeString(file *os.File, text string) error {
	_, err := file.WriteString(text)
	return err
}
