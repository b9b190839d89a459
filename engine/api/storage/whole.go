package storage

import (
	"context"
	"reflect"
	"runtime"
	"sync"

	"golang.org/x/sync/semaphore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Line is a queue that bounds the bytes of answers that are built whole before
// they are sent, at the same time. Lists that are sent item by item do not wait
// in it.
type Line struct {
	bytes int64
	free  *semaphore.Weighted
}

// NewLine returns a queue for answers of so many bytes together. A larger
// answer is built while there is no other.
func NewLine(bytes int64) *Line { return &Line{bytes, semaphore.NewWeighted(bytes)} }

// unlined is up to how many bytes an answer is built without a place.
const unlined = 128 << 10

// Whole is a list whose answer is built whole.
type Whole struct {
	// Line is the queue in which it waits for its turn.
	Line *Line
	// MetadataOnly reports whether the answer contains only the objects'
	// metadata.
	MetadataOnly bool

	mu   sync.Mutex
	held int64
}

type wholeKey struct{}

// WithWhole marks the lists of ctx as built whole. The caller calls Done when
// the answer has been sent.
func WithWhole(ctx context.Context, w *Whole) context.Context {
	return context.WithValue(ctx, wholeKey{}, w)
}

// Done releases its place in the queue.
func (w *Whole) Done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == 0 {
		return
	}
	if w.held == w.Line.bytes {
		// What it leaves behind is worth a collection: the next one would be
		// built on top of it.
		runtime.GC()
	}
	w.Line.free.Release(w.held)
	w.held = 0
}

// turn waits until the answer with items may be built.
func turn(ctx context.Context, items reflect.Value) error {
	w, ok := ctx.Value(wholeKey{}).(*Whole)
	if !ok {
		return nil
	}
	bytes := w.size(items)
	w.mu.Lock()
	defer w.mu.Unlock()
	if bytes <= unlined || w.held > 0 {
		return nil
	}
	bytes = min(bytes, w.Line.bytes)
	if err := w.Line.free.Acquire(ctx, bytes); err != nil {
		return apierrors.NewTimeoutError("other large answers are being built, and there was no place for this one in time", 0)
	}
	w.held = bytes
	return nil
}

// size is about how many bytes of the items the answer has.
func (w *Whole) size(items reflect.Value) int64 {
	var bytes int64
	for i := range items.Len() {
		obj := items.Index(i).Addr().Interface()
		if m, ok := obj.(metav1.ObjectMetaAccessor); ok && w.MetadataOnly {
			if meta, ok := m.GetObjectMeta().(*metav1.ObjectMeta); ok {
				obj = meta
			}
		}
		// Kinds without it, which are Flux', are small.
		if sized, ok := obj.(interface{ Size() int }); ok {
			bytes += int64(sized.Size())
		}
	}
	return bytes
}
