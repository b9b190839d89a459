package apply

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/history"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/parents"
	"headway.dev/syncer/render"
	"headway.dev/syncer/verdict"
)

// build is the phase that renders the tree. It returns the Kustomization with
// the spec that counts at the head.
func (r *round) build(ctx context.Context, ks *kustomizev1.Kustomization) (*kustomizev1.Kustomization, error) {
	k := r.k
	start := time.Now()
	defer func() { r.took("build", start) }()
	// What was applied last is put back as it was rendered then: the spec may be
	// that of a newer commit by now, which is for that commit's files. Who may do
	// it is decided by the spec of now.
	ignore, then := flux.Ignore(k.s.Env.Store, flux.SourceKey(ks)), (*history.Rendered)(nil)
	last := k.s.Rendered(k.key)
	if good := last.Healthy; r.hold && good != nil && good.Revision == r.head.Revision() && last.Revision != good.Revision {
		last = *good
	}
	if (r.hold || ks.Status.LastAppliedRevision == r.head.Revision()) && r.older(ks) {
		switch {
		case last.Revision == r.head.Revision():
			account := ks.Spec.ServiceAccountName
			ks = ks.DeepCopy()
			ks.Spec = *last.Spec.DeepCopy()
			ks.Spec.ServiceAccountName = account
			if last.Items != nil {
				r.items, r.resources, r.rendered = last.Items, last.Digest, last
				return ks, nil
			}
			ignore, then = last.Ignore, &last
		case !r.hold && edited(ks):
			return ks, fault.New(meta.ReconciliationFailedReason, fmt.Errorf("the spec has changed since %s was applied, and nobody knows what it was then", r.head.Revision()))
		}
	}
	t, err := r.head.Tree(ignore)
	if err != nil {
		return ks, fault.New(meta.ArtifactFailedReason, err)
	}
	out, err := k.renderer.Build(ctx, ks, r.head, r.group != nil, func() bool { return !unwanted(k.get()) }, func(ctx context.Context) (items []load.Item, err error) {
		ks, items, err = parents.Render(ctx, k.renderer, k.s.Env.Store, k.s.Owners, ks, t, r.head.Revision())
		return items, err
	})
	r.items, r.made, r.resources = out.Items, out.Made, out.Digest
	r.rendered = history.Rendered{Revision: r.head.Revision(), Spec: ks.Spec, Ignore: ignore, Items: out.Items, Digest: out.Digest}
	if then != nil {
		r.rendered.Spec = then.Spec
	}
	return ks, err
}

// edited reports whether the spec may be another than the one that the applied revision
// was judged with: that is not recorded of what versions before this one applied.
func edited(ks *kustomizev1.Kustomization) bool {
	c := (flux.Conditions{List: &ks.Status.Conditions}).Get(flux.VerdictCondition)
	return c == nil || c.ObservedGeneration != ks.Generation
}

// record is what outlives a restart of how a round's revision was rendered; none if that
// is recorded.
func (r *round) record(ks *kustomizev1.Kustomization) []change.Record {
	k := r.k
	last := k.s.Rendered(k.key)
	r.rendered.Healthy = last.Before(r.rendered.Revision, verdict.Of(ks).Healthy)
	rec, err := r.rendered.Record(k.key)
	if err == nil && k.recorded == nil {
		_, k.recorded, err = history.Recorded(k.s.Env.Store, k.key)
	}
	if err != nil {
		k.s.Env.Log.Warn("record how a Kustomization is applied", "kustomization", k.name(), "err", err)
	}
	if rec.Data == nil || bytes.Equal(rec.Data, k.recorded) {
		return nil
	}
	return []change.Record{rec}
}

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
		patience, others := g.s.Together/5, g.waiting(open)
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
