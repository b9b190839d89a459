package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
)

// teeSize is the most that is copied at a time: the capacity of a pipe.
const teeSize = 64 << 10

// Copier copies what one container prints from its FIFOs to its log file,
// such that an end of this process at any instant neither loses nor repeats
// anything:
//
//  1. tee(2) the FIFO into a private pipe: the FIFO keeps the bytes
//  2. note in the position file what is about to be written, and where
//  3. append the lines to the log in one write
//  4. read the same bytes from the FIFO, and clear the note
//
// The next process finds the note and compares (see recover). While no process
// copies, the FIFO fills and the container waits.
type Copier struct {
	log     *slog.Logger
	tees    *Tees
	streams []*logStream
	wg      sync.WaitGroup

	mu       sync.Mutex // one chunk at a time
	rotation Rotation
	file     *os.File
	size     int64
	position *positionFile
	failed   bool // the log cannot be written, and that has been said
	readers  map[*Reader]struct{}
}

type logStream struct {
	name string // stdout or stderr
	fifo *os.File
}

// Reader receives a copy of the output while a client is attached.
type Reader struct {
	Chunks chan Chunk // closed at the end of the output
	Behind bool       // it was cut off, because it did not keep up
}

// Chunk is a part of the output, of stdout or stderr.
type Chunk struct {
	Stream string
	Data   []byte
}

// Paths are the files of one container's output. Stderr is empty with a
// terminal, which has only one stream.
type Paths struct {
	Stdout, Stderr, Position, File string
}

// Start creates missing FIFOs, finishes what a previous process left half done,
// and copies until stopped.
func Start(p Paths, rot Rotation, tees *Tees, log *slog.Logger) (_ *Copier, err error) {
	l := &Copier{log: log, tees: tees, rotation: rot, readers: map[*Reader]struct{}{}}
	defer func() {
		if err != nil {
			l.closeFiles()
		}
	}()
	if err := os.MkdirAll(filepath.Dir(p.File), 0o755); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	if l.file, err = openLog(p.File); err != nil {
		return nil, err
	}
	if l.position, err = openPosition(p.Position); err != nil {
		return nil, err
	}
	for _, s := range []struct{ name, path string }{{"stdout", p.Stdout}, {"stderr", p.Stderr}} {
		if s.path == "" {
			continue
		}
		fifo, err := openFIFO(s.path)
		if err != nil {
			return nil, err
		}
		l.streams = append(l.streams, &logStream{name: s.name, fifo: fifo})
	}
	if err := l.recover(); err != nil {
		return nil, fmt.Errorf("recover log position: %w", err)
	}
	if l.size, err = l.file.Seek(0, 2); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	for _, s := range l.streams {
		l.wg.Go(func() { guard.Do(context.Background(), "copy container output", func() { l.run(s) }) })
	}
	return l, nil
}

// openFIFO opens both ends, so that opening waits for nobody and the end of
// one writer is not the end of the stream.
func openFIFO(path string) (*os.File, error) {
	if err := MakeFIFO(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open FIFO: %w", err)
	}
	return f, nil
}

// MakeFIFO creates a FIFO unless it exists.
func MakeFIFO(path string) error {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make FIFO %s: %w", path, err)
	}
	return nil
}

// run copies one stream until its read deadline is set.
func (l *Copier) run(s *logStream) {
	conn, err := s.fifo.SyscallConn()
	if err != nil {
		l.log.Error("cannot read container output", "err", err)
		return
	}
	for {
		var failure error
		// The poller tells only of new bytes: go on until there are none.
		err := conn.Read(func(fd uintptr) bool {
			n, err := l.copyChunk(s, int(fd))
			failure = err
			return n > 0 || err != nil
		})
		if err := errors.Join(failure, err); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, os.ErrClosed) {
				l.log.Error("stopped copying container output", "stream", s.name, "err", err)
			}
			return
		}
	}
}

