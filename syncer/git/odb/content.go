package odb

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
)

// Bounds on what indexing a pack keeps at a time: objects up to spillSize
// stay in memory while all of them together have at most memoryBudget bytes;
// the others are in files.
const (
	spillSize    = 8 << 20
	memoryBudget = 48 << 20
)

var copyBuffers = sync.Pool{New: func() any {
	b := make([]byte, 32<<10)
	return &b
}}

// space hands out room for contents.
type space struct {
	dir      string
	inMemory int64
	onDisk   int64
	maxDisk  int64
	free     [][]byte // for reuse
}

// content is an object's data while others are made of it.
type content struct {
	io.ReaderAt
	io.Writer
	size int64

	space *space
	data  *bytes.Buffer
	file  *os.File
}

// room is for an object of the size, to be written once.
func (s *space) room(size int64) (*content, error) {
	c := &content{size: size, space: s}
	if size <= spillSize && s.inMemory+size <= memoryBudget {
		s.inMemory += size
		var b []byte
		if n := len(s.free); n > 0 && int64(cap(s.free[n-1])) >= size {
			b, s.free = s.free[n-1], s.free[:n-1]
		} else {
			b = make([]byte, 0, size)
		}
		c.data = bytes.NewBuffer(b[:0])
		c.Writer = c.data
		return c, nil
	}
	if s.onDisk+size > s.maxDisk {
		return nil, &SizeError{What: "what the pack's deltas unpack to", Limit: s.maxDisk}
	}
	f, err := os.CreateTemp(s.dir, tempPrefix)
	if err != nil {
		return nil, fmt.Errorf("unpack a large object: %w", err)
	}
	// Nobody else needs its name, and a crash leaves nothing.
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("unpack a large object: %w", err)
	}
	s.onDisk += size
	c.file, c.Writer, c.ReaderAt = f, f, f
	return c, nil
}

// written makes what was written readable.
func (c *content) written() {
	if c.data != nil {
		c.ReaderAt = bytes.NewReader(c.data.Bytes())
	}
}

// release gives the room back.
func (c *content) release() {
	if c == nil {
		return
	}
	if c.file != nil {
		_ = c.file.Close()
		c.space.onDisk -= c.size
		return
	}
	c.space.inMemory -= c.size
	const keep, keepSize = 8, 256 << 10
	if b := c.data.Bytes(); len(c.space.free) < keep && cap(b) <= keepSize {
		c.space.free = append(c.space.free, b[:0])
	}
}
