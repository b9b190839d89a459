package apply

import (
	"context"
	"slices"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/parents"
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
	s       *Set
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
	defined       int  // definitions of others that its plan knew; negative before it has one
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
	stored := g.s.Owners.ByOther(self)
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
		for wave := g.next(ctx); len(wave) > 0 || g.complete(ctx); wave = g.next(ctx) {
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
		m.planned, m.after, m.defined = false, m.parent, -1 // its plan is of an earlier try
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
			m.out = !g.prepare(ctx, m)
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
		if a.Key != m.k.key || a.Successor == nil || a.Successor.Unsure {
			continue
		}
		successor := g.members[owners.KeyOf(a.Successor.Owner)]
		if successor == nil || successor.out || successor == m {
			m.out = true // once that one has it
			return false
		}
		m.after = successor.k.key
		return g.mayPlan(m)
	}
	return true
}

// prepare finds out what a member is applied with, and reports whether it can be
// now.
func (g *group) prepare(ctx context.Context, m *member) bool {
	stored := m.k.get()
	first := g.members[m.after]
	switch {
	case first == nil:
	case !first.out:
		next, ok := others{g.s.Env.Store, g, m}.Get(m.k.key).(*kustomizev1.Kustomization)
		if !ok {
			return false // it is pruned
		}
		if next != stored {
			stored = flux.Arriving(next, stored)
		}
	case stored == nil || first.late || !g.s.declaredAsStored(ctx, first.ks, stored, g.head):
		return false
	}
	ks := stored
	if ks == nil || ks.DeletionTimestamp != nil || ks.Spec.Suspend || flux.SourceKey(ks) != g.source {
		return false
	}
	if g.s.Rights.MayFollow(ks) != nil || quarantined(ks, g.head) || m.k.dependencies(ctx, ks, g.head) != nil {
		return false
	}
	// What is asked for from here on is not answered by this round.
	m.retry = m.k.board.TakeRetry() || m.retry
	m.ks, m.want = ks, m.k.wants(ctx, ks, g.head)
	m.r = m.k.newRound(ks, g.head, m.want)
	m.r.group = g
	m.r.upon = basis{others{g.s.Env.Store, g, m}, g.claimed}
	return true
}

// foreseeable is the cluster as a group leaves it, to check a plan of one of its
// members against.
func (g *group) foreseeable(self object.Key) rights.Afterwards {
	changed := map[object.Key]object.Object{}
	for key, w := range g.written {
		if foresee.Decides(key) && w.by.k.key != self {
			changed[key] = w.obj
		}
	}
	return rights.NewAfterwards(g.s.Env.Store, changed)
}

// The Kustomizations of a source that are due for the same commit are applied
// in one transaction. When a source has a new head their loops wait until the
// group has been: it takes the turns of those that have time, builds them, plans
// them one upon the other, and commits what could be planned. What is left out
// goes on in its own loop as if there had been no group, and says there what is
// wrong.

// Gather applies each head by a group, until ctx ends.
func (s *Set) Gather(ctx context.Context, src *source.Source, wg *sync.WaitGroup) {
	for src.AwaitHead(ctx) {
		h, _ := src.Current()
		if h.Commit == "" || !h.Fetched() || src.Gathered(h) {
			continue
		}
		_ = fault.Catch(func() error {
			s.together(ctx, wg, src.Key, h)
			return nil
		}) // it was reported; all go on by themselves
		src.SetGathered(h)
		s.WakeFollowers(src.Key)
	}
}

// together applies the head to all Kustomizations of the source that are due.
// Builds that nobody waits for any more end in wg.
func (s *Set) together(ctx context.Context, wg *sync.WaitGroup, source object.Key, h source.Head) {
	g := &group{s: s, wg: wg, source: source, head: h, members: map[object.Key]*member{}, until: time.Now().Add(s.Together)}
	defer g.leave()
	ctx = rights.WithTurn(ctx)
	asking := change.NewPatience(s.Patience / 4)
	ctx = asking.In(ctx)
	g.invite(ctx)
	const most = 10 // transactions that are refused; what is left goes on by itself
	for try := 0; try < most && ctx.Err() == nil; try++ {
		g.plan(ctx)
		if g.commit(ctx) || asking.Over() != nil {
			return
		}
	}
}

