package store

import (
	"log/slog"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/store/file"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/object"
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
}

type found struct {
	revision uint64
	record   record.Record
	entry    *entry
}

// replay reads the whole file. The newest record of each key counts. A damaged
// record fails it; an intact one whose object cannot be decoded is left out
// and reported, so that one bad object does not stop all others.
func replay(f *file.File, codecs func(schema.GroupKind) record.Codec, indexes func(schema.GroupKind) Indexes, log *slog.Logger) (c contents, err error) {
	err = f.View(func(tx file.Tx) error {
		c, err = replayTx(tx, codecs, indexes, log)
		return err
	})
	return c, err
}

func replayTx(tx file.Tx, codecs func(schema.GroupKind) record.Codec, indexes func(schema.GroupKind) Indexes, log *slog.Logger) (contents, error) {
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
	if err := decodeAll(live, codecs, indexes, log); err != nil {
		return c, err
	}
	for _, f := range live {
		if f.entry == nil {
			c.unreadable[f.record.Key] = f.revision
			continue
		}
		kind := f.record.Key.GroupKind
		if c.kinds[kind] == nil {
			c.kinds[kind] = newCollection(len(indexes(kind)))
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

func decodeAll(live []*found, codecs func(schema.GroupKind) record.Codec, indexes func(schema.GroupKind) Indexes, log *slog.Logger) error {
	workers := runtime.GOMAXPROCS(0)
	var g errgroup.Group
	for i := range workers {
		g.Go(func() error {
			return file.Guard(func() error {
				for j := i; j < len(live); j += workers {
					f := live[j]
					obj, err := f.record.Object(codecs(f.record.Key.GroupKind))
					if err != nil {
						log.Error("stored object left out: it cannot be decoded", "key", f.record.Key, "revision", f.revision, "err", err)
						continue
					}
					obj.SetResourceVersion(strconv.FormatUint(f.revision, 10))
					f.entry = &entry{key: f.record.Key, object: obj, revision: f.revision, size: int64(len(f.record.Data)), indexed: indexes(f.record.Key.GroupKind).values(obj)}
				}
				return nil
			})
		})
	}
	return g.Wait()
}
