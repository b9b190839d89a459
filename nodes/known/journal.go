package known

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
)

const (
	// format is that of the file; another one is not read.
	format = "1"
	// writePeriod is how long changes are collected at least, so that a busy cluster
	// costs one transaction a second.
	writePeriod = time.Second
	// mostDirty bounds what waits to be written: with more, all is written anew.
	mostDirty = 100_000
	// lockWait is how long another process may have the file; the data dir is locked.
	lockWait = 5 * time.Second
)

// mostBytes bounds what is kept: of a cluster with more, nothing is.
var mostBytes int64 = 512 << 20

// writeBackoff is how long to wait after nothing could be written.
var writeBackoff = loop.Backoff{First: 5 * time.Second, Last: 5 * time.Minute}

var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format")
	ofKey      = []byte("of")
	// knownKey is in the bucket of a kind of which all objects are kept.
	knownKey = []byte{0}

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errOther   = errors.New("it is of another cluster, or of another version")
	errLarge   = errors.New("the cluster has more than is kept")
	errDamaged = errors.New("the file is damaged")
	// errFault is damage that bbolt stumbled over: its locks may be held for ever.
	errFault = fmt.Errorf("%w where it must not be", errDamaged)
)

// journal keeps the objects in a file of bbolt: a bucket for each kind, in it a value
// for each object, which is a checksum and the object as the API encodes it.
type journal struct {
	cfg   Config
	kinds []*Kind
	wake  loop.Flag

	mu    sync.Mutex
	dirty map[*Kind]map[types.NamespacedName]bool

	// Only who opens and run use these.
	db    *bolt.DB // nil: it could not be opened
	sizes map[*Kind]map[types.NamespacedName]int64
	total int64
	large bool // more than mostBytes
}

// openJournal reads what was kept into the kinds.
func openJournal(cfg Config, kinds []*Kind) *journal {
	j := &journal{cfg: cfg, kinds: kinds, wake: loop.NewFlag(), dirty: map[*Kind]map[types.NamespacedName]bool{}}
	for _, k := range kinds {
		k.changed = func(name types.NamespacedName) { j.note(k, name) }
	}
	err := protect(j.open)
	if err == nil {
		err = protect(j.recall)
	}
	switch {
	case err == nil:
		return j
	case errors.Is(err, errOther):
		cfg.Log.Info("what was kept of the cluster is not used", "file", cfg.Path, "err", err)
	default:
		cfg.Log.Warn("what was kept of the cluster cannot be read; it is read from the API, and kept anew", "file", cfg.Path, "err", err)
		cfg.Warn("warning: what this node kept of the cluster cannot be read (%v): %s is begun anew, and names and Services are served once the server answers", err, cfg.Path)
	}
	if err := j.begin(err); err != nil {
		cfg.Log.Warn("what is known of the cluster is not kept; trying again", "err", err)
	}
	return j
}

// protect turns what bbolt does with a damaged file, a panic or an access beyond the end
// of what is mapped, into an error.
func protect(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errFault, r)
		}
	}()
	return f()
}

func (j *journal) open() error {
	if err := os.MkdirAll(filepath.Dir(j.cfg.Path), 0o700); err != nil {
		return err
	}
	j.sizes, j.total = map[*Kind]map[types.NamespacedName]int64{}, 0
	for _, k := range j.kinds {
		j.sizes[k] = map[types.NamespacedName]int64{}
	}
	// The list of free pages is in the file: to find it anew bbolt would read all pages in
	// a goroutine of its own, where nobody could catch what it does with damaged ones.
	db, err := bolt.Open(j.cfg.Path, 0o600, &bolt.Options{Timeout: lockWait, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	j.db = db
	return db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			var err error
			if meta, err = tx.CreateBucket(metaBucket); err != nil {
				return err
			}
			return errors.Join(meta.Put(formatKey, []byte(format)), meta.Put(ofKey, []byte(j.cfg.Of)))
		}
		if string(meta.Get(formatKey)) != format || string(meta.Get(ofKey)) != j.cfg.Of {
			return errOther
		}
		return nil
	})
}

