package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/store/file"
	"headway.dev/engine/store/record"
	"headway.dev/engine/store/reserve"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Errors of the store, to be tested with errors.Is.
var (
	// ErrClosed is returned by a store that was closed.
	ErrClosed = errors.New("store: closed")
	// ErrFuture is returned for a revision that has not been reached.
	ErrFuture = errors.New("store: the revision lies in the future")
)

// Admit looks at one change of a transaction at the point of commit, with a
// view that includes the transaction's earlier changes, and returns the state
// to store (next, or a changed copy) or refuses the transaction. next is nil
// for a removal, old for a creation. It guards what must hold between objects:
// unique service addresses, no creation in a namespace that is missing or
// terminating. It must not call the store.
type Admit func(view object.Reader, next, old object.Object) (object.Object, error)

// Options of Open.
type Options struct {
	// Path of the database file. It is locked while open.
	Path  string
	Admit []Admit
	// Along returns what else is written with a change, right after it and in
	// the same transaction. view includes the change. A key that the transaction
	// changes itself is left alone, unless what is returned says Always. It must
	// not call the store.
	Along func(view object.Reader, ev object.Event) []change.Change
	// Observe receives everything that is committed, in order: first all
	// objects as Added, by Open, then each batch's events, before readers and
	// watchers see them and before the next call of an Admit. With it an Admit
	// can maintain an index that is not affected by transactions that are
	// rolled back, and anyone who learns of a change finds it there. It must
	// not call the store.
	Observe func(events []object.Event)
	// Define receives the CustomResourceDefinitions of the file before any other
	// object is decoded: how those are encrypted may depend on them. Observe
	// receives them again.
	Define func(events []object.Event)
	// History is how many events each kind keeps for watchers at most. The
	// default is 4096 and, of a kind that changes more often, all of the last 75
	// seconds, within HistoryBytes: a watcher that had a bookmark a minute ago
	// can go on from there.
	History int
	// HistoryBytes bounds what the events of all kinds together are, with the
	// replaced and deleted objects that they keep, which count as they are
	// encoded (default 64 MiB). A watcher that falls further behind gets
	// object.ErrExpired, and lists again.
	HistoryBytes int64
	// HistoryAge is how long events are kept (default 10m): they hold their
	// objects' older states in memory. The newest 128 of a kind are kept
	// however old they are, within HistoryBytes.
	HistoryAge time.Duration
	Log        *slog.Logger
	// LockTimeout bounds the wait for another process's lock (default 1s).
	LockTimeout time.Duration
	// FlushDelay is how long change.Behind writes may stay only in memory
	// (default 50ms).
	FlushDelay time.Duration
	// Reserve is how many bytes of the disk are reserved for the file beyond
	// what it uses, so that a disk that something else fills still accepts
	// deletions and changes; creations are then refused with
	// reserve.ReasonInsufficientStorage.
	Reserve int64
	// Codec returns how a kind is encoded; nil for a kind that is not stored.
	// The default is record.Served, for the kinds of manifests/model/scheme.
	Codec func(kind schema.GroupKind) record.Codec
	// Cipher encrypts what the file contains of some kinds. The default is
	// record.Plain.
	Cipher record.Cipher
	// Indexes returns the fields of a kind by which objects and their events
	// are found. The default is those of the kinds' definitions.
	Indexes func(kind schema.GroupKind) Indexes
}

// The events that a kind keeps by default. Bookmarks come every minute.
const (
	historyEvents = 4096
	historyFresh  = 75 * time.Second
)

func (o *Options) setDefaults() {
	if o.HistoryBytes <= 0 {
		o.HistoryBytes = 64 << 20
	}
	if o.HistoryAge <= 0 {
		o.HistoryAge = 10 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = time.Second
	}
	if o.FlushDelay <= 0 {
		o.FlushDelay = 50 * time.Millisecond
	}
	if o.Codec == nil {
		o.Codec = record.Served
	}
	if o.Cipher == nil {
		o.Cipher = record.Plain{}
	}
	if o.Indexes == nil {
		o.Indexes = servedIndexes
	}
}

// Store is safe for concurrent use.
type Store struct {
	log     *slog.Logger
	file    *file.File
	path    string
	current atomic.Pointer[state]
	codecs  func(schema.GroupKind) record.Codec
	indexes func(schema.GroupKind) Indexes
	// stale: see contents.
	stale atomic.Int64
	// failure is the disk's error of the newest write.
	failure atomic.Pointer[error]

	// mu guards the histories, and makes publishing them together with the
	// state one step for watchers.
	mu        sync.RWMutex
	histories map[schema.GroupKind]*history
	// forgotten is the revision up to which a kind without a history of its
	// own has no events: what was there when the store was opened.
	forgotten uint64
	limit     int
	fresh     time.Duration
	budget    int64
	age       time.Duration
	// changed is closed and replaced with every publication.
	changed chan struct{}
	// done is set when no more events will come.
	done bool
	// cloning serialises clones of published collections: clone writes to its
	// receiver.
	cloning sync.Mutex

	// sending is held for reading while a request is handed to the writer, so
	// that Close knows that no more will come.
	sending  sync.RWMutex
	closed   bool
	requests chan *request
	// ended is closed when the writer goroutine is done, after err is set.
	ended chan struct{}
	err   error
}

