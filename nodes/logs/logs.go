// Package logs reads container logs in the CRI format, one entry a line:
//
//	2026-01-02T15:04:05.000000000Z stdout F message
//
// The tag is F for a full line and P for a part of one whose rest follows.
// [Read] copies the messages of a container, and with Follow goes on until the
// container has ended. Everything is safe for concurrent use.
package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options selects what is read.
type Options struct {
	// TailLines is how many of the last lines to start with; negative is all.
	TailLines int64
	// Whole begins with the oldest file of the log that is kept, not with the
	// newest, and fails rather than skip anything, when a file is removed that
	// a slow reader has not reached yet. TailLines is ignored.
	Whole bool
	// Since drops entries before it, if it is not zero.
	Since time.Time
	// LimitBytes ends after that many bytes; zero or less is no limit.
	LimitBytes int64
	Timestamps bool
	Follow     bool
	// Running reports whether the container still runs: following ends when it
	// does not and everything has been read. Required with Follow.
	Running func() bool
}

// maxLine bounds one entry. The writer splits lines long before.
const maxLine = 1 << 20

// The failures of Whole.
var (
	errBehind  = errors.New("the output came faster than it was read")
	errRemoved = errors.New("the container's log was removed before all of it was read")
)

// errLimit says that LimitBytes are written.
var errLimit = errors.New("byte limit reached")

// Read copies the log file at path: what is in it, and with Follow what comes,
// across a rotation (the file is renamed and a new one appears at path).
// stdout and stderr may be the same writer. A log that does not exist is empty.
func Read(ctx context.Context, path string, opts Options, stdout, stderr io.Writer) error {
	r := &reader{opts: opts, stdout: stdout, stderr: stderr, left: opts.LimitBytes}
	err := r.read(ctx, path)
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

type reader struct {
	opts           Options
	stdout, stderr io.Writer
	left           int64
	later          bool // what is read had been rotated when it was opened
}

func (r *reader) read(ctx context.Context, path string) error {
	var watcher *fsnotify.Watcher
	if r.opts.Follow {
		var err error
		if watcher, err = fsnotify.NewWatcher(); err != nil {
			return fmt.Errorf("watch the log: %w", err)
		}
		defer watcher.Close()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("watch the log: %w", err)
		}
		// The directory, not the file: that sees a rotation too. Watched before
		// the first read, so that nothing falls in between.
		if err := watcher.Add(filepath.Dir(path)); err != nil {
			return fmt.Errorf("watch the log: %w", err)
		}
	}
	f, err := r.first(path)
	if err != nil {
		return err
	}
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	if f != nil && !r.opts.Whole {
		start, err := tailStart(f, r.opts.TailLines)
		if err != nil {
			return fmt.Errorf("find the last lines: %w", err)
		}
		if _, err := f.Seek(start, io.SeekStart); err != nil {
			return fmt.Errorf("find the last lines: %w", err)
		}
	}
	var rest []byte
	for {
		// Asked before reading: what a dead container wrote is all there.
		running := r.opts.Follow && r.opts.Running()
		if f == nil {
			if f, err = r.first(path); err != nil {
				return err
			}
		}
		if f != nil {
			if rest, err = r.copy(f, rest); err != nil {
				return err
			}
			if rotated(f, path) {
				// Its last lines may have come between the copy and the rename.
				if _, err := r.copy(f, rest); err != nil {
					return err
				}
				following, err := r.next(f, path)
				if err != nil {
					return err
				}
				f.Close()
				f, rest = following, nil
				continue
			}
		}
		if !running {
			if r.opts.Whole && r.later {
				return errRemoved
			}
			return nil
		}
		if err := wait(ctx, watcher); err != nil {
			return nil // the reader went away
		}
	}
}

// wait returns when the log directory changed, and now and then without reason:
// the end of a container changes no file.
func wait(ctx context.Context, watcher *fsnotify.Watcher) error {
	t := time.NewTimer(500 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-watcher.Events:
	case <-watcher.Errors: //nolint:errcheck // lost events are a reason to look, too
	case <-t.C:
	}
	return nil
}

func open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

// rotated reports whether path names another file than f by now.
func rotated(f *os.File, path string) bool {
	own, err := f.Stat()
	if err != nil {
		return true
	}
	now, err := os.Stat(path)
	return err == nil && !os.SameFile(own, now)
}

// first opens the file to begin with, nil if there is none yet.
func (r *reader) first(path string) (*os.File, error) {
	if !r.opts.Whole {
		return open(path)
	}
	return r.choose(path, func(names []string) (string, error) { return names[0], nil })
}

// next opens the file that follows f, whose name was path: a reader that is
// slow may be several rotations behind. If f itself is gone by now, others may
// be that came after it: the oldest file is the nearest to it. It returns nil
// if there is no file.
func (r *reader) next(f *os.File, path string) (*os.File, error) {
	own, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the log: %w", err)
	}
	return r.choose(path, func(names []string) (string, error) {
		for i, name := range names[:len(names)-1] {
			if info, err := os.Stat(name); err == nil && os.SameFile(own, info) {
				return names[i+1], nil
			}
		}
		if r.opts.Whole {
			return "", errBehind
		}
		return names[0], nil
	})
}

// choose opens one of the files of a log; no rotation comes in between.
func (r *reader) choose(path string, which func(names []string) (string, error)) (*os.File, error) {
	for {
		names, err := files(path)
		if err != nil {
			return nil, err
		}
		name, failure := which(names)
		var fresh *os.File
		if failure == nil {
			if fresh, err = open(name); err != nil {
				return nil, err
			}
		}
		again, err := files(path)
		if err == nil && slices.Equal(names, again) {
			r.later = name != path
			return fresh, failure
		}
		// A rotation came in between: what was opened may not be what it was.
		if fresh != nil {
			fresh.Close()
		}
		if err != nil {
			return nil, err
		}
	}
}

