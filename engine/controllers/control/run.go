package control

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/object"
)

// backoff is that of a key that fails: short at first, as most failures are
// races that the next look settles.
var backoff = loop.Backoff{First: 5 * time.Millisecond, Last: time.Minute}

// loudAfter is how many failures in a row make the next one worth a warning.
const loudAfter = 5

// Run runs controllers until ctx ends, and then returns nil when all their goroutines
// have ended.
func Run(ctx context.Context, env Env, controllers []Controller) error {
	for _, c := range controllers {
		if c.Start == nil {
			continue
		}
		err := guard.Call(ctx, "start controller "+c.Name, func() error { return c.Start(ctx) })
		if err != nil && ctx.Err() != nil {
			return nil //nolint:nilerr // what failed was to be broken off
		}
		if err != nil {
			return fmt.Errorf("start controller %s: %w", c.Name, err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range controllers {
		keys := loop.NewKeys(loop.Options[object.Key]{
			Name: c.Name + ": reconcile", Workers: c.Workers, Backoff: backoff, Look: c.Reconcile,
			Failed: func(ctx context.Context, key object.Key, failures int, err error) {
				level := slog.LevelDebug
				if failures == loudAfter {
					level = slog.LevelWarn
				}
				env.Log.Log(ctx, level, "reconcile failed, trying again", "controller", c.Name, "object", key, "failures", failures, "error", err)
			},
		})
		env.Feed.subscribe(func(ev object.Event) { c.Keys(ev, keys.Wake) })
		group.Go(func() error { return guard.Call(ctx, "controller "+c.Name, func() error { return keys.Run(ctx) }) })
	}
	group.Go(func() error { return guard.Loop(ctx, "the controllers' feed", env.Feed.run) })
	return group.Wait()
}
