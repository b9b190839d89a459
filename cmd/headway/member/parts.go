package member

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"headway.dev/manifests/guard"
)

// Part is one of those that run as long as the cluster.
type Part struct {
	Name string
	Run  func(context.Context) error
	// Again says that it can begin anew after a panic. The others guard what
	// they start, and can only panic while they start it: that ends all parts
	// in order, and is the error.
	Again bool
}

func (p Part) keep(ctx context.Context) error {
	if p.Again {
		return guard.Loop(ctx, p.Name, p.Run)
	}
	return p.Run(ctx)
}

// RunParts runs parts until ctx ends or one of them fails.
func RunParts(ctx context.Context, parts ...Part) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		group.Go(func() error {
			return guard.Call(ctx, p.Name, func() error { return p.keep(ctx) })
		})
	}
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
