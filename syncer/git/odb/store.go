package odb

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// maxLooseHeader bounds the header of a loose object: its kind and size.
const maxLooseHeader = 32

// Store reads the objects of a repository. Close it.
type Store struct {
	dirs  []string // objects directories: the repository's own, then alternates
	cache cache

	mu     sync.RWMutex
	packs  []*pack
	opened bool
}

// Open returns the store of an objects directory, and of those that its
// info/alternates names. It reads nothing before the first object is read.
func Open(objects string) *Store {
	s := &Store{}
	s.addDir(objects, 0)
	return s
}

// addDir adds a directory and its alternates, as deep as Git follows them.
func (s *Store) addDir(dir string, depth int) {
	s.dirs = append(s.dirs, dir)
	data, err := os.ReadFile(filepath.Join(dir, "info", "alternates"))
	if err != nil || depth >= 5 {
		return
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || len(s.dirs) > 32 {
			continue
		}
		if !filepath.IsAbs(line) {
			line = filepath.Join(dir, line)
		}
		s.addDir(line, depth+1)
	}
}

// Close releases the files. The store can be read again afterwards.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.packs {
		s.cache.forget(p)
		p.close()
	}
	s.packs, s.opened = nil, false
}

// Refresh reads the list of packs again.
func (s *Store) Refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[string]*pack{}
	for _, p := range s.packs {
		known[p.name] = p
	}
	s.packs = s.packs[:0]
	var errs []error
	for _, dir := range s.dirs {
		dir = filepath.Join(dir, "pack")
		names, err := packNames(dir)
		errs = append(errs, err)
		for _, name := range names {
			name = filepath.Join(dir, name)
			p := known[name]
			if p == nil {
				if p, err = openPack(name); errors.Is(err, os.ErrNotExist) {
					continue // it was packed anew meanwhile
				}
				if err != nil {
					errs = append(errs, err) // and the others still count
					continue
				}
			}
			delete(known, name)
			s.packs = append(s.packs, p)
		}
	}
	for _, p := range known {
		s.cache.forget(p)
		p.close()
	}
	s.opened = true
	return errors.Join(errs...)
}

// Read reads an object of at most limit bytes; a larger one is a SizeError. The
// data is shared: the caller must not change it.
func (s *Store) Read(h Hash, limit int64) (kind Kind, data []byte, err error) {
	err = s.find(h, func(p *pack, offset int64) error {
		kind, data, err = p.read(offset, limit, &s.cache)
		if err == nil && int64(len(data)) > limit {
			err = &SizeError{What: kind.String(), Size: int64(len(data)), Limit: limit}
		}
		return err
	}, func(k Kind, size int64, r io.Reader) error {
		if size > limit {
			return &SizeError{What: k.String(), Size: size, Limit: limit}
		}
		kind, data = k, make([]byte, size)
		_, err := io.ReadFull(r, data)
		return unexpected(err)
	})
	return kind, data, err
}

// Stat returns the kind and size of an object.
func (s *Store) Stat(h Hash) (kind Kind, size int64, err error) {
	err = s.find(h, func(p *pack, offset int64) error {
		kind, size, err = p.stat(offset)
		return err
	}, func(k Kind, n int64, _ io.Reader) error {
		kind, size = k, n
		return errStop
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return kind, size, err
}

// find calls one of the functions with where an object is. It looks for new
// packs before it says that there is none.
func (s *Store) find(h Hash, packed func(*pack, int64) error, loose func(Kind, int64, io.Reader) error) error {
	err := s.findOnce(h, packed, loose)
	if err == nil || errors.Is(err, errStop) {
		return err
	}
	if size := (*SizeError)(nil); errors.As(err, &size) {
		return fmt.Errorf("object %s: %w", h, err)
	}
	// Another process may have packed or collected meanwhile.
	refreshed := s.Refresh()
	if err = s.findOnce(h, packed, loose); err == nil || errors.Is(err, errStop) {
		return err
	}
	if errors.Is(err, ErrNotFound) && refreshed != nil {
		err = errors.Join(err, refreshed)
	}
	return fmt.Errorf("object %s: %w", h, err)
}

func (s *Store) findOnce(h Hash, packed func(*pack, int64) error, loose func(Kind, int64, io.Reader) error) error {
	s.mu.RLock()
	if !s.opened {
		s.mu.RUnlock()
		if err := s.Refresh(); err != nil {
			return err
		}
		s.mu.RLock()
	}
	defer s.mu.RUnlock()
	for _, p := range s.packs {
		offset, ok, err := p.idx.find(h)
		if err != nil {
			return err
		}
		if ok {
			return packed(p, offset)
		}
	}
	name := h.String()
	for _, dir := range s.dirs {
		f, err := os.Open(filepath.Join(dir, name[:2], name[2:]))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		defer f.Close()
		return readLoose(f, loose)
	}
	return ErrNotFound
}

// readLoose calls f with what a loose object's header says and its data.
func readLoose(file io.Reader, f func(Kind, int64, io.Reader) error) error {
	// The header is a part of what is compressed: the size is known only
	// within.
	var size int64
	return buffered(file, func(b *bufio.Reader) error {
		return inflateLoose(b, func(r *bufio.Reader) error {
			head, err := r.ReadSlice(0)
			if err != nil || len(head) > maxLooseHeader {
				return corrupt("a loose object has no header")
			}
			name, digits, _ := strings.Cut(string(head[:len(head)-1]), " ")
			kind := kindOf(name)
			if size, err = strconv.ParseInt(digits, 10, 64); err != nil || size < 0 || kind == 0 {
				return corrupt("a loose object has a wrong header")
			}
			return f(kind, size, io.LimitReader(r, size))
		})
	})
}

// Has reports whether an object exists.
func (s *Store) Has(h Hash) (bool, error) {
	_, _, err := s.Stat(h)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Prefix returns up to limit objects whose names start with the hexadecimal
// digits.
func (s *Store) Prefix(digits string, limit int) ([]Hash, error) {
	if len(digits) < 4 || len(digits) > 40 {
		return nil, nil
	}
	even := digits[:len(digits)&^1]
	want, err := hex.DecodeString(even)
	if err != nil {
		return nil, nil // then it starts no name
	}
	if err := s.Refresh(); err != nil {
		return nil, err
	}
	found := map[Hash]bool{}
	add := func(h Hash) bool {
		if strings.HasPrefix(h.String(), digits) {
			found[h] = true
		}
		return len(found) < limit
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.packs {
		if err := p.idx.prefix(want, add); err != nil {
			return nil, err
		}
	}
	for _, dir := range s.dirs {
		list, err := os.ReadDir(filepath.Join(dir, digits[:2]))
		if err != nil {
			continue // most of these directories are not there
		}
		for _, e := range list {
			var h Hash
			if raw, err := hex.DecodeString(digits[:2] + e.Name()); err == nil && len(raw) == len(h) {
				copy(h[:], raw)
				add(h)
			}
		}
	}
	hashes := make([]Hash, 0, len(found))
	for h := range found {
		hashes = append(hashes, h)
	}
	return hashes, nil
}
