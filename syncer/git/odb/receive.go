package odb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// tempPrefix starts the names of files that a crash may leave behind.
const tempPrefix = "tmp_headway_"

// Limits bound a pack that is received.
type Limits struct {
	// Bytes bounds the pack, each object in it, and the room on disk for
	// unpacking large ones.
	Bytes int64
	// Objects bounds their number; indexing takes some 100 bytes of memory for
	// each.
	Objects int64
}

// Receive writes the pack that it reads from r to dir, the objects/pack
// directory of a repository, and indexes it. It reads r to the end. If the pack
// is cut short, corrupt or too large (a SizeError), or ctx ends, nothing is
// left of it. A pack without objects is not kept.
func Receive(ctx context.Context, dir string, r io.Reader, limits Limits) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("receive pack: %w", err)
	}
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return fmt.Errorf("receive pack: %w", err)
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	buf := make([]byte, 256<<10)
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, stopped{ctx, io.LimitReader(r, limits.Bytes+1)}, buf)
	if err != nil {
		return fmt.Errorf("receive pack: %w", err)
	}
	if n > limits.Bytes {
		return &SizeError{What: "the fetched pack", Limit: limits.Bytes}
	}
	x := &indexer{ctx: ctx, file: f, size: n, limits: limits, space: space{dir: dir, maxDisk: limits.Bytes}, waiting: map[Hash][]int32{}}
	if err := x.run(); err != nil {
		return fmt.Errorf("check the fetched pack: %w", err)
	}
	if len(x.entries) == 0 {
		return os.Remove(f.Name())
	}
	objects := make([]indexed, len(x.entries))
	for i := range x.entries {
		e := &x.entries[i]
		objects[i] = indexed{hash: e.hash, crc: e.crc, offset: e.offset}
	}
	if x.named == 0 {
		return install(dir, f, objects, x.checksum)
	}
	// Deltas that name their base by its hash would go round in circles if
	// the hash could be found in two places, one made of the other.
	sortObjects(objects)
	for i := 1; i < len(objects); i++ {
		if objects[i].hash == objects[i-1].hash {
			return fmt.Errorf("check the fetched pack: %w", corrupt("an object is in the pack twice"))
		}
	}
	mark, err := os.Create(filepath.Join(dir, "pack-"+x.checksum.String()+apartEnding))
	if err != nil {
		return fmt.Errorf("keep pack: %w", err)
	}
	defer mark.Close()
	return install(dir, f, objects, x.checksum)
}

// apartEnding is that of an empty file beside a pack that is not to be joined
// with others.
const apartEnding = ".apart"

// install gives a pack its name, and the index that makes it count.
func install(dir string, pack *os.File, objects []indexed, checksum Hash) error {
	if err := errors.Join(pack.Chmod(0o444), pack.Sync()); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	idx, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	defer os.Remove(idx.Name()) // which fails after the rename
	err = writeIndex(idx, objects, checksum)
	if err = errors.Join(err, idx.Chmod(0o444), idx.Sync(), idx.Close()); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	base := filepath.Join(dir, "pack-"+checksum.String())
	// The index comes last: a pack counts from then on.
	if err := os.Rename(pack.Name(), base+".pack"); err != nil {
		return fmt.Errorf("keep pack: %w", err)
	}
	if err := os.Rename(idx.Name(), base+".idx"); err != nil {
		return fmt.Errorf("keep pack: %w", err)
	}
	return nil
}

// Clean removes what a crash left of packs that were being received into dir.
// No other process may be receiving into it.
func Clean(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("clean packs: %w", err)
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), tempPrefix) || strings.HasPrefix(e.Name(), "tmp_pack_") {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("clean packs: %w", err)
			}
		}
	}
	return nil
}