// recall hands what the file has to the kinds: all of it, or nothing.
func (j *journal) recall() error {
	found := map[*Kind]map[types.NamespacedName]object{}
	err := j.db.View(func(tx *bolt.Tx) error {
		for _, k := range j.kinds {
			b := tx.Bucket([]byte(k.name))
			if b == nil || b.Get(knownKey) == nil {
				continue
			}
			found[k] = map[types.NamespacedName]object{}
			if err := b.ForEach(func(key, value []byte) error {
				if string(key) == string(knownKey) {
					return nil
				}
				o, err := decode(k, value)
				if err != nil {
					return fmt.Errorf("%s %s: %w", k.name, key, err)
				}
				name := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
				found[k][name] = o
				j.sizes[k][name] = int64(len(value))
				j.total += int64(len(value))
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for k, objects := range found {
		k.mu.Lock()
		k.objects, k.known = objects, true
		k.mu.Unlock()
	}
	return nil
}

// begin opens a new file in the place of one that is not used, because of why.
func (j *journal) begin(why error) error {
	if errors.Is(why, errFault) {
		j.db = nil // to close it could take for ever
	}
	err := j.close()
	if gone := os.Remove(j.cfg.Path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	if opened := protect(j.open); opened != nil {
		return errors.Join(err, opened, j.close())
	}
	for _, k := range j.kinds { // all of it is missing
		k.mu.Lock()
		for name := range k.objects {
			j.note(k, name)
		}
		if k.fresh {
			j.note(k, types.NamespacedName{})
		}
		k.mu.Unlock()
	}
	return nil
}

func (j *journal) close() error {
	if j.db == nil {
		return nil
	}
	db := j.db
	j.db = nil
	return protect(db.Close)
}

// note has it written how an object is now; without a name: that all are known.
func (j *journal) note(k *Kind, name types.NamespacedName) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dirty[k] == nil {
		j.dirty[k] = map[types.NamespacedName]bool{}
	}
	j.dirty[k][name] = true
	j.wake.Set()
}

// run writes what changes until ctx ends, and then the rest.
func (j *journal) run(ctx context.Context) {
	loop.Follow(ctx, "keep what is known of the cluster", j.wake, writeBackoff, func(ctx context.Context) (time.Duration, error) {
		err := j.write()
		if err == nil {
			pause(ctx, writePeriod)
			return 0, nil
		}
		j.cfg.Log.Warn("what is known of the cluster is not kept; trying again", "err", err)
		return 0, err
	})
	guard.Do(ctx, "keep what is known of the cluster", func() {
		if err := j.write(); err != nil {
			j.cfg.Log.Warn("the last changes of the cluster are not kept", "err", err)
		}
	})
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// write writes what is dirty, in one transaction. What could not be written stays dirty.
func (j *journal) write() error {
	if j.db == nil && !j.large {
		if err := j.begin(nil); err != nil {
			j.take() // it notes all of it again
			return err
		}
	}
	dirty := j.take()
	if len(dirty) == 0 || j.large {
		return nil
	}
	err := protect(func() error {
		return j.db.Update(func(tx *bolt.Tx) error {
			for k, names := range dirty {
				if err := j.put(tx, k, names); err != nil {
					return err
				}
			}
			return nil
		})
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errLarge):
		j.large = true
		j.cfg.Warn("warning: this node keeps nothing of the cluster, which has more than %d MiB of Services and endpoints: a start of the agent while the server is away will not know them", mostBytes>>20)
		return errors.Join(j.close(), os.Remove(j.cfg.Path))
	case errors.Is(err, errDamaged):
		return errors.Join(err, j.begin(err))
	}
	waiting := 0
	for k, names := range dirty {
		waiting += len(names)
		for name := range names {
			j.note(k, name)
		}
	}
	if waiting > mostDirty {
		j.take()
		return errors.Join(err, j.begin(nil))
	}
	return err
}

// take returns what is dirty, which is to be written then.
func (j *journal) take() map[*Kind]map[types.NamespacedName]bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	dirty := j.dirty
	j.dirty = map[*Kind]map[types.NamespacedName]bool{}
	return dirty
}

// put writes some objects of a kind as they are now.
func (j *journal) put(tx *bolt.Tx, k *Kind, names map[types.NamespacedName]bool) error {
	b, err := tx.CreateBucketIfNotExists([]byte(k.name))
	if err != nil {
		return err
	}
	for name := range names {
		if name.Name == "" {
			if err := b.Put(knownKey, []byte{1}); err != nil {
				return err
			}
			continue
		}
		k.mu.Lock()
		o := k.objects[name]
		k.mu.Unlock()
		var value []byte
		if o != nil {
			if value, err = encode(o); err != nil {
				return fmt.Errorf("encode %s %s: %w", k.name, name, err)
			}
		}
		if value == nil {
			err = b.Delete([]byte(name.String()))
		} else {
			err = b.Put([]byte(name.String()), value)
		}
		if err != nil {
			return err
		}
		j.total += int64(len(value)) - j.sizes[k][name]
		if j.sizes[k][name] = int64(len(value)); value == nil {
			delete(j.sizes[k], name)
		}
	}
	if j.total > mostBytes {
		return errLarge
	}
	return nil
}

func encode(o object) ([]byte, error) {
	data, err := o.Marshal()
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(data)), crc32.Checksum(data, castagnoli)), data...), nil
}

func decode(k *Kind, value []byte) (object, error) {
	if len(value) < 4 || binary.BigEndian.Uint32(value) != crc32.Checksum(value[4:], castagnoli) {
		return nil, errDamaged
	}
	o := k.make()
	if err := o.Unmarshal(value[4:]); err != nil { // it copies: value is the file's
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return o, nil
}
