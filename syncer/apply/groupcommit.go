package apply

import (
	"context"
	"maps"
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/step"
)

// mostAnew is how often a member is planned anew for what somebody changes
// meanwhile.
const mostAnew = 3

// planOne plans a member that is built.
func (g *group) planOne(ctx context.Context, m *member) {
	definitions := g.definitions(m)
	m.defined = len(definitions)
	err := fault.Catch(func() error {
		if err := m.r.define(ctx, definitions); err != nil {
			return err
		}
		return m.r.makePlan(ctx, m.ks)
	})
	m.out = err != nil || !g.write(m)
	if m.beaten = m.out; m.out {
		return
	}
	if !m.planned {
		g.ready = append(g.ready, m)
	}
	m.planned = true
	for _, a := range m.r.plan.Actions {
		child, ok := a.Object.(*kustomizev1.Kustomization)
		if ok && a.Live == nil && g.members[a.Key] == nil && flux.SourceKey(child) == g.source {
			g.arrive(ctx, m, child)
		}
	}
}

// definitions are those of custom resources that other members bring or change.
func (g *group) definitions(of *member) []*apiextensionsv1.CustomResourceDefinition {
	var list []*apiextensionsv1.CustomResourceDefinition
	for _, w := range g.written {
		if crd, ok := w.obj.(*apiextensionsv1.CustomResourceDefinition); ok && w.by != of {
			list = append(list, crd)
		}
	}
	return list
}

// define has a round know definitions that others bring. What was rendered without
// them may be in another namespace.
func (r *round) define(ctx context.Context, definitions []*apiextensionsv1.CustomResourceDefinition) error {
	if r.definitions = definitions; len(definitions) == 0 {
		return nil
	}
	out, err := r.k.renderer.Defined(ctx, render.Built{Items: r.items, Digest: r.resources}, definitions)
	if err != nil {
		return err
	}
	r.items, r.resources = out.Items, out.Digest
	r.rendered.Items, r.rendered.Digest = out.Items, out.Digest
	return nil
}

// complete plans those once more whose plans failed before all definitions were known
// that others bring: these are to come first. It reports whether there was one.
func (g *group) complete(ctx context.Context) bool {
	found := false
	for _, m := range g.order {
		if m.out && m.beaten && m.defined >= 0 && len(g.definitions(m)) > m.defined {
			found = true
			g.planOne(ctx, m)
		}
	}
	return found
}

// write notes what a member's plan writes, unless another's does, too.
func (g *group) write(m *member) bool {
	for _, a := range m.r.plan.Actions {
		if w, ok := g.written[a.Key]; ok && a.Writes() && w.by != m {
			return false
		}
	}
	owner := m.k.owner()
	if m.planned { // what it planned before does not count any more
		maps.DeleteFunc(g.written, func(_ object.Key, w written) bool { return w.by == m })
		maps.DeleteFunc(g.claims, func(_ object.Key, is plan.Owner) bool { return is == owner })
	}
	for _, a := range m.r.plan.Actions {
		if a.Writes() {
			g.written[a.Key] = written{m, a.Object}
		}
	}
	for _, key := range m.r.plan.Inventory {
		if _, ok := g.claims[key]; !ok || !slices.Contains(m.r.plan.Kept, key) {
			g.claims[key] = owner
		}
	}
	return true
}

// handOver plans those anew of which another member takes something over: it
// is no longer theirs. It reports whether all is well.
//
// By then somebody may have edited a Kustomization that they declare, and the new
// plan has that edit, while the member was planned without it.
func (g *group) handOver(ctx context.Context) bool {
	for _, m := range g.ready {
		if !slices.ContainsFunc(m.r.plan.Actions, func(a plan.Action) bool {
			if a.Successor == nil || a.Successor.Unsure {
				return false
			}
			successor := g.members[owners.KeyOf(a.Successor.Owner)]
			return successor != nil && successor.planned && g.written[a.Key].by == successor
		}) {
			continue
		}
		before := maps.Clone(g.written)
		if g.planOne(ctx, m); m.out {
			return false
		}
		for _, other := range g.ready {
			was, is := before[other.k.key], g.written[other.k.key]
			if other == m || sameSpec(was.obj, is.obj) {
				continue
			}
			other.tries++
			other.out = other.tries > mostAnew
			return false
		}
	}
	return true
}

