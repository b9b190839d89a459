package odb

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// maxPacks is how many packs there may be before some are joined.
const maxPacks = 16

// Consolidate joins small packs of the store's own directory, if there are
// many. A pack is left alone while it is larger than all the smaller ones
// together, so that each byte is copied a few times in the life of a
// repository. Nothing is compressed anew: the objects are copied as they are,
// as a delta says by how much its base comes before it. No other process may
// write packs into the directory.
func (s *Store) Consolidate(ctx context.Context) error {
	dir := filepath.Join(s.dirs[0], "pack")
	names, err := packNames(dir)
	if err != nil {
		return fmt.Errorf("join packs: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name+apartEnding))
		return err == nil
	})
	if len(names) <= maxPacks {
		return nil
	}
	var packs []*pack
	defer func() {
		for _, p := range packs {
			p.close()
		}
	}()
	for _, name := range names {
		p, err := openPack(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("join packs: %w", err)
		}
		packs = append(packs, p)
	}
	slices.SortFunc(packs, func(a, b *pack) int { return int(a.size - b.size) })
	join, sum := 0, int64(0)
	for i, p := range packs {
		if i < len(packs)-maxPacks/2 || p.size <= sum {
			join, sum = i+1, sum+p.size
		}
	}
	if err := joinPacks(ctx, dir, packs[:join]); err != nil {
		return fmt.Errorf("join packs: %w", err)
	}
	for _, p := range packs[:join] {
		// Without its index a pack does not count, so that goes first. Who
		// reads it has it open.
		for _, ending := range []string{".idx", ".pack", ".rev", ".keep"} {
			if err := os.Remove(p.name + ending); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("join packs: %w", err)
			}
		}
	}
	return s.Refresh()
}

// joinPacks writes a pack with the objects of all the packs.
func joinPacks(ctx context.Context, dir string, packs []*pack) (err error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	var objects []indexed
	at := int64(packHeader)
	for _, p := range packs {
		list, err := p.idx.all()
		if err != nil {
			return err
		}
		for i := range list {
			list[i].offset += at - packHeader
		}
		objects = append(objects, list...)
		at += p.size - packHeader - packTrailer
	}
	sum := sha1.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, sum), 256<<10)
	_, _ = out.WriteString("PACK\x00\x00\x00\x02")
	_, _ = out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(objects))))
	for _, p := range packs {
		body := io.NewSectionReader(p.file, packHeader, p.size-packHeader-packTrailer)
		if _, err := io.Copy(out, stopped{ctx, body}); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	var checksum Hash
	sum.Sum(checksum[:0])
	if _, err := f.Write(checksum[:]); err != nil {
		return err
	}
	return install(dir, f, objects, checksum)
}
