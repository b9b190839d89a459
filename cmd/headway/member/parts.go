package member

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/cmd/headway/memory"
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

// lookPeriod is how often it is looked whether the data dir is there.
const lookPeriod = 2 * time.Second

// Background are the parts that every program has which runs until it is stopped.
func Background(held datadir.Held) []Part {
	return []Part{
		{Name: "watch over the data dir", Run: func(ctx context.Context) error { return held.Keep(ctx, lookPeriod) }, Again: true},
		{Name: "what gives memory back", Run: memory.Trim, Again: true},
	}
}

// Parts are those of a machine.
func (m *Member) Parts() []Part {
	parts := []Part{
		{Name: "what is known of the cluster", Run: m.cluster.Run, Again: true},
		{Name: "agent", Run: m.RunAgent},
		{Name: "service proxy", Run: m.RunProxy, Again: true},
		{Name: "routes to other nodes", Run: m.runPeers, Again: true},
		{Name: "network policies", Run: m.policies.Run, Again: true},
		{Name: "addresses of load balancers", Run: m.runAnnouncer, Again: true},
	}
	if m.ingress != nil {
		parts = append(parts, Part{Name: "proxy for ingresses", Run: m.runIngress, Again: true})
	}
	return parts
}
