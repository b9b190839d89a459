package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// formatLines appends data as lines of the CRI log format:
//
//	2016-10-06T00:17:09.669794202Z stdout F a whole line
//	2016-10-06T00:17:09.669794203Z stdout P the beginning of one
//
// Bytes after the last newline become a partial line at once: what a program
// prints as a prompt is seen without waiting, and there is no state to lose.
func formatLines(out []byte, now time.Time, stream string, data []byte) []byte {
	stamp := now.UTC().AppendFormat(nil, time.RFC3339Nano)
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		tag := byte('P')
		if whole {
			tag = 'F'
		}
		out = append(out, stamp...)
		out = append(append(append(out, ' '), stream...), ' ', tag, ' ')
		out = append(append(out, line...), '\n')
		data = rest
	}
	return out
}

// parseLines is the inverse of formatLines: the bytes one stream printed, up to
// the first line that is not whole.
func parseLines(text []byte, stream string) []byte {
	var out []byte
	for {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		if !whole {
			return out
		}
		fields := bytes.SplitN(line, []byte{' '}, 4)
		if len(fields) != 4 || string(fields[1]) != stream {
			return out
		}
		out = append(out, fields[3]...)
		if string(fields[2]) == "F" {
			out = append(out, '\n')
		}
		text = rest
	}
}

// position says which chunk is being written to the log.
type position struct {
	Stream string
	Offset int64 // of the log, where the chunk begins
	Bytes  int   // of the stream
}

// positionFile keeps the position in the page cache: it outlives the process,
// which is all it has to; after a crash of the machine the FIFO is gone too.
type positionFile struct{ f *os.File }

func openPosition(path string) (*positionFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log position: %w", err)
	}
	return &positionFile{f}, nil
}

// The record: 0 none, 1 stdout, 2 stderr; offset; bytes.
func (p *positionFile) set(pos position) error {
	var b [13]byte
	b[0] = 1
	if pos.Stream == "stderr" {
		b[0] = 2
	}
	binary.LittleEndian.PutUint64(b[1:], uint64(pos.Offset))
	binary.LittleEndian.PutUint32(b[9:], uint32(pos.Bytes))
	_, err := p.f.WriteAt(b[:], 0)
	return err
}

func (p *positionFile) clear() error {
	_, err := p.f.WriteAt([]byte{0}, 0)
	return err
}

func (p *positionFile) get() (position, bool, error) {
	var b [13]byte
	if _, err := p.f.ReadAt(b[:], 0); errors.Is(err, io.EOF) || b[0] == 0 {
		return position{}, false, nil
	} else if err != nil {
		return position{}, false, err
	}
	pos := position{Stream: "stdout", Offset: int64(binary.LittleEndian.Uint64(b[1:])), Bytes: int(binary.LittleEndian.Uint32(b[9:]))}
	if b[0] == 2 {
		pos.Stream = "stderr"
	}
	if pos.Offset < 0 || pos.Bytes <= 0 || pos.Bytes > teeSize {
		return position{}, false, nil
	}
	return pos, true, nil
}

// tee is a private pipe with buffers. It is in use only while a chunk is being
// copied, so a few serve any number of containers.
type tee struct {
	r, w  int
	buf   []byte
	lines []byte
}

// peek returns what the FIFO holds and leaves it there; nothing if it is empty.
func (t *tee) peek(fd int) ([]byte, error) {
	for {
		n, err := unix.Tee(fd, t.w, teeSize, unix.SPLICE_F_NONBLOCK)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN), err == nil && n == 0:
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("tee: %w", err)
		}
		if err := readExactly(t.r, t.buf[:n]); err != nil {
			return nil, fmt.Errorf("read private pipe: %w", err)
		}
		return t.buf[:n], nil
	}
}

// Tees lends out at most max tees.
type Tees struct {
	slots chan struct{}
	mu    sync.Mutex
	free  []*tee
}

// NewTees returns a pool of at most maximum pipes.
func NewTees(maximum int) *Tees { return &Tees{slots: make(chan struct{}, maximum)} }

func (p *Tees) get() (*tee, error) {
	p.slots <- struct{}{}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		t := p.free[n-1]
		p.free = p.free[:n-1]
		return t, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		<-p.slots
		return nil, fmt.Errorf("make private pipe: %w", err)
	}
	return &tee{r: fds[0], w: fds[1], buf: make([]byte, teeSize)}, nil
}

func (p *Tees) put(t *tee) {
	p.mu.Lock()
	if cap(t.lines) > 4*teeSize {
		t.lines = nil
	}
	p.free = append(p.free, t)
	p.mu.Unlock()
	<-p.slots
}

// Close closes the pipes; none may be in use any more.
func (p *Tees) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.free {
		_ = unix.Close(t.r)
		_ = unix.Close(t.w)
	}
	p.free = nil
}
