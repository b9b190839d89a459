package syncer

import (
	"context"
	"slices"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/step"
)

// group applies one head to some Kustomizations of a source. Each is planned
// upon what the ones before it lead to, parents before their children, and all
// or nothing of it is applied; who cannot be planned is out, and nobody else
// sees anything of it.
type group struct {
	s       *Syncer
	wg      *sync.WaitGroup
	source  object.Key
	head    source.Head
	until   time.Time // builds are waited for
	members map[object.Key]*member
	order   []*member
	ready   []*member                       // who is planned, in that order
	came    map[object.Key]*member          // those that members create
	renders map[string]neighbours.Rendering // of Kustomizations that are no members
	// What the plans so far write, and whose the objects then are.
	written map[object.Key]written
	claims  map[object.Key]plan.Owner
}

// member is a Kustomization in a group, which has its turn.
type member struct {
	k *kustomization
	// ks is the Kustomization as it will be when it is applied.
	ks   *kustomizev1.Kustomization
	want step.Attempt
	// parent is the member that declares it, if there is one; after is the one
	// that has to be planned first.
	parent, after object.Key
	r             *round
	out, planned  bool
	beaten        bool // out since its plan failed, for which another may be why
	late          bool // its build goes on
	retry         bool // it was asked for, and is done if the member is applied
	tries         int  // that found something changed
}

// written is what a member's plan makes of an object; nil: it is deleted.
type written struct {
	by  *member
	obj object.Object
}

// others reads the store as the other members' plans leave it.
type others struct {
	object.Reader
	g *group
	m *member
}

// Get implements object.Reader.
func (o others) Get(key object.Key) object.Object {
	if w, ok := o.g.written[key]; ok && w.by != o.m {
		return w.obj
	}
	return o.Reader.Get(key)
}

// claimed looks up which other Kustomization has an object.
func (g *group) claimed(self object.Key) func(object.Key) (plan.Owner, bool) {
	stored := g.s.owners.ByOther(self)
	return func(key object.Key) (plan.Owner, bool) {
		if owner, ok := g.claims[key]; ok {
			return owner, owners.KeyOf(owner) != self
		}
		return stored(key)
	}
}

// plan plans all members anew, until nobody is left that what the others do
// puts out.
func (g *group) plan(ctx context.Context) {
	for again := true; again && ctx.Err() == nil; {
		g.begin()
		for wave := g.next(ctx); len(wave) > 0; wave = g.next(ctx) {
			g.build(ctx, wave)
			for _, m := range wave {
				if !m.out {
					g.planOne(ctx, m)
				}
			}
		}
		again = !g.handOver(ctx) || g.disturbed()
	}
}

// begin forgets all plans.
func (g *group) begin() {
	g.written, g.claims, g.ready = map[object.Key]written{}, map[object.Key]plan.Owner{}, nil
	g.order = slices.DeleteFunc(g.order, func(m *member) bool { return g.came[m.k.key] != nil })
	for key := range g.came {
		delete(g.members, key)
	}
	for _, m := range g.order {
		m.planned, m.after = false, m.parent
	}
}

// next are the members that can be planned now.
func (g *group) next(ctx context.Context) []*member {
	var wave []*member
	for _, m := range g.order {
		if m.out || m.planned || !g.mayPlan(m) {
			continue
		}
		m.out = true
		_ = fault.Catch(func() error {
			m.out = !g.settle(ctx, m)
			return nil
		})
		if !m.out {
			wave = append(wave, m)
		}
	}
	return wave
}

// mayPlan reports whether what a member waits for is decided: its parent, or who
// takes it over from that.
func (g *group) mayPlan(m *member) bool {
	first := g.members[m.after]
	if first == nil || first.out {
		return true
	}
	if !first.planned {
		return false
	}
	for _, a := range first.r.plan.Actions {
		if a.Key != m.k.key || a.Heir == nil || a.Heir.Unsure {
			continue
		}
		heir := g.members[owners.KeyOf(a.Heir.Owner)]
		if heir == nil || heir.out || heir == m {
			m.out = true // once that one has it
			return false
		}
		m.after = heir.k.key
		return g.mayPlan(m)
	}
	return true
}

// settle finds out what a member is applied with, and reports whether it can be
// now.
func (g *group) settle(ctx context.Context, m *member) bool {
	stored := m.k.get()
	first := g.members[m.after]
	switch {
	case first == nil:
	case !first.out:
		next, ok := others{g.s.env.Store, g, m}.Get(m.k.key).(*kustomizev1.Kustomization)
		if !ok {
			return false // it is pruned
		}
		stored = arriving(next, stored)
	case stored == nil || first.late || !g.s.declaredAsStored(ctx, first.ks, stored, g.head):
		return false
	}
	ks := stored
	if ks == nil || ks.DeletionTimestamp != nil || ks.Spec.Suspend || flux.SourceKey(ks) != g.source || ks.Spec.SourceRef.Kind != sourcev1.GitRepositoryKind {
		return false
	}
	if g.s.rights.MayFollow(ks) != nil || m.k.quarantined(ks, g.head) || m.k.dependencies(ks, g.head) != nil {
		return false
	}
	// What is asked for from here on is not answered by this round.
	m.retry = m.k.takeRetry() || m.retry
	m.ks, m.want = ks, m.k.wants(ks, g.head)
	m.r = m.k.newRound(ks, g.head, m.want)
	m.r.group = g
	m.r.upon = basis{others{g.s.env.Store, g, m}, g.claimed}
	return true
}

// arriving is a Kustomization as it is once what a parent plans for it is
// stored.
func arriving(next, stored *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	if next == stored {
		return next
	}
	out := next.DeepCopy()
	out.Status = kustomizev1.KustomizationStatus{}
	if stored != nil {
		stored.Status.DeepCopyInto(&out.Status)
	}
	return out
}

// foreseeable is the cluster as a group leaves it, to hold a plan of one of its
// members against.
func (g *group) foreseeable(self object.Key) rights.Afterwards {
	changed := map[object.Key]object.Object{}
	for key, w := range g.written {
		if foresee.Decides(key) && w.by.k.key != self {
			changed[key] = w.obj
		}
	}
	return rights.NewAfterwards(g.s.env.Store, changed)
}
