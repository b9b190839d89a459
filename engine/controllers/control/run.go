package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/util/workqueue"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

// The back-off of a key that fails: short at first, as most failures are
// races that the next look settles.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = time.Minute
	// loudAfter is how many failures in a row make it worth a warning.
	loudAfter = 5
)

type queue = workqueue.TypedRateLimitingInterface[object.Key]

// Run runs controllers until ctx ends, and returns when all their goroutines
// have.
func Run(ctx context.Context, env Env, controllers []Controller) error {
	queues := make([]queue, len(controllers))
	for i, c := range controllers {
		q := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[object.Key](firstRetry, lastRetry))
		queues[i] = q
		env.Feed.subscribe(func(ev object.Event) { c.Keys(ev, q.Add) })
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range controllers {
		if c.Start != nil {
			if err := guard.Call(ctx, "start controller "+c.Name, func() error { return c.Start(ctx) }); err != nil {
				shutDown(queues)
				return fmt.Errorf("start controller %s: %w", c.Name, err)
			}
		}
		for range max(c.Workers, 1) {
			group.Go(func() error {
				return guard.Loop(ctx, "controller "+c.Name, func(ctx context.Context) error { work(ctx, env, c, queues[i]); return nil })
			})
		}
	}
	group.Go(func() error { return guard.Loop(ctx, "the controllers' feed", env.Feed.run) })
	group.Go(func() error {
		return guard.Call(ctx, "end the controllers", func() error {
			<-ctx.Done()
			shutDown(queues)
			return nil
		})
	})
	return group.Wait()
}

func shutDown(queues []queue) {
	for _, q := range queues {
		q.ShutDown()
	}
}

// work reconciles keys until the queue is shut down.
func work(ctx context.Context, env Env, c Controller, q queue) {
	for {
		key, shutdown := q.Get()
		if shutdown {
			return
		}
		if ctx.Err() != nil {
			q.Done(key)
			continue
		}
		var after time.Duration
		err := guard.Call(ctx, fmt.Sprintf("%s: reconcile %s", c.Name, key), func() (err error) {
			after, err = c.Reconcile(ctx, key)
			return err
		})
		switch {
		case errors.Is(err, context.Canceled):
		case err != nil:
			level := slog.LevelDebug
			if q.NumRequeues(key) == loudAfter {
				level = slog.LevelWarn
			}
			env.Log.Log(ctx, level, "reconcile failed, trying again", "controller", c.Name, "object", key, "failures", q.NumRequeues(key), "error", err)
			q.AddRateLimited(key)
		default:
			q.Forget(key)
			if after > 0 {
				q.AddAfter(key, after)
			}
		}
		q.Done(key)
	}
}
