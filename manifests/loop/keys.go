package loop

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/util/workqueue"

	"headway.dev/manifests/guard"
)

// Options determine how keys are looked at.
type Options[K comparable] struct {
	// Name describes, in reports of panics, what is done with a key: the key
	// follows it.
	Name string
	// Workers is how many keys are looked at at once (default 1).
	Workers int
	Backoff Backoff
	// Look looks at one key, as Look does at one thing.
	Look func(ctx context.Context, key K) (again time.Duration, err error)
	// Failed, if set, is called with each failure, and how many came before it
	// in a row.
	Failed func(ctx context.Context, key K, failures int, err error)
}

// Keys looks at keys that were woken or are due. Keys that are woken before Run
// are looked at then.
type Keys[K comparable] struct {
	options Options[K]
	queue   workqueue.TypedRateLimitingInterface[K]
}

// NewKeys returns Keys of which none was woken. Run or ShutDown must be called.
func NewKeys[K comparable](options Options[K]) *Keys[K] {
	return &Keys[K]{options: options, queue: workqueue.NewTypedRateLimitingQueue[K](NewFailures[K](options.Backoff))}
}

// Wake makes Run look at a key: now, or once more after the look in progress.
func (k *Keys[K]) Wake(key K) { k.queue.Add(key) }

// WakeAfter wakes a key after some time.
func (k *Keys[K]) WakeAfter(key K, d time.Duration) { k.queue.AddAfter(key, d) }

// ShutDown ends Run once the looks in progress are over.
func (k *Keys[K]) ShutDown() { k.queue.ShutDown() }

// Run looks at keys until ctx ends, and returns when all looks are over.
func (k *Keys[K]) Run(ctx context.Context) error {
	var group errgroup.Group
	for range max(k.options.Workers, 1) {
		group.Go(func() error {
			return guard.Loop(ctx, k.options.Name, func(ctx context.Context) error { k.work(ctx); return nil })
		})
	}
	group.Go(func() error {
		return guard.Call(ctx, "end "+k.options.Name, func() error {
			<-ctx.Done()
			k.ShutDown()
			return nil
		})
	})
	return group.Wait()
}

// work looks at keys until the queue is shut down.
func (k *Keys[K]) work(ctx context.Context) {
	for {
		key, shutdown := k.queue.Get()
		if shutdown {
			return
		}
		k.look(ctx, key)
	}
}

func (k *Keys[K]) look(ctx context.Context, key K) {
	defer k.queue.Done(key)
	if ctx.Err() != nil {
		return
	}
	again, err := call(ctx, fmt.Sprintf("%s %v", k.options.Name, key), func(ctx context.Context) (time.Duration, error) {
		return k.options.Look(ctx, key)
	})
	switch {
	case err != nil && ctx.Err() != nil: // the end, and no failure
	case err != nil:
		if k.options.Failed != nil {
			k.options.Failed(ctx, key, k.queue.NumRequeues(key), err)
		}
		k.queue.AddRateLimited(key)
	default:
		k.queue.Forget(key)
		if again > 0 {
			k.queue.AddAfter(key, again)
		}
	}
}
