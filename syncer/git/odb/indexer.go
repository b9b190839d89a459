package odb

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"strconv"

	"github.com/pjbgf/sha1cd"
)

// packHeader is the length of a pack's header, packTrailer of its checksum.
const (
	packHeader  = 12
	packTrailer = 20
)

// entry is an object of a pack that is being indexed.
type entry struct {
	offset int64
	hash   Hash
	crc    uint32
	// child is the first object that is a delta on this one, next the next
	// delta on the same base; zero is none, as object 0 has no base.
	child, next int32
	kind        Kind
	done        bool // the hash is known
}

// indexer names the objects of a pack. It reads the pack twice: in order, for
// what is no delta and for the order of the deltas, and then from each base
// to what is made of it.
type indexer struct {
	ctx      context.Context //nolint:containedctx // an indexer is one call
	file     *os.File
	size     int64
	limits   Limits
	space    space
	entries  []entry
	checksum Hash
	// waiting are deltas by the hash of their base.
	waiting map[Hash][]int32
	left    int // deltas without a hash yet
	named   int // deltas that name their base by its hash
}

func (x *indexer) run() error {
	if err := x.scan(); err != nil {
		return err
	}
	for i := range x.entries {
		e := &x.entries[i]
		if e.kind == ofsDelta || e.kind == refDelta || !x.hasChildren(int32(i)) {
			continue
		}
		c, err := x.load(e)
		if err != nil {
			return err
		}
		if err := x.resolve(int32(i), e.kind, c, 1); err != nil {
			return err
		}
	}
	if x.left > 0 {
		return corrupt("%d deltas have no base in the pack", x.left)
	}
	return nil
}

// scan reads the pack in order.
func (x *indexer) scan() error {
	if x.size < packHeader+packTrailer {
		return io.ErrUnexpectedEOF
	}
	s := &scanner{r: io.NewSectionReader(x.file, 0, x.size-packTrailer), sum: sha1.New(), buf: make([]byte, 128<<10)}
	var head [packHeader]byte
	if _, err := io.ReadFull(s, head[:]); err != nil {
		return unexpected(err)
	}
	if string(head[:8]) != "PACK\x00\x00\x00\x02" {
		return corrupt("not a pack of version 2")
	}
	count := int64(binary.BigEndian.Uint32(head[8:]))
	if count > x.limits.Objects {
		return &SizeError{What: "the number of objects in the pack", Size: count, Limit: x.limits.Objects}
	}
	// No object takes less than nine bytes, whatever the header says.
	x.entries = make([]entry, 0, min(count, x.size/9))
	for range count {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		if err := x.scanObject(s); err != nil {
			return err
		}
	}
	if _, err := s.ReadByte(); err != io.EOF { //nolint:errorlint // scanner returns it as it is
		return corrupt("the pack goes on after its last object")
	}
	s.sum.Sum(x.checksum[:0])
	var want Hash
	if _, err := x.file.ReadAt(want[:], x.size-packTrailer); err != nil {
		return unexpected(err)
	}
	if want != x.checksum {
		return corrupt("the pack's checksum is wrong")
	}
	return nil
}

func (x *indexer) scanObject(s *scanner) error {
	e := entry{offset: s.start()}
	h, err := readHeader(s)
	if err != nil {
		return err
	}
	if h.size > x.limits.Bytes {
		return &SizeError{What: "an object in the pack", Size: h.size, Limit: x.limits.Bytes}
	}
	e.kind = h.kind
	i := int32(len(x.entries))
	switch h.kind {
	case ofsDelta:
		base, ok := x.at(e.offset - h.back)
		if !ok {
			return corrupt("a delta's base is not in the pack")
		}
		e.next, x.entries[base].child = x.entries[base].child, i
		x.left++
	case refDelta:
		x.waiting[h.base] = append(x.waiting[h.base], i)
		x.left++
		x.named++
	default:
	}
	w := io.Discard
	var sum hash.Hash
	if h.kind < ofsDelta {
		sum = named(h.kind, h.size)
		w = sum
	}
	err = inflate(s, h.size, func(r io.Reader) error {
		buf := copyBuffers.Get().(*[]byte)
		defer copyBuffers.Put(buf)
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, stopped{x.ctx, r}, *buf)
		return err
	})
	if err != nil {
		return err
	}
	if sum != nil {
		sum.Sum(e.hash[:0])
		e.done = true
	}
	e.crc = s.end()
	x.entries = append(x.entries, e)
	return nil
}

