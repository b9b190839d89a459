package odb

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// Layout of a pack index of version 2: a magic and a version, a table of how
// many hashes start with at most each byte, then for each object in the order
// of the hashes its hash, its CRC and its offset; offsets of 2 GiB and more
// are in a table of their own; then the pack's checksum and the index's.
const (
	idxMagic     = "\xfftOc\x00\x00\x00\x02"
	idxHashes    = 8 + 256*4
	idxLarge     = 1 << 31
	idxInMemory  = 1 << 20
	idxPerObject = 20 + 4 + 4
)

// indexed is one object of a pack.
type indexed struct {
	hash   Hash
	crc    uint32
	offset int64
}

func sortObjects(objects []indexed) {
	slices.SortFunc(objects, func(a, b indexed) int { return bytes.Compare(a.hash[:], b.hash[:]) })
}

// writeIndex writes the index of a pack; it sorts the objects.
func writeIndex(w io.Writer, objects []indexed, checksum Hash) error {
	sortObjects(objects)
	sum := sha1.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	put := func(v uint32) { _, _ = out.Write(binary.BigEndian.AppendUint32(nil, v)) }
	_, _ = out.WriteString(idxMagic)
	at := 0
	for b := range 256 {
		for at < len(objects) && int(objects[at].hash[0]) <= b {
			at++
		}
		put(uint32(at))
	}
	for i := range objects {
		_, _ = out.Write(objects[i].hash[:])
	}
	for i := range objects {
		put(objects[i].crc)
	}
	var large []int64
	for i := range objects {
		if o := objects[i].offset; o < idxLarge {
			put(uint32(o))
		} else {
			put(uint32(idxLarge | len(large)))
			large = append(large, o)
		}
	}
	for _, o := range large {
		_, _ = out.Write(binary.BigEndian.AppendUint64(nil, uint64(o)))
	}
	_, _ = out.Write(checksum[:])
	if err := out.Flush(); err != nil { // tells of every earlier failure, too
		return fmt.Errorf("write index: %w", err)
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// index looks objects up in a pack index, on disk unless it is small.
type index struct {
	file *os.File
	r    io.ReaderAt
	size int64
	fan  [256]uint32
}

func openIndex(path string) (*index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &index{file: f, r: f}
	if err := x.load(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("read index %s: %w", path, err)
	}
	return x, nil
}

func (x *index) load() error {
	info, err := x.file.Stat()
	if err != nil {
		return err
	}
	x.size = info.Size()
	if x.size <= idxInMemory {
		data := make([]byte, x.size)
		if _, err := io.ReadFull(x.file, data); err != nil {
			return err
		}
		x.r = bytes.NewReader(data)
	}
	head := make([]byte, idxHashes)
	if _, err := x.r.ReadAt(head, 0); err != nil {
		return unexpected(err)
	}
	if string(head[:8]) != idxMagic {
		return corrupt("not an index of version 2")
	}
	var before uint32
	for i := range x.fan {
		x.fan[i] = binary.BigEndian.Uint32(head[8+4*i:])
		if x.fan[i] < before {
			return corrupt("the index's table is not sorted")
		}
		before = x.fan[i]
	}
	if x.size < idxHashes+int64(x.fan[255])*idxPerObject+40 {
		return corrupt("the index is cut short")
	}
	return nil
}

func (x *index) count() int64 { return int64(x.fan[255]) }

// find is an object's offset in the pack.
func (x *index) find(h Hash) (int64, bool, error) {
	lo, hi := int64(0), int64(x.fan[h[0]])
	if h[0] > 0 {
		lo = int64(x.fan[h[0]-1])
	}
	var at Hash
	for lo < hi {
		mid := (lo + hi) / 2
		if _, err := x.r.ReadAt(at[:], idxHashes+20*mid); err != nil {
			return 0, false, unexpected(err)
		}
		switch bytes.Compare(h[:], at[:]) {
		case 0:
			offset, err := x.offset(mid)
			return offset, err == nil, err
		case -1:
			hi = mid
		default:
			lo = mid + 1
		}
	}
	return 0, false, nil
}

// offset is the offset of the i-th object in the order of the hashes.
func (x *index) offset(i int64) (int64, error) {
	var b [8]byte
	table := idxHashes + 24*x.count()
	if _, err := x.r.ReadAt(b[:4], table+4*i); err != nil {
		return 0, unexpected(err)
	}
	o := int64(binary.BigEndian.Uint32(b[:4]))
	if o < idxLarge {
		return o, nil
	}
	if _, err := x.r.ReadAt(b[:], table+4*x.count()+8*(o-idxLarge)); err != nil {
		return 0, unexpected(err)
	}
	return int64(binary.BigEndian.Uint64(b[:])), nil
}

// all reads every object of the index.
func (x *index) all() ([]indexed, error) {
	list := make([]indexed, x.count())
	hashes := bufio.NewReaderSize(io.NewSectionReader(x.r, idxHashes, 20*x.count()), 64<<10)
	crcs := bufio.NewReaderSize(io.NewSectionReader(x.r, idxHashes+20*x.count(), 4*x.count()), 64<<10)
	for i := range list {
		var crc [4]byte
		if _, err := io.ReadFull(hashes, list[i].hash[:]); err != nil {
			return nil, unexpected(err)
		}
		if _, err := io.ReadFull(crcs, crc[:]); err != nil {
			return nil, unexpected(err)
		}
		list[i].crc = binary.BigEndian.Uint32(crc[:])
		var err error
		if list[i].offset, err = x.offset(int64(i)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// prefix calls f with the hashes that start with the bytes of p, until it
// returns false.
func (x *index) prefix(p []byte, f func(Hash) bool) error {
	lo, hi := int64(0), x.count()
	if len(p) > 0 {
		hi = int64(x.fan[p[0]])
		if p[0] > 0 {
			lo = int64(x.fan[p[0]-1])
		}
	}
	r := bufio.NewReader(io.NewSectionReader(x.r, idxHashes+20*lo, 20*(hi-lo)))
	for ; lo < hi; lo++ {
		var h Hash
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return unexpected(err)
		}
		if bytes.HasPrefix(h[:], p) && !f(h) {
			return nil
		}
	}
	return nil
}
