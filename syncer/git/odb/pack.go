package odb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// pack is a pack with its index.
type pack struct {
	name string // without the ending
	file *os.File
	size int64
	idx  *index
}

func openPack(base string) (*pack, error) {
	idx, err := openIndex(base + ".idx")
	if err != nil {
		return nil, err
	}
	p := &pack{name: base, idx: idx}
	if p.file, err = os.Open(base + ".pack"); err != nil {
		_ = idx.file.Close()
		return nil, err
	}
	if err := p.check(); err != nil {
		p.close()
		return nil, fmt.Errorf("read pack %s: %w", base, err)
	}
	return p, nil
}

func (p *pack) check() error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	p.size = info.Size()
	var head [packHeader]byte
	if _, err := p.file.ReadAt(head[:], 0); err != nil {
		return unexpected(err)
	}
	if !bytes.HasPrefix(head[:], []byte("PACK\x00\x00\x00")) || int64(binary.BigEndian.Uint32(head[8:])) != p.idx.count() {
		return corrupt("the index is of another pack")
	}
	return nil
}

func (p *pack) close() {
	_ = p.idx.file.Close()
	_ = p.file.Close()
}

// open calls f with the header and the inflated data of the object at offset.
func (p *pack) open(offset int64, f func(header, io.Reader) error) error {
	if offset < packHeader || offset >= p.size-packTrailer {
		return corrupt("an offset is outside of the pack")
	}
	return buffered(io.NewSectionReader(p.file, offset, p.size-packTrailer-offset), func(r *bufio.Reader) error {
		h, err := readHeader(r)
		if err != nil {
			return err
		}
		return inflate(r, h.size, func(r io.Reader) error { return f(h, r) })
	})
}

// header reads the header of the object at offset, and where its base is.
func (p *pack) header(offset int64) (h header, base int64, err error) {
	if offset < packHeader || offset >= p.size-packTrailer {
		return h, 0, corrupt("an offset is outside of the pack")
	}
	err = buffered(io.NewSectionReader(p.file, offset, min(64, p.size-packTrailer-offset)), func(r *bufio.Reader) error {
		h, err = readHeader(r)
		return err
	})
	if err != nil {
		return h, 0, err
	}
	switch h.kind {
	case ofsDelta:
		base = offset - h.back
	case refDelta:
		var ok bool
		if base, ok, err = p.idx.find(h.base); err == nil && !ok {
			err = corrupt("a delta's base is not in the pack")
		}
	default:
	}
	return h, base, err
}

// errStop ends reading early.
var errStop = errors.New("stop")

// stat is the kind and size of the object at offset.
func (p *pack) stat(offset int64) (Kind, int64, error) {
	size := int64(-1)
	for range maxDepth {
		h, base, err := p.header(offset)
		if err != nil {
			return 0, 0, err
		}
		if h.kind < ofsDelta {
			if size < 0 {
				size = h.size
			}
			return h.kind, size, nil
		}
		if size < 0 {
			if size, err = p.resultSize(offset); err != nil {
				return 0, 0, err
			}
		}
		offset = base
	}
	return 0, 0, corrupt("a chain of deltas is longer than %d", maxDepth)
}

// resultSize is the size of what the delta at offset makes.
func (p *pack) resultSize(offset int64) (size int64, err error) {
	err = p.open(offset, func(_ header, r io.Reader) error {
		return buffered(r, func(delta *bufio.Reader) error {
			if _, err := readVarint(delta); err != nil {
				return err
			}
			if size, err = readVarint(delta); err != nil {
				return err
			}
			return errStop
		})
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return size, err
}

// read reads the object at offset, if neither it nor what it is a delta on is
// larger than limit. Others must not change the data.
func (p *pack) read(offset, limit int64, cache *cache) (Kind, []byte, error) {
	var chain []int64
	var kind Kind
	var data []byte
	for {
		if cached, ok := cache.get(p, offset); ok {
			kind, data = cached.kind, cached.data
			break
		}
		h, base, err := p.header(offset)
		if err != nil {
			return 0, nil, err
		}
		if h.kind < ofsDelta {
			if h.size > limit {
				return 0, nil, &SizeError{What: h.kind.String(), Size: h.size, Limit: limit}
			}
			kind = h.kind
			err = p.open(offset, func(h header, r io.Reader) error {
				data = make([]byte, h.size)
				_, err := io.ReadFull(r, data)
				return unexpected(err)
			})
			if err != nil {
				return 0, nil, err
			}
			cache.put(p, offset, kind, data)
			break
		}
		if chain = append(chain, offset); len(chain) > maxDepth {
			return 0, nil, corrupt("a chain of deltas is longer than %d", maxDepth)
		}
		offset = base
	}
	for _, at := range slices.Backward(chain) {
		made, err := p.apply(at, data, limit)
		if err != nil {
			return 0, nil, err
		}
		data = made
		cache.put(p, at, kind, data)
	}
	return kind, data, nil
}

// apply makes the object of which the delta at offset is.
func (p *pack) apply(offset int64, base []byte, limit int64) ([]byte, error) {
	var out *bytes.Buffer
	err := p.open(offset, func(_ header, r io.Reader) error {
		return buffered(r, func(delta *bufio.Reader) error {
			return applyDelta(delta, bytes.NewReader(base), int64(len(base)), func(size int64) (io.Writer, error) {
				if size > limit {
					return nil, &SizeError{What: "object", Size: size, Limit: limit}
				}
				out = bytes.NewBuffer(make([]byte, 0, size))
				return out, nil
			})
		})
	})
	if err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// packNames are the packs of a directory that have an index.
func packNames(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var names []string
	for _, e := range list {
		if name, ok := strings.CutSuffix(e.Name(), ".idx"); ok && strings.HasPrefix(name, "pack-") {
			names = append(names, name)
		}
	}
	return names, nil
}