// files lists the files of a log, the oldest first and path last: the names of
// rotated ones sort by age.
func files(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list rotated logs: %w", err)
	}
	var out []string
	for _, e := range entries { // sorted by name
		if strings.HasPrefix(e.Name(), filepath.Base(path)+".") {
			out = append(out, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return append(out, path), nil
}

// copy writes the entries from f's position to its end. It returns the
// unfinished line at the end, which is given to the next call.
func (r *reader) copy(f *os.File, rest []byte) ([]byte, error) {
	buf := bufio.NewReaderSize(f, 64<<10)
	for {
		part, err := buf.ReadSlice('\n')
		rest = append(rest, part...)
		switch {
		case err == nil:
			if err := r.entry(rest); err != nil {
				return nil, err
			}
			rest = rest[:0]
		case errors.Is(err, bufio.ErrBufferFull):
			if len(rest) > maxLine {
				return nil, fmt.Errorf("a line of the log is longer than %d bytes", maxLine)
			}
		case errors.Is(err, io.EOF):
			return rest, nil
		default:
			return nil, fmt.Errorf("read the log: %w", err)
		}
	}
}

// entry writes one line of the file, if it is asked for.
func (r *reader) entry(line []byte) error {
	e, ok := parse(line)
	if !ok {
		return nil // half of a line that a crash cut
	}
	if !r.opts.Since.IsZero() && e.at.Before(r.opts.Since) {
		return nil
	}
	out := e.message
	if r.opts.Timestamps {
		out = append(append(append([]byte{}, e.stamp...), ' '), e.message...)
	}
	if !e.partial {
		out = append(slices.Clip(out), '\n')
	}
	limited := r.opts.LimitBytes > 0
	if limited && int64(len(out)) > r.left {
		out = out[:r.left]
	}
	w := r.stdout
	if e.stderr {
		w = r.stderr
	}
	if _, err := w.Write(out); err != nil {
		return err
	}
	if limited {
		if r.left -= int64(len(out)); r.left <= 0 {
			return errLimit
		}
	}
	return nil
}

// entry is one parsed line.
type entry struct {
	at              time.Time
	stamp, message  []byte
	stderr, partial bool
}

// parse splits a line of the file. It reports false for anything that is not an
// entry.
func parse(line []byte) (entry, bool) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	stamp, line, ok1 := bytes.Cut(line, []byte(" "))
	stream, line, ok2 := bytes.Cut(line, []byte(" "))
	tag, message, ok3 := bytes.Cut(line, []byte(" "))
	if !ok1 || !ok2 || !ok3 {
		return entry{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil || (string(stream) != "stdout" && string(stream) != "stderr") {
		return entry{}, false
	}
	tag, _, _ = bytes.Cut(tag, []byte(":"))
	return entry{at: at, stamp: stamp, message: message, stderr: string(stream) == "stderr", partial: string(tag) == "P"}, true
}

// tailStart is the offset at which the last n lines begin. Lines, not entries:
// the parts of a line count once.
func tailStart(f io.ReaderAt, n int64) (int64, error) {
	size, err := sizeOf(f)
	if err != nil || n < 0 {
		return 0, err
	}
	if n == 0 {
		return size, nil
	}
	const block = 64 << 10
	buf := make([]byte, block)
	lines := int64(0)
	end := size
	for end > 0 {
		start := max(end-block, 0)
		part := buf[:end-start]
		if _, err := f.ReadAt(part, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i, p := range slices.Backward(part) {
			if p != '\n' || start+int64(i) == size-1 {
				continue
			}
			// What follows this newline is an entry; what precedes it decides
			// whether that entry begins a line.
			full, err := endsLine(f, start+int64(i))
			if err != nil {
				return 0, err
			}
			if full {
				if lines++; lines == n {
					return start + int64(i) + 1, nil
				}
			}
		}
		end = start
	}
	return 0, nil
}

// endsLine reports whether the entry whose newline is at offset is a full one.
func endsLine(f io.ReaderAt, offset int64) (bool, error) {
	start := max(offset-maxLine, 0)
	// The tag is in the first bytes of the entry: find its beginning in steps.
	for step := int64(256); ; step *= 4 {
		from := max(offset-step, start)
		buf := make([]byte, offset-from)
		if _, err := f.ReadAt(buf, from); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if i := bytes.LastIndexByte(buf, '\n'); i >= 0 {
			buf = buf[i+1:]
		} else if from > start {
			continue
		}
		e, ok := parse(buf)
		return !ok || !e.partial, nil
	}
}

func sizeOf(f io.ReaderAt) (int64, error) {
	if s, ok := f.(interface{ Stat() (os.FileInfo, error) }); ok {
		info, err := s.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	return 0, errors.New("size unknown")
}

// Tail returns the end of a log: at most lines lines and size bytes, of both
// streams. It is empty if there is no log.
func Tail(path string, lines int64, size int) string {
	var buf bytes.Buffer
	if err := Read(context.Background(), path, Options{TailLines: lines}, &buf, &buf); err != nil {
		return ""
	}
	text := buf.Bytes()
	if len(text) > size {
		text = text[len(text)-size:]
	}
	return string(bytes.ToValidUTF8(text, []byte("\uFFFD")))
}