// Open opens or creates the store and reads all of it into memory. It fails
// with file.ErrInUse, file.ErrNewer, file.ErrDamaged or record.ErrKey, or an error
// of the file system.
func Open(opts Options) (*Store, error) {
	opts.setDefaults()
	f, err := file.Open(opts.Path, opts.LockTimeout)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", opts.Path, err)
	}
	loaded, err := replay(f, opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", opts.Path, err), f.Close())
	}
	limit, fresh := opts.History, time.Duration(0)
	if limit <= 0 {
		limit, fresh = historyEvents, historyFresh
	}
	s := &Store{
		log:       opts.Log,
		file:      f,
		path:      opts.Path,
		codecs:    opts.Codec,
		indexes:   opts.Indexes,
		histories: map[schema.GroupKind]*history{},
		forgotten: loaded.revision,
		limit:     limit,
		fresh:     fresh,
		budget:    opts.HistoryBytes,
		age:       opts.HistoryAge,
		changed:   make(chan struct{}),
		requests:  make(chan *request, maxBatch),
		ended:     make(chan struct{}),
	}
	s.stale.Store(loaded.stale)
	w := newWriter(s, opts, loaded)
	if w.reserve, err = reserve.Open(opts.Path, opts.Reserve, opts.Log); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", opts.Path, err), f.Close())
	}
	w.reserve.Keep(f.Used())
	s.current.Store(w.snapshot(nil))
	w.observeAll()
	go func() {
		defer close(s.ended)
		_ = guard.Loop(context.Background(), "the store's writer", func(context.Context) error { w.run(); return nil }) // run has no error
	}()
	return s, nil
}

// Close waits until everything acknowledged is on disk, and closes. Watchers
// and later calls get ErrClosed. A second call returns the first one's error.
func (s *Store) Close() error {
	s.sending.Lock()
	if !s.closed {
		s.closed = true
		close(s.requests)
	}
	s.sending.Unlock()
	<-s.ended
	return s.err
}

// Get implements object.Reader.
func (s *Store) Get(key object.Key) object.Object {
	return s.current.Load().get(key)
}

// List implements object.Reader.
func (s *Store) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	st := s.current.Load()
	return st.list(kind, namespace), st.revision
}

// Heads is what object.Heads asks for.
func (s *Store) Heads(kind schema.GroupKind) ([]object.Object, uint64) {
	st := s.current.Load()
	return st.heads(kind), st.revision
}

// Revision returns the revision of the newest readable state.
func (s *Store) Revision() uint64 { return s.current.Load().revision }

// Commit applies tx whole or not at all and returns the state of each change's
// key after the transaction (nil where it was removed). Errors of Mutate and
// Admit come back as they are. When it returns, readers and watchers see the
// change. A transaction that appends records is always change.Wait.
//
// ctx ends the wait for the writer; once the writer has taken the transaction
// up, its outcome is waited for. An error of the disk leaves it open whether
// the transaction will be there after a crash; until then it is not.
func (s *Store) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	results, err := s.Transact(ctx, tx)
	if err != nil {
		return nil, err
	}
	objs := make([]object.Object, len(results))
	for i, r := range results {
		objs[i] = r.Object
	}
	return objs, nil
}

// Result is the outcome of one change of a transaction.
type Result struct {
	// Object is the state of the change's key after the transaction, nil where
	// it was removed.
	Object object.Object
	// Revision is that of the change, 0 if it changed nothing.
	Revision uint64
}

// Transact is Commit that also returns the revisions.
func (s *Store) Transact(ctx context.Context, tx change.Tx) ([]Result, error) {
	return s.do(&request{ctx: ctx, tx: tx, done: make(chan outcome, 1)})
}

// DryRun does everything that Transact does, including checks, and rolls it
// back before anybody sees it. The revisions in the results have no meaning.
func (s *Store) DryRun(ctx context.Context, tx change.Tx) ([]Result, error) {
	return s.do(&request{ctx: ctx, tx: tx, dryRun: true, done: make(chan outcome, 1)})
}

func (s *Store) do(req *request) ([]Result, error) {
	if err := s.send(req); err != nil {
		return nil, err
	}
	out := <-req.done
	return out.results, out.err
}

// Encode returns obj in the form in which the file contains it. Two objects
// with the same encoding are the same object.
func (s *Store) Encode(kind schema.GroupKind, obj object.Object) ([]byte, error) {
	codec := s.codecs(kind)
	if codec == nil {
		return nil, fmt.Errorf("store: kind %s is not registered", kind)
	}
	return codec.Encode(obj)
}

// Records reads up to limit entries of an append-only log from index from
// (0-based) on, oldest first; negative from counts from the end. Removed
// entries are skipped. A log that was never written to is empty.
func (s *Store) Records(log string, from int64, limit int) ([][]byte, error) {
	entries, err := s.file.Log(log, from, limit)
	if errors.Is(err, fs.ErrClosed) {
		return nil, ErrClosed
	}
	return entries, err
}

// FileSize returns the size of the store's file, in bytes.
func (s *Store) FileSize() (int64, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return 0, fmt.Errorf("size of the store's file: %w", err)
	}
	return info.Size(), nil
}

// Err returns nil while the store works, ErrClosed after Close, and the disk's
// error from a failed write to the next good one.
func (s *Store) Err() error {
	select {
	case <-s.ended:
		return ErrClosed
	default:
	}
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *Store) send(req *request) error {
	if err := req.ctx.Err(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	s.sending.RLock()
	defer s.sending.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.requests <- req:
		return nil
	case <-req.ctx.Done():
		return fmt.Errorf("commit: %w", req.ctx.Err())
	}
}
