package apply

import (
	"context"
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/render"
)

// A group waits for builds as long as one ends every now and then; who is slow
// goes alone.
const (
	groupPatience = 2 * time.Second  // without any that ends
	groupMost     = 10 * time.Second // for all of them
)

// built is what came of a member's build.
type built struct {
	m   *member
	ks  *kustomizev1.Kustomization
	err error
}

// build renders some members side by side. Who is slow is out: its build goes
// on, and is ready when its own loop comes to it.
func (g *group) build(ctx context.Context, wave []*member) {
	results := make(chan built, len(wave))
	open := map[*member]bool{}
	for _, m := range wave {
		open[m] = true
		ks, r := m.ks, m.r
		g.wg.Go(func() {
			guard.Do(ctx, "build in a group", func() {
				b := built{m: m}
				b.err = fault.Catch(func() (err error) {
					b.ks, err = r.build(ctx, ks)
					return err
				})
				results <- b
			})
		})
	}
	for len(open) > 0 {
		patience, others := groupPatience, g.waiting(open)
		if others {
			patience = min(patience, max(time.Until(g.until), 0))
		}
		timer := time.NewTimer(patience)
		select {
		case b := <-results:
			timer.Stop()
			delete(open, b.m)
			if b.m.out = b.err != nil; !b.m.out {
				b.m.ks = b.ks
			}
		case <-timer.C:
			if !others && !g.outsiders() {
				continue // there is nobody whom it holds up
			}
			leaveOut(open)
			return
		case <-ctx.Done():
			timer.Stop()
			leaveOut(open)
			return
		}
	}
}

// leaveOut puts out members whose builds go on.
func leaveOut(open map[*member]bool) {
	for m := range open {
		m.out, m.late, m.r = true, true, nil
	}
}

// outsiders reports whether there are Kustomizations that wait for the end of the
// group and are not in it: who was busy when it began, or came after that.
func (g *group) outsiders() bool {
	return slices.ContainsFunc(flux.Followers(g.s.Env.Store, g.source), func(ks *kustomizev1.Kustomization) bool {
		return g.members[flux.KeyOf(ks)] == nil && ks.DeletionTimestamp == nil && !ks.Spec.Suspend && g.s.Rights.MayFollow(ks) == nil
	})
}

// waiting reports whether there are members that could go on without some whose
// builds are slow, and without who comes after those.
func (g *group) waiting(slow map[*member]bool) bool {
	return slices.ContainsFunc(g.order, func(m *member) bool {
		for first := m; first != nil; first = g.members[first.after] {
			if slow[first] {
				return false
			}
			if first.planned || first.out {
				return true
			}
		}
		return true
	})
}

// rendered renders Kustomizations to see what they declare: each once for all
// members, and none that is slow.
func (g *group) rendered(of func(context.Context, *kustomizev1.Kustomization) ([]load.Item, error)) func(context.Context, *kustomizev1.Kustomization) ([]load.Item, error) {
	return func(ctx context.Context, ks *kustomizev1.Kustomization) ([]load.Item, error) {
		if m := g.members[flux.KeyOf(ks)]; m != nil && m.late {
			return nil, render.ErrSlow
		} else if m != nil && m.planned && neighbours.Extent(m.ks) == neighbours.Extent(ks) {
			return m.r.items, nil
		}
		id := flux.KeyOf(ks).String() + neighbours.Extent(ks)
		done, ok := g.renders[id]
		if !ok {
			done.Items, done.Err = of(ctx, ks)
			if g.renders == nil {
				g.renders = map[string]neighbours.Rendering{}
			}
			g.renders[id] = done
		}
		return done.Items, done.Err
	}
}
