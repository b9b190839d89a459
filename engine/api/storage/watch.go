package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"

	"headway.dev/engine/store"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

// Watch implements storage.Interface:
//
//   - resourceVersion "" or "0" starts with the present objects as ADDED;
//   - N starts after revision N; if its events are gone, with a 410 as ERROR;
//   - sendInitialEvents=true starts with the present objects, and with
//     bookmarks allowed ends them by the annotated bookmark.
//
// Where bookmarks are allowed, one comes about every minute, shortly before the
// context's deadline, and when RequestWatchProgress is called.
func (s *Storage) Watch(ctx context.Context, path string, opts storage.ListOptions) (watch.Interface, error) {
	_, key, err := s.parse(path, opts.Recursive)
	if err != nil {
		return nil, err
	}
	from, err := s.versioner.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	wanted := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	w := &watcher{
		storage:   s,
		key:       key,
		recursive: opts.Recursive,
		predicate: opts.Predicate,
		results:   make(chan watch.Event, buffered),
		bookmarks: opts.ProgressNotify || opts.Predicate.AllowWatchBookmarks,
		initial:   wanted || opts.SendInitialEvents == nil && from == 0,
		announce:  wanted && opts.Predicate.AllowWatchBookmarks,
		patience:  s.patience,
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	start, err := w.begin(from)
	go func() { guard.Do(w.ctx, "watch "+key.String(), func() { w.run(start, err) }) }()
	return w, nil
}

// buffered is how many events wait for a client, as many as with Kubernetes.
// The store's history, which is bounded in bytes, keeps the others: a client
// that does not read is told to list again.
const buffered = 10

// watcher implements watch.Interface.
type watcher struct {
	storage   *Storage
	key       object.Key
	recursive bool
	predicate storage.SelectionPredicate
	bookmarks bool
	// initial says that the present objects come first, announce that a
	// bookmark tells when they are complete.
	initial, announce bool
	// patience is how long the present objects wait for a client that takes
	// none of them. What changes later waits in the store's history.
	patience time.Duration

	ctx     context.Context //nolint:containedctx // the life of the watch, which Stop ends
	cancel  context.CancelFunc
	results chan watch.Event
}

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// start is where a watch begins: at the state of snapshot, if it is set, and
// then with the events of the cursor.
type start struct {
	snapshot *store.Snapshot
	cursor   *store.Watcher
}

// begin finds what the watch is about by the store's indexes: it is not woken by
// changes of what else there is.
func (w *watcher) begin(from uint64) (st start, err error) {
	s := w.storage.store
	if w.initial {
		st.snapshot = s.Snapshot(w.key.GroupKind)
		if current := st.snapshot.Revision(); from > current {
			return st, storage.NewTooLargeResourceVersionError(from, current, 1)
		}
		from = st.snapshot.Revision()
	}
	st.cursor, err = s.FollowScope(from, w.key.GroupKind, w.storage.scope(w.key, w.predicate))
	return st, err
}

func (w *watcher) run(st start, err error) {
	defer close(w.results)
	defer w.cancel()
	if err == nil {
		defer st.cursor.Close()
		// A poisonous object ends the watches that meet it, and nothing else.
		err = guard.Call(w.ctx, "watch "+w.key.String(), func() error {
			if err := w.sendInitial(st.snapshot); err != nil {
				return err
			}
			utilflowcontrol.WatchInitialized(w.ctx)
			return w.follow(st.cursor)
		})
	}
	utilflowcontrol.WatchInitialized(w.ctx)
	if err != nil && w.ctx.Err() == nil {
		w.send(watch.Event{Type: watch.Error, Object: errorStatus(err)})
	}
}

// errorStatus is err as a watch reports it to the client.
func errorStatus(err error) runtime.Object {
	if errors.Is(err, object.ErrExpired) {
		err = apierrors.NewResourceExpired(watchExpired)
	}
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	return &status
}

// errEnded ends the watches of a resource that is no longer served as it was:
// their clients list again.
var errEnded = apierrors.NewResourceExpired("the resource is served differently now; list again")

// errStalled ends a watch that takes none of the present objects: they would be
// kept as they were for as long as its client likes.
var errStalled = apierrors.NewResourceExpired("the client did not read the initial events of the watch")

// sendPresent sends what is there when the watch begins.
func (w *watcher) sendPresent(e watch.Event) error {
	select {
	case w.results <- e:
		return nil
	default:
	}
	timer := time.NewTimer(w.patience)
	defer timer.Stop()
	select {
	case w.results <- e:
		return nil
	case <-timer.C:
		return errStalled
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// send returns false when the watch has ended.
func (w *watcher) send(e watch.Event) bool {
	select {
	case w.results <- e:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *watcher) sendInitial(snapshot *store.Snapshot) error {
	if snapshot == nil {
		return nil
	}
	if !w.recursive {
		obj, err := w.storage.show(snapshot.Get(w.key.Namespace, w.key.Name))
		if err != nil {
			return err
		}
		if obj != nil && w.selects(obj) {
			w.send(watch.Event{Type: watch.Added, Object: newCached(obj)})
		}
	} else {
		objects, err := snapshot.In(w.storage.scope(w.key, w.predicate), w.key.Namespace, "")
		if err != nil {
			return err
		}
		for key, obj := range objects {
			if !w.concerns(key) {
				continue
			}
			obj, err := w.storage.show(obj)
			if err != nil {
				return err
			}
			if !w.selects(obj) {
				continue
			}
			if err := w.sendPresent(watch.Event{Type: watch.Added, Object: newCached(obj)}); err != nil {
				return err
			}
		}
	}
	if w.announce {
		return w.sendBookmark(snapshot.Revision(), true)
	}
	return nil
}

// follow sends the events of the cursor until the watch ends.
func (w *watcher) follow(cursor *store.Watcher) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	if w.bookmarks {
		timer.Reset(w.untilBookmark())
	}
	progress := w.storage.progressRequested()
	for {
		events, changed, err := cursor.Poll()
		if err != nil {
			return err
		}
		for _, e := range events {
			out, ok, err := w.transform(e)
			if err != nil {
				return err
			}
			if ok && !w.send(out) {
				return w.ctx.Err()
			}
		}
		if len(events) > 0 {
			continue // there may be more by now, which a bookmark must not overtake
		}
		select {
		case <-changed:
			continue
		case <-w.ctx.Done():
			return w.ctx.Err()
		case <-w.storage.ended:
			return errEnded
		case <-timer.C:
		case <-progress:
			progress = w.storage.progressRequested()
		}
		if w.bookmarks {
			timer.Reset(w.untilBookmark())
			if err := w.sendBookmark(cursor.Revision(), false); err != nil {
				return err
			}
		}
	}
}

// beforeDeadline is how long before the end of the request the last bookmark
// is sent, so that the client can go on from there.
const beforeDeadline = 2 * time.Second

func (w *watcher) untilBookmark() time.Duration {
	wait := w.storage.interval
	if deadline, ok := w.ctx.Deadline(); ok {
		if left := time.Until(deadline) - beforeDeadline; left > 0 && left < wait {
			return left
		}
	}
	return wait
}

func (w *watcher) sendBookmark(revision uint64, initialEventsEnd bool) error {
	obj := w.storage.create()
	if err := w.storage.versioner.UpdateObject(obj, revision); err != nil {
		return fmt.Errorf("failed to propagate object resource version: %w", err)
	}
	if initialEventsEnd {
		if err := storage.AnnotateInitialEventsEndBookmark(obj); err != nil {
			return fmt.Errorf("annotate bookmark: %w", err)
		}
	}
	if !w.send(watch.Event{Type: watch.Bookmark, Object: obj}) {
		return w.ctx.Err()
	}
	return nil
}

func (w *watcher) concerns(key object.Key) bool {
	if w.recursive {
		// Nothing is below an object.
		return w.key.Name == "" && (w.key.Namespace == "" || w.key.Namespace == key.Namespace)
	}
	return w.key.Namespace == key.Namespace && w.key.Name == key.Name
}

func (w *watcher) selects(obj object.Object) bool {
	if w.predicate.Empty() {
		return true
	}
	matched, err := w.predicate.Matches(obj)
	return err == nil && matched
}

// transform is e as this watch sees it: an object that starts or stops being
// selected is added or deleted.
func (w *watcher) transform(e object.Event) (out watch.Event, ok bool, err error) {
	if !w.concerns(e.Key) {
		return out, false, nil
	}
	if e.Object, err = w.storage.show(e.Object); err != nil {
		return out, false, err
	}
	if e.Old, err = w.storage.show(e.Old); err != nil {
		return out, false, err
	}
	now := e.Type != object.Deleted && w.selects(e.Object)
	before := e.Old != nil && w.selects(e.Old)
	cache := &w.storage.encoded
	switch {
	case now && before:
		return watch.Event{Type: watch.Modified, Object: cache.get(e)}, true, nil
	case now:
		return watch.Event{Type: watch.Added, Object: cache.get(e)}, true, nil
	case before && e.Type == object.Deleted:
		return watch.Event{Type: watch.Deleted, Object: cache.get(e)}, true, nil
	case before:
		// Kubernetes sends the state that was selected, with the revision at
		// which it no longer was.
		return watch.Event{Type: watch.Deleted, Object: cache.getOld(e)}, true, nil
	}
	return out, false, nil
}

var _ metav1.ObjectMetaAccessor = (*cached)(nil)
