package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/util/workqueue"

	"headway.dev/manifests/object"
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
		env.Feed.subscribe(func(ev object.Event) {
			// A poisonous object must not stop the feed of all the others.
			if _, err := recovered(ev.Key, func() (time.Duration, error) { c.Keys(ev, q.Add); return 0, nil }); err != nil {
				env.Log.Error("controller could not read an event", "controller", c.Name, "object", ev.Key, "error", err)
			}
		})
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range controllers {
		if c.Start != nil {
			if err := c.Start(ctx); err != nil {
				shutDown(queues)
				return fmt.Errorf("start controller %s: %w", c.Name, err)
			}
		}
		for range max(c.Workers, 1) {
			group.Go(func() error { work(ctx, env, c, queues[i]); return nil })
		}
	}
	group.Go(func() error {
		watcher, err := env.Feed.load()
		if err != nil {
			return err
		}
		return env.Feed.follow(ctx, watcher)
	})
	group.Go(func() error {
		<-ctx.Done()
		shutDown(queues)
		return nil
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
		after, err := recovered(key, func() (time.Duration, error) { return c.Reconcile(ctx, key) })
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