// sameSpec reports whether two states of a Kustomization are applied alike.
func sameSpec(a, b object.Object) bool {
	was, _ := a.(*kustomizev1.Kustomization)
	is, _ := b.(*kustomizev1.Kustomization)
	if was == nil || is == nil {
		return was == is
	}
	return equality.Semantic.DeepEqual(was.Spec, is.Spec) && maps.Equal(was.Annotations, is.Annotations)
}

// disturbed puts out whose source, rights, or variables and keys, the others
// change: what they come to is known once that is stored. It reports whether
// there is one.
func (g *group) disturbed() bool {
	found := false
	for _, m := range g.ready {
		if w, ok := g.written[g.source]; ok && w.by != m {
			m.out, found = true, true
			continue
		}
		reads := render.ReadsFrom(m.ks)
		acts := g.s.Rights.Account(m.ks) != "" && slices.ContainsFunc(m.r.plan.Actions, plan.Action.Writes)
		if len(reads) == 0 && !acts {
			continue
		}
		for key, w := range g.written {
			if w.by != m && (slices.Contains(reads, key) || acts && rights.Concerns(key)) {
				m.out, found = true, true
				break
			}
		}
	}
	if found {
		g.relent()
	}
	return found
}

// relent lets those be planned again whose plans failed: what somebody else had
// first, who is out now, is free for them. Else it would be whose loop is faster,
// and not what a plan predicted.
func (g *group) relent() {
	for _, m := range g.order {
		if m.beaten {
			m.out, m.beaten = false, false
		}
	}
}

// stands puts out whose plans are not allowed any more: between them and the
// transaction others are built. It reports whether there is none.
func (g *group) stands(ctx context.Context) bool {
	all := true
	for _, m := range g.ready {
		if err := g.s.stands(ctx, m.ks, m.r); err != nil {
			m.out, all = true, false
		}
	}
	if !all {
		g.relent()
	}
	return all
}

// commit writes what is planned. It reports whether that is done with; if not,
// who was refused is out, or was planned upon what has changed since.
func (g *group) commit(ctx context.Context) bool {
	if !g.stands(ctx) {
		return false
	}
	var parts []*part
	by := map[*part]*member{}
	before := map[*member]step.Attempt{}
	defer func() {
		for m, a := range before {
			m.k.attempted = a
		}
	}()
	for _, m := range g.ready {
		before[m] = m.k.attempted
		m.k.attempted = m.want
		p := m.r.part(m.ks)
		if w, ok := g.written[m.k.key]; !ok || w.by == m {
			p.requireUnchanged()
		}
		parts, by[p] = append(parts, p), m
	}
	refused, err := g.s.commit(ctx, parts...)
	if err != nil {
		m := by[refused]
		if m == nil {
			return true // nobody in particular
		}
		m.tries++
		if m.out = !outdated(err) || m.tries > mostAnew; m.out {
			g.relent()
		}
		return false
	}
	clear(before)
	for i, m := range g.ready {
		g.s.Owners.Release(m.k.holder, parts[i].r.plan.Inventory)
	}
	for i, m := range g.ready {
		if _, ok := g.written[m.k.key]; ok {
			m.want.Generation = parts[i].ks.Generation
		}
		_ = fault.Catch(func() error {
			m.done(parts[i])
			return nil
		})
	}
	return true
}

// done does what follows for a member whose part is stored.
func (m *member) done(p *part) {
	k := m.k
	p.r.want = m.want
	k.attempted, k.failed, k.thaw = m.want, false, time.Time{}
	m.retry = false
	p.done()
	k.until(p.ks, k.s.Env.Now(), true)
}
