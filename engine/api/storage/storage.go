package storage

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Config of one resource's storage.
type Config struct {
	Store *store.Store
	// Kind under which the objects are stored.
	Kind schema.GroupKind
	// Prefix is the resource's path, such as "/pods"; keys are
	// Prefix/namespace/name, or Prefix/name for cluster-scoped kinds.
	Prefix string
	// New returns an empty object, for bookmarks.
	New func() runtime.Object
	// Forms is how objects are read and stored; nil: as they are.
	Forms Forms
	// Durability of all writes.
	Durability change.Durability
	// RestoredTTL is the time after which the objects that are already stored
	// are removed; 0 is never. A time to live does not survive a restart: this
	// one replaces it.
	RestoredTTL time.Duration
	// BookmarkInterval is the time between two bookmarks (default 1m).
	BookmarkInterval time.Duration
	// Patience is how long a watch keeps its initial objects for a client that
	// reads none of them (default 1m).
	Patience time.Duration
}

// Storage implements storage.Interface over the store.
type Storage struct {
	store  *store.Store
	kind   schema.GroupKind
	prefix string // with a slash at its end
	// indexed are the fields by which the store finds objects.
	indexed    []string
	create     func() runtime.Object
	forms      Forms
	share      func(obj, old object.Object)
	copied     func(obj object.Object) object.Object
	durability change.Durability
	interval   time.Duration
	patience   time.Duration
	versioner  storage.APIObjectVersioner
	expiry     *expiry
	encoded    encodedObjects
	// forgotten is what the store's history did not have from the start.
	forgotten uint64
	sizes     atomic.Bool

	mu sync.Mutex
	// progress is closed and replaced when watchers shall send bookmarks.
	progress chan struct{}
	// ended is closed by Destroy.
	ended chan struct{}
	end   sync.Once
}

var _ storage.Interface = (*Storage)(nil)

// New returns the storage of a resource. Destroy ends it.
func New(c Config) (*Storage, error) {
	switch {
	case c.Store == nil || c.New == nil || c.Kind.Kind == "":
		return nil, errors.New("storage: Store, Kind and New must be set")
	case !strings.HasPrefix(c.Prefix, "/") || len(c.Prefix) < 2:
		return nil, fmt.Errorf("storage: prefix %q must begin with a slash and name the resource", c.Prefix)
	}
	if c.BookmarkInterval <= 0 {
		c.BookmarkInterval = time.Minute
	}
	if c.Patience <= 0 {
		c.Patience = time.Minute
	}
	s := &Storage{
		store:      c.Store,
		kind:       c.Kind,
		prefix:     strings.TrimSuffix(c.Prefix, "/") + "/",
		indexed:    c.Store.Indexed(c.Kind),
		create:     c.New,
		forms:      c.Forms,
		ended:      make(chan struct{}),
		durability: c.Durability,
		interval:   c.BookmarkInterval,
		patience:   c.Patience,
		forgotten:  c.Store.Forgotten(c.Kind),
		progress:   make(chan struct{}),
	}
	if k, ok := scheme.ForKind(c.Kind); ok {
		s.share, s.copied = k.Share, k.Copy
	}
	s.expiry = newExpiry(s)
	if c.RestoredTTL > 0 {
		s.expiry.restore(c.RestoredTTL)
	}
	return s, nil
}

// Destroy ends the storage's goroutine, for which it waits, and its watches:
// what a custom resource is read as may have changed.
func (s *Storage) Destroy() {
	s.end.Do(func() { close(s.ended) })
	s.expiry.stop()
}

// show returns the form in which a stored object is read; nil is none.
func (s *Storage) show(stored object.Object) (object.Object, error) {
	if s.forms == nil || stored == nil {
		return stored, nil
	}
	return s.forms.Show(stored)
}

// toStore returns the form in which an object is stored; nil is none.
func (s *Storage) toStore(written object.Object) (object.Object, error) {
	if s.forms == nil || written == nil {
		return written, nil
	}
	return s.forms.Store(written)
}

// Versioner implements storage.Interface.
func (s *Storage) Versioner() storage.Versioner { return s.versioner }

// ReadinessCheck implements storage.Interface.
func (s *Storage) ReadinessCheck() error { return s.store.Err() }

// GetCurrentResourceVersion implements storage.Interface.
func (s *Storage) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return s.store.Revision(), nil
}

// CompactRevision implements storage.Interface: it returns the newest revision
// that is no longer in the history, 0 if the history is complete.
func (s *Storage) CompactRevision() int64 {
	if f := s.store.Forgotten(s.kind); f != s.forgotten {
		return int64(f)
	}
	return 0
}