// patience is for how long one Kustomization alone waits for admission: while it is
// planned, where what is not known by then is left open, and when it is stored.
func (k *kustomization) patience(ks *kustomizev1.Kustomization) (foreseeing, storing *change.Patience) {
	return change.NewPatience(k.s.Patience / 4), change.NewPatience(min(k.s.Patience, ks.GetTimeout()))
}

// invite takes the turns of those that are due for the head.
func (g *group) invite(ctx context.Context) {
	patience, cancel := context.WithTimeout(ctx, g.s.Together/10)
	defer cancel()
	var list []*kustomization
	taken := map[*kustomization]bool{}
	for _, ks := range flux.Followers(g.s.Env.Store, g.source) {
		k, _ := g.s.loop(flux.KeyOf(ks), false)
		list, taken[k] = append(list, k), k.turn.takeNow()
	}
	for _, k := range list { // those that are free have their turns taken already
		if !taken[k] && !k.turn.take(patience) {
			continue
		}
		var m *member
		// A panic is told of by its own loop.
		_ = fault.Catch(func() error {
			m = g.consider(ctx, k)
			return nil
		})
		if m == nil {
			k.turn.giveBack()
			continue
		}
		g.add(m)
	}
	for _, m := range slices.Clone(g.order) {
		m.out = fault.Catch(func() error {
			p := parents.Of(g.s.Env.Store, m.ks)
			switch {
			case p == nil || parents.AwaitedBy(g.s.Env.Store, p, m.k.key):
			case g.members[flux.KeyOf(p)] != nil:
				m.parent = flux.KeyOf(p)
			default:
				return m.k.follows(ctx, m.ks, g.head)
			}
			return nil
		}) != nil
	}
}

// consider is a Kustomization as a member of the group; nil if there is nothing
// to do for it, or nothing that it has in common with others.
func (g *group) consider(ctx context.Context, k *kustomization) *member {
	ks := k.get()
	if ks == nil || ks.DeletionTimestamp != nil || ks.Spec.Suspend || flux.SourceKey(ks) != g.source {
		return nil
	}
	if _, err := k.s.Sources.HeadOf(ks); err != nil {
		return nil
	}
	if k.attempted.None() {
		g.s.claim(k, k.inventory.Of(ks))
	}
	k.judge.Restore(ks, g.head, k.inventory.Of(ks))
	m := &member{k: k, ks: ks, want: k.wants(ctx, ks, g.head)}
	retry := k.board.Retries()
	if m.want == k.attempted && !retry && g.s.Env.Now().Before(k.due) {
		return nil
	}
	return m
}

func (g *group) add(m *member) {
	g.members[m.k.key] = m
	g.order = append(g.order, m)
}

// arrive makes what a member creates a member: the Kustomization, as it will be.
func (g *group) arrive(ctx context.Context, parent *member, ks *kustomizev1.Kustomization) {
	key := flux.KeyOf(ks)
	m := g.came[key]
	if m == nil {
		k, ours := g.s.loop(key, true)
		if !ours {
			patience, cancel := context.WithTimeout(ctx, g.s.Together/10)
			defer cancel()
			if !k.turn.take(patience) {
				return
			}
		}
		m = &member{k: k}
		if g.came == nil {
			g.came = map[object.Key]*member{}
		}
		g.came[key] = m
	}
	m.parent, m.after, m.planned = parent.k.key, parent.k.key, false
	g.add(m)
}

// leave gives all turns back.
func (g *group) leave() {
	for _, m := range g.order {
		if g.came[m.k.key] == nil {
			m.leave()
		}
	}
	for _, m := range g.came {
		m.leave()
	}
}

// leave gives the turn back, with the retry that was not made.
func (m *member) leave() {
	if m.retry {
		m.k.board.Retry()
	}
	m.k.turn.giveBack()
}
