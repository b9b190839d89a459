package odb

import (
	"bufio"
	"compress/zlib"
	"context"
	"io"
	"sync"
)

// maxDepth bounds chains of deltas. Git itself writes 50, at most 4,095.
const maxDepth = 4095

// header is what comes before an object's data in a pack.
type header struct {
	kind Kind
	size int64 // inflated; of the delta itself, for a delta
	// back is how far before this object the base of an ofsDelta starts.
	back int64
	base Hash // of a refDelta
}

// readHeader reads the header of an object in a pack.
func readHeader(r interface {
	io.ByteReader
	io.Reader
},
) (header, error) {
	var h header
	b, err := r.ReadByte()
	if err != nil {
		return h, unexpected(err)
	}
	h.kind = Kind(b >> 4 & 7)
	h.size = int64(b & 15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = r.ReadByte(); err != nil {
			return h, unexpected(err)
		}
		if shift > 53 {
			return h, corrupt("the length of an object overflows")
		}
		h.size |= int64(b&0x7f) << shift
	}
	switch h.kind {
	case Commit, Tree, Blob, Tag:
	case ofsDelta:
		for n := 0; ; n++ {
			if b, err = r.ReadByte(); err != nil {
				return h, unexpected(err)
			}
			if n > 8 {
				return h, corrupt("the offset of a delta overflows")
			}
			h.back = h.back<<7 | int64(b&0x7f)
			if b&0x80 == 0 {
				break
			}
			h.back++
		}
		if h.back <= 0 {
			return h, corrupt("a delta is its own base")
		}
	case refDelta:
		if _, err := io.ReadFull(r, h.base[:]); err != nil {
			return h, unexpected(err)
		}
	default:
		return h, corrupt("unknown object type %d", h.kind)
	}
	return h, nil
}

// unexpected makes of an end of file that it came too early.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // io.Reader returns it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}

// inflaters are zlib readers for reuse: each has a window of 32 KiB.
var inflaters sync.Pool

// inflate calls f with the inflated data that r starts with, and checks that
// it is exactly size bytes, so that a small file cannot grow without bound.
// What follows the data in r is left there if r is an io.ByteReader.
func inflate(r io.Reader, size int64, f func(io.Reader) error) error {
	z, _ := inflaters.Get().(io.ReadCloser)
	var err error
	if z == nil {
		z, err = zlib.NewReader(r)
	} else {
		err = z.(zlib.Resetter).Reset(r, nil)
	}
	if err != nil {
		return corrupt("object data: %v", unexpected(err))
	}
	defer inflaters.Put(z)
	limited := &io.LimitedReader{R: z, N: size}
	if err := f(limited); err != nil {
		return err
	}
	if limited.N > 0 {
		return corrupt("an object ends %d bytes early", limited.N)
	}
	// Reads the checksum, too.
	var one [1]byte
	for {
		n, err := z.Read(one[:])
		switch {
		case n > 0:
			return corrupt("an object is longer than its header says")
		case err == io.EOF:
			return nil
		case err != nil:
			return corrupt("object data: %v", err)
		}
	}
}

// stopped is a reader that ends with its context.
type stopped struct {
	ctx context.Context //nolint:containedctx // it is the reader's only purpose
	r   io.Reader
}

func (s stopped) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 16<<10) }}

// buffered calls f with r behind a buffer.
func buffered(r io.Reader, f func(*bufio.Reader) error) error {
	b := readers.Get().(*bufio.Reader)
	b.Reset(r)
	err := f(b)
	b.Reset(nil)
	readers.Put(b)
	return err
}

// inflateLoose calls f with the inflated data of a loose object.
func inflateLoose(r io.Reader, f func(*bufio.Reader) error) error {
	z, err := zlib.NewReader(r)
	if err != nil {
		return corrupt("object data: %v", unexpected(err))
	}
	defer z.Close()
	return buffered(z, f)
}