// EnableResourceSizeEstimation implements storage.Interface.
func (s *Storage) EnableResourceSizeEstimation(keys storage.KeysFunc) error {
	if keys == nil {
		return errors.New("KeysFunc cannot be nil")
	}
	if !s.sizes.CompareAndSwap(false, true) {
		return errors.New("resourceSizeEstimator already enabled")
	}
	return nil
}

// sizeSample is how many objects Stats encodes at most to estimate the size.
const sizeSample = 64

// Stats implements storage.Interface. The average size is computed from the
// first objects.
func (s *Storage) Stats(context.Context) (storage.Stats, error) {
	snapshot := s.store.Snapshot(s.kind)
	stats := storage.Stats{ObjectCount: int64(snapshot.Len())}
	if !s.sizes.Load() {
		return stats, nil
	}
	var total, n int64
	for _, obj := range snapshot.From("", "") {
		data, err := s.store.Encode(s.kind, obj)
		if err != nil {
			return stats, err
		}
		total += int64(len(data))
		if n++; n == sizeSample {
			break
		}
	}
	if n > 0 {
		stats.EstimatedAverageObjectSizeBytes = total / n
	}
	return stats, nil
}

// RequestWatchProgress implements storage.Interface: all watches that want
// bookmarks send one.
func (s *Storage) RequestWatchProgress(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.progress)
	s.progress = make(chan struct{})
	return nil
}

func (s *Storage) progressRequested() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// parse checks a path of the API server and takes it apart. A recursive one
// names all namespaces, a namespace, or (with a name) what can have nothing
// below it.
func (s *Storage) parse(path string, recursive bool) (prepared string, key object.Key, err error) {
	prepared, err = storage.PrepareKey(s.prefix, path, recursive)
	if err != nil {
		return "", key, err
	}
	rest := strings.TrimSuffix(strings.TrimPrefix(prepared, s.prefix), "/")
	key.GroupKind = s.kind
	namespace, name, both := strings.Cut(rest, "/")
	switch {
	case both:
		key.Namespace, key.Name = namespace, name
	case recursive:
		key.Namespace = rest
	default:
		key.Name = rest
	}
	return prepared, key, nil
}

// scope is what the store can find of the objects below key that the predicate
// selects: of what it finds, the predicate may select less.
func (s *Storage) scope(key object.Key, p storage.SelectionPredicate) store.Scope {
	scope := store.Scope{Namespace: key.Namespace, Name: key.Name}
	if p.Field == nil {
		return scope
	}
	if namespace, ok := p.Field.RequiresExactMatch("metadata.namespace"); ok && scope.Namespace == "" {
		scope.Namespace = namespace
	}
	if name, ok := p.Field.RequiresExactMatch("metadata.name"); ok && scope.Name == "" {
		scope.Name = name
	}
	if scope.Name != "" {
		return scope // there are no fewer by a field
	}
	for _, field := range s.indexed {
		if value, ok := p.Field.RequiresExactMatch(field); ok {
			scope.Field, scope.Value = field, value
			break
		}
	}
	return scope
}

// path is the reverse of parse.
func (s *Storage) path(key object.Key) string {
	if key.Namespace == "" {
		return s.prefix + key.Name
	}
	return s.prefix + key.Namespace + "/" + key.Name
}

// setShown makes out a deep copy of what a stored object is read as.
func (s *Storage) setShown(out runtime.Object, stored object.Object) error {
	if out == nil {
		return nil
	}
	shown, err := s.show(stored)
	if err != nil {
		return err
	}
	return s.setTo(out, shown)
}

// setTo makes out a copy of obj.
func (s *Storage) setTo(out runtime.Object, obj object.Object) error {
	if out == nil {
		return nil
	}
	return assign(out, s.copy(obj))
}

// copy is obj as the library may change it: a deep copy, as the kind makes it.
func (s *Storage) copy(obj runtime.Object) runtime.Object {
	if o, ok := obj.(object.Object); ok && s.copied != nil {
		return s.copied(o)
	}
	return obj.DeepCopyObject()
}

// assign makes out what obj is, sharing all but the top.
func assign(out, obj runtime.Object) error {
	to, err := conversion.EnforcePtr(out)
	if err != nil {
		return fmt.Errorf("unable to convert output object to pointer: %w", err)
	}
	from := reflect.ValueOf(obj).Elem()
	if !from.Type().AssignableTo(to.Type()) {
		return fmt.Errorf("storage: cannot return a %T as %T", obj, out)
	}
	to.Set(from)
	return nil
}

// toObject checks that the store can hold obj.
func toObject(obj runtime.Object) (object.Object, error) {
	o, ok := obj.(object.Object)
	if !ok {
		return nil, fmt.Errorf("storage: %T has no metadata", obj)
	}
	return o, nil
}