// at finds an object by its offset.
func (x *indexer) at(offset int64) (int32, bool) {
	lo, hi := 0, len(x.entries)
	for lo < hi {
		mid := (lo + hi) / 2
		switch o := x.entries[mid].offset; {
		case o == offset:
			return int32(mid), true
		case o < offset:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

func (x *indexer) hasChildren(i int32) bool {
	e := &x.entries[i]
	return e.child != 0 || e.done && len(x.waiting[e.hash]) > 0
}

// load reads an object that is no delta.
func (x *indexer) load(e *entry) (c *content, err error) {
	err = x.open(e, func(h header, r io.Reader) error {
		if c, err = x.space.room(h.size); err != nil {
			return err
		}
		buf := copyBuffers.Get().(*[]byte)
		defer copyBuffers.Put(buf)
		_, err := io.CopyBuffer(struct{ io.Writer }{c.Writer}, stopped{x.ctx, r}, *buf)
		return err
	})
	if err != nil {
		c.release()
		return nil, err
	}
	c.written()
	return c, nil
}

// open calls f with the header and the inflated data of an entry.
func (x *indexer) open(e *entry, f func(header, io.Reader) error) error {
	return buffered(io.NewSectionReader(x.file, e.offset, x.size-packTrailer-e.offset), func(r *bufio.Reader) error {
		h, err := readHeader(r)
		if err != nil {
			return err
		}
		return inflate(r, h.size, func(r io.Reader) error { return f(h, r) })
	})
}

// resolve names the deltas on object i, and those on them, and releases c,
// the object's content.
func (x *indexer) resolve(i int32, kind Kind, c *content, depth int) error {
	defer func() { c.release() }()
	if depth > maxDepth {
		return corrupt("a chain of deltas is longer than %d", maxDepth)
	}
	children := x.entries[i].child
	waiting := x.waiting[x.entries[i].hash]
	delete(x.waiting, x.entries[i].hash)
	for children != 0 || len(waiting) > 0 {
		var k int32
		if children != 0 {
			k, children = children, x.entries[children].next
		} else {
			k, waiting = waiting[0], waiting[1:]
		}
		made, err := x.apply(k, kind, c)
		if err != nil {
			return err
		}
		if children == 0 && len(waiting) == 0 {
			// A long chain needs two contents at a time, not all.
			c.release()
			c = nil
		}
		if !x.hasChildren(k) {
			made.release()
			continue
		}
		if err := x.resolve(k, kind, made, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// apply makes the content of a delta on base, and names it.
func (x *indexer) apply(k int32, kind Kind, base *content) (made *content, err error) {
	if err := x.ctx.Err(); err != nil {
		return nil, err
	}
	e := &x.entries[k]
	var sum hash.Hash
	err = x.open(e, func(_ header, r io.Reader) error {
		return buffered(stopped{x.ctx, r}, func(delta *bufio.Reader) error {
			return applyDelta(delta, base, base.size, func(size int64) (io.Writer, error) {
				if size > x.limits.Bytes {
					return nil, &SizeError{What: "an object in the pack", Size: size, Limit: x.limits.Bytes}
				}
				if made, err = x.space.room(size); err != nil {
					return nil, err
				}
				sum = named(kind, size)
				return io.MultiWriter(made.Writer, sum), nil
			})
		})
	})
	if err != nil {
		made.release()
		return nil, err
	}
	made.written()
	sum.Sum(e.hash[:0])
	e.done = true
	x.left--
	return made, nil
}

// named is the hash of an object, before its data. It fails to collide with
// what was made to collide.
func named(kind Kind, size int64) hash.Hash {
	h := sha1cd.New()
	_, _ = io.WriteString(h, kind.String()+" "+strconv.FormatInt(size, 10)+"\x00")
	return h
}

// scanner reads a pack in order, sums all of it up, and each object.
type scanner struct {
	r      io.Reader
	sum    hash.Hash
	crc    uint32
	buf    []byte
	offset int64 // of buf
	mark   int   // up to where crc has buf
	pos    int
	n      int
}

// start starts an object, and says where.
func (s *scanner) start() int64 {
	s.crc, s.mark = 0, s.pos
	return s.offset + int64(s.pos)
}

// end is the checksum of the object.
func (s *scanner) end() uint32 {
	s.crc = crc32.Update(s.crc, crc32.IEEETable, s.buf[s.mark:s.pos])
	s.mark = s.pos
	return s.crc
}

func (s *scanner) fill() error {
	s.end()
	s.offset += int64(s.n)
	s.pos, s.mark = 0, 0
	n, err := s.r.Read(s.buf)
	s.n = n
	_, _ = s.sum.Write(s.buf[:n])
	if n > 0 {
		return nil
	}
	return err
}

func (s *scanner) ReadByte() (byte, error) {
	if s.pos == s.n {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	s.pos++
	return s.buf[s.pos-1], nil
}

func (s *scanner) Read(p []byte) (int, error) {
	if s.pos == s.n {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.buf[s.pos:s.n])
	s.pos += n
	return n, nil
}
