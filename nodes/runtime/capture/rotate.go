package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"headway.dev/nodes/runtime/fsutil"
)

// Rotation bounds the space of the log of one attempt of a container: files of
// about MaxSize bytes, MaxFiles of them including the one being written.
type Rotation struct {
	MaxSize  int64
	MaxFiles int
}

// The kubelet's containerLogMaxSize and containerLogMaxFiles.
const (
	DefaultMaxSize  = 10 << 20
	DefaultMaxFiles = 5
)

// rotatedStamp follows the name of a rotated file, as the kubelet has it but
// finer: <attempt>.log.20260102-150405.000000000. The names sort by age.
const rotatedStamp = "20060102-150405.000000000"

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// rotateIfFull begins a new file when the log has reached its size. It is
// called between two chunks, when no position is noted: an end of this process
// at any step leaves files that are whole, and at most none at the path, which
// the next process makes. A failure is said once and tried again with the next
// chunk; the log grows meanwhile.
func (l *Copier) rotateIfFull() {
	if l.size < l.rotation.MaxSize {
		return
	}
	if err := l.rotate(); err != nil && !l.failed {
		l.failed = true
		l.log.Error("cannot rotate container output", "file", l.file.Name(), "err", err)
	}
}

func (l *Copier) rotate() error {
	path := l.file.Name()
	old, err := rotatedLogs(path)
	if err != nil {
		return err
	}
	// First, so that a full disk gets room. The file to be rotated and the one
	// to be written count too.
	for len(old) > max(l.rotation.MaxFiles-2, 0) {
		if err := fsutil.IgnoreNotExist(os.Remove(old[0])); err != nil {
			return fmt.Errorf("remove an old log: %w", err)
		}
		old = old[1:]
	}
	name := path + "." + time.Now().UTC().Format(rotatedStamp)
	// A clock that was set back must not turn the order round.
	for len(old) > 0 && name <= old[len(old)-1] {
		last, err := time.Parse(rotatedStamp, old[len(old)-1][len(path)+1:])
		if err != nil {
			return fmt.Errorf("name of a rotated log: %w", err)
		}
		name = path + "." + last.Add(time.Nanosecond).Format(rotatedStamp)
	}
	if err := os.Rename(path, name); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	fresh, err := openLog(path)
	if err != nil {
		return errors.Join(err, os.Rename(name, path))
	}
	l.file.Close()
	l.file, l.size = fresh, 0
	return nil
}

// rotatedLogs lists the rotated files of a log, the oldest first.
func rotatedLogs(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("list rotated logs: %w", err)
	}
	prefix := filepath.Base(path) + "."
	var out []string
	for _, e := range entries {
		if name := e.Name(); len(name) > len(prefix) && name[:len(prefix)] == prefix {
			if _, err := time.Parse(rotatedStamp, name[len(prefix):]); err == nil {
				out = append(out, filepath.Join(filepath.Dir(path), name))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// Remove removes all files of one attempt's log.
func Remove(path string) error {
	old, err := rotatedLogs(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, name := range append(old, path) {
		errs = append(errs, fsutil.IgnoreNotExist(os.Remove(name)))
	}
	return errors.Join(errs...)
}
