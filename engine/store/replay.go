package store

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/store/file"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// contents is what Open finds in the file.
type contents struct {
	kinds map[schema.GroupKind]*collection
	// revision is at least that of every change ever acknowledged.
	revision uint64
	// garbage are the revisions of records that newer ones replaced, oldest
	// first.
	garbage []uint64
	// unreadable are the keys whose newest record its codec refused, with the
	// record's revision. The records stay in the file.
	unreadable map[object.Key]uint64
	// stale is how many objects the cipher would write otherwise now, and at
	// least 1 if the file has to be rewritten.
	stale int64
}

type found struct {
	revision uint64
	record   record.Record
	entry    *entry
}

// replay reads the whole file. The newest record of each key counts. A damaged
// record fails it; an intact one whose object cannot be decoded is left out
// and reported, so that one bad object does not stop all others.
func replay(f *file.File, opts Options) (c contents, err error) {
	err = f.View(func(tx file.Tx) error {
		c, err = replayTx(tx, opts)
		return err
	})
	return c, err
}

func replayTx(tx file.Tx, opts Options) (contents, error) {
	c := contents{
		kinds: map[schema.GroupKind]*collection{},
		// At least 1: to the API's clients, 0 means any revision.
		revision:   max(1, tx.Ceiling()),
		unreadable: map[object.Key]uint64{},
	}
	latest, err := latestRecords(tx, &c)
	if err != nil {
		return c, err
	}
	live := make([]*found, 0, len(latest))
	for _, f := range latest {
		if f.record.Op == record.Delete {
			c.garbage = append(c.garbage, f.revision)
			continue
		}
		live = append(live, f)
	}
	slices.Sort(c.garbage)
	if c.stale, err = decodeDefined(live, opts); err != nil {
		return c, err
	}
	if tx.Scrub() {
		c.stale++
	}
	for _, f := range live {
		if f.entry == nil {
			c.unreadable[f.record.Key] = f.revision
			continue
		}
		kind := f.record.Key.GroupKind
		if c.kinds[kind] == nil {
			c.kinds[kind] = newCollection(len(opts.Indexes(kind)))
		}
		c.kinds[kind].put(f.entry)
	}
	return c, nil
}

// latestRecords finds the newest record of each key, and adds the others to
// c.garbage.
func latestRecords(tx file.Tx, c *contents) (map[object.Key]*found, error) {
	latest := map[object.Key]*found{}
	err := tx.Objects(func(revision uint64, r record.Record) {
		c.revision = max(c.revision, revision)
		if old := latest[r.Key]; old != nil {
			c.garbage = append(c.garbage, old.revision)
			*old = found{revision: revision, record: r}
			return
		}
		latest[r.Key] = &found{revision: revision, record: r}
	})
	return latest, err
}

// decodeDefined is decodeAll, of definitions first.
func decodeDefined(live []*found, opts Options) (stale int64, err error) {
	if opts.Define == nil {
		return decodeAll(live, opts)
	}
	var definitions, others []*found
	for _, f := range live {
		if f.record.Key.GroupKind == scheme.Definition {
			definitions = append(definitions, f)
		} else {
			others = append(others, f)
		}
	}
	if stale, err = decodeAll(definitions, opts); err != nil {
		return 0, err
	}
	var events []object.Event
	for _, f := range definitions {
		if f.entry != nil {
			events = append(events, object.Event{Type: object.Added, Key: f.record.Key, Object: f.entry.object(), Revision: f.revision})
		}
	}
	if len(events) > 0 {
		opts.Define(events)
	}
	more, err := decodeAll(others, opts)
	return stale + more, err
}

// decodeAll makes the entries of live, and returns how many of them are stale. An
// object whose key is missing fails it: all of its kind may be like it.
func decodeAll(live []*found, opts Options) (stale int64, err error) {
	workers := runtime.GOMAXPROCS(0)
	var g errgroup.Group
	var count atomic.Int64
	for i := range workers {
		g.Go(func() error {
			return file.Guard(func() error {
				for j := i; j < len(live); j += workers {
					old, err := live[j].decode(opts)
					switch {
					case errors.Is(err, record.ErrKey):
						return fmt.Errorf("%s: %w", live[j].record.Key, err)
					case err != nil:
						opts.Log.Error("stored object left out: it cannot be decoded", "key", live[j].record.Key, "revision", live[j].revision, "err", err)
					case old:
						count.Add(1)
					}
				}
				return nil
			})
		})
	}
	err = g.Wait()
	return count.Load(), err
}

// decode makes the entry of f.
func (f *found) decode(opts Options) (stale bool, err error) {
	key, kind := f.record.Key, f.record.Key.GroupKind
	if f.record.Data, stale, err = opts.Cipher.Decrypt(key, f.record.Data); err != nil {
		return false, err
	}
	obj, err := f.record.Object(opts.Codec(kind))
	if err != nil {
		return false, err
	}
	obj.SetResourceVersion(strconv.FormatUint(f.revision, 10))
	f.entry = newEntry(key, obj, f.revision, opts.Indexes(kind).values(obj))
	f.entry.size = int64(len(f.record.Data))
	return stale, nil
}