// copyChunk copies what the FIFO holds, without waiting; 0 if it is empty.
func (l *Copier) copyChunk(s *logStream, fd int) (int, error) {
	t, err := l.tees.get()
	if err != nil {
		return 0, err
	}
	defer l.tees.put(t)
	data, err := t.peek(fd)
	if err != nil || len(data) == 0 {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rotateIfFull()
	lines := formatLines(t.lines[:0], time.Now(), s.name, data)
	t.lines = lines
	// Without the note an end of this process right here would repeat some
	// lines; not to copy would be worse.
	noted := l.position.set(position{Stream: s.name, Offset: l.size, Bytes: len(data)})
	n, err := l.file.Write(lines)
	if err != nil && n > 0 {
		// Half a line would swallow the next one.
		whole := bytes.LastIndexByte(lines[:n], '\n') + 1
		err = errors.Join(err, l.file.Truncate(l.size+int64(whole)))
		n = whole
	}
	l.size += int64(n)
	err = errors.Join(noted, err)
	if err != nil && !l.failed {
		// The container must not wait for a full disk for ever.
		l.failed = true
		l.log.Error("container output is being lost", "file", l.file.Name(), "err", err)
	}
	if err == nil {
		l.failed = false
	}
	if err := readExactly(fd, t.buf[:len(data)]); err != nil {
		return 0, fmt.Errorf("read FIFO: %w", err)
	}
	if noted == nil {
		if err := l.position.clear(); err != nil {
			return 0, fmt.Errorf("clear log position: %w", err)
		}
	}
	l.publish(s.name, t.buf[:len(data)])
	return len(data), nil
}

// recover finishes the chunk a former process was copying when it ended.
func (l *Copier) recover() error {
	pos, ok, err := l.position.get()
	if err != nil || !ok {
		return err
	}
	written, complete, err := l.writtenChunk(pos)
	if err != nil {
		return err
	}
	if !complete {
		// Step 3 was not finished, so the FIFO still has all of it.
		if err := l.file.Truncate(pos.Offset); err != nil {
			return err
		}
		return l.position.clear()
	}
	for _, s := range l.streams {
		if s.name != pos.Stream {
			continue
		}
		conn, err := s.fifo.SyscallConn()
		if err != nil {
			return err
		}
		var failure error
		err = conn.Control(func(fd uintptr) { failure = l.dropCopied(int(fd), written) })
		if err := errors.Join(err, failure); err != nil {
			return err
		}
	}
	return l.position.clear()
}

// dropCopied reads what is already in the log from the FIFO, if it still
// begins with it: else step 4 had been done.
func (l *Copier) dropCopied(fd int, written []byte) error {
	t, err := l.tees.get()
	if err != nil {
		return err
	}
	defer l.tees.put(t)
	head, err := t.peek(fd)
	if err != nil || !bytes.HasPrefix(head, written) {
		return err
	}
	return readExactly(fd, t.buf[:len(written)])
}

// writtenChunk reads the chunk at pos back from the log. It is not complete if
// the log ends before it does.
func (l *Copier) writtenChunk(pos position) (data []byte, complete bool, err error) {
	st, err := l.file.Stat()
	if err != nil {
		return nil, false, err
	}
	// Each byte makes a line of at most 45 bytes more.
	size := min(st.Size()-pos.Offset, int64(pos.Bytes)*64)
	if size <= 0 {
		return nil, false, nil
	}
	text := make([]byte, size)
	if _, err := l.file.ReadAt(text, pos.Offset); err != nil {
		return nil, false, err
	}
	data = parseLines(text, pos.Stream)
	return data, len(data) == pos.Bytes, nil
}

// Stop ends the goroutines and closes everything. With drain, for when nothing
// writes any more, it first copies what is still in the FIFOs.
func (l *Copier) Stop(drain bool) {
	for _, s := range l.streams {
		_ = s.fifo.SetReadDeadline(time.Unix(1, 0))
	}
	l.wg.Wait()
	if drain {
		for _, s := range l.streams {
			if err := l.drain(s); err != nil {
				l.log.Error("cannot copy the end of container output", "stream", s.name, "err", err)
			}
		}
	}
	l.mu.Lock()
	for r := range l.readers {
		close(r.Chunks)
	}
	l.readers = nil
	l.mu.Unlock()
	l.closeFiles()
}

func (l *Copier) drain(s *logStream) error {
	conn, err := s.fifo.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = conn.Control(func(fd uintptr) {
		for {
			n, err := l.copyChunk(s, int(fd))
			if n == 0 || err != nil {
				failure = err
				return
			}
		}
	})
	return errors.Join(err, failure)
}

func (l *Copier) closeFiles() {
	for _, s := range l.streams {
		s.fifo.Close()
	}
	if l.position != nil {
		l.position.f.Close()
	}
	if l.file != nil {
		l.file.Close()
	}
}

// Subscribe returns a reader of all output from now on, nil after the end.
func (l *Copier) Subscribe() *Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readers == nil {
		return nil
	}
	r := &Reader{Chunks: make(chan Chunk, 256)}
	l.readers[r] = struct{}{}
	return r
}

// Unsubscribe ends a subscription.
func (l *Copier) Unsubscribe(r *Reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.readers, r)
}

// publish hands a chunk to who is attached. One that does not keep up is cut
// off: the container must not wait for it.
func (l *Copier) publish(stream string, data []byte) {
	for r := range l.readers {
		select {
		case r.Chunks <- Chunk{stream, bytes.Clone(data)}:
		default:
			r.Behind = true
			close(r.Chunks)
			delete(l.readers, r)
		}
	}
}

// readExactly reads what is known to be there.
func readExactly(fd int, buf []byte) error {
	for len(buf) > 0 {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("pipe ended early")
		}
		buf = buf[n:]
	}
	return nil
}
