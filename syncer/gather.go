package syncer

import (
	"context"
	"slices"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/parents"
	"headway.dev/syncer/source"
	"headway.dev/syncer/step"
)

// The Kustomizations of a source that are due for the same commit are applied
// in one transaction. When a source has a new head their loops wait until the
// group has been: it takes the turns of those that have time, builds them, plans
// them one upon the other, and commits what could be planned. What is left out
// goes on in its own loop as if there had been no group, and says there what is
// wrong.

// turnPatience bounds the wait for loops that are busy; they are left out.
const turnPatience = time.Second

// take makes the caller the one to step the Kustomization, until giveBack. It
// waits until ctx ends; a turn that is free is taken even then.
func (k *kustomization) take(ctx context.Context) bool {
	if k.takeNow() {
		return true
	}
	select {
	case k.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// takeNow is take without any waiting.
func (k *kustomization) takeNow() bool {
	select {
	case k.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

func (k *kustomization) giveBack() { <-k.turn }

// gather applies each head by a group, until ctx ends.
func (s *Syncer) gather(ctx context.Context, src *source.Source, wg *sync.WaitGroup) {
	for src.AwaitHead(ctx) {
		h, _ := src.Current()
		if h.Commit == "" || h.Repo == nil || src.Gathered(h) {
			continue
		}
		_ = fault.Catch(func() error {
			s.together(ctx, wg, src.Key, h)
			return nil
		}) // it was reported; all go on by themselves
		src.SetGathered(h)
		s.wakeFollowers(src.Key)
	}
}

// together applies the head to all Kustomizations of the source that are due.
// Builds that nobody waits for any more end in wg.
func (s *Syncer) together(ctx context.Context, wg *sync.WaitGroup, source object.Key, h source.Head) {
	g := &group{s: s, wg: wg, source: source, head: h, members: map[object.Key]*member{}, until: time.Now().Add(groupMost)}
	defer g.leave()
	g.invite(ctx)
	const most = 10 // transactions that are refused; what is left goes on by itself
	for try := 0; try < most && ctx.Err() == nil; try++ {
		g.plan(ctx)
		if g.commit(ctx) {
			return
		}
	}
}

// invite takes the turns of those that are due for the head.
func (g *group) invite(ctx context.Context) {
	patience, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	var list []*kustomization
	taken := map[*kustomization]bool{}
	for _, ks := range flux.Followers(g.s.env.Store, g.source) {
		k, _ := g.s.loop(flux.KeyOf(ks), false)
		list, taken[k] = append(list, k), k.takeNow()
	}
	for _, k := range list { // those that are free have their turns taken already
		if !taken[k] && !k.take(patience) {
			continue
		}
		var m *member
		// A panic is told of by its own loop.
		_ = fault.Catch(func() error {
			m = g.consider(k)
			return nil
		})
		if m == nil {
			k.giveBack()
			continue
		}
		g.add(m)
	}
	for _, m := range slices.Clone(g.order) {
		m.out = fault.Catch(func() error {
			p := parents.Of(g.s.env.Store, m.ks)
			switch {
			case p == nil || parents.AwaitedBy(g.s.env.Store, p, m.k.key):
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
func (g *group) consider(k *kustomization) *member {
	ks := k.get()
	if ks == nil || ks.DeletionTimestamp != nil || ks.Spec.Suspend || flux.SourceKey(ks) != g.source {
		return nil
	}
	if _, err := k.s.sources.HeadOf(ks); err != nil {
		return nil
	}
	if k.attempted == (step.Attempt{}) {
		g.s.claim(k, k.inventory.Of(ks))
	}
	k.judge.Restore(ks, g.head, k.inventory.Of(ks))
	m := &member{k: k, ks: ks, want: k.wants(ks, g.head)}
	k.mu.Lock()
	retry := k.retry
	k.mu.Unlock()
	if m.want == k.attempted && !retry && g.s.env.Now().Before(k.due) {
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
			patience, cancel := context.WithTimeout(ctx, turnPatience)
			defer cancel()
			if !k.take(patience) {
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
		m.k.mu.Lock()
		m.k.retry = true
		m.k.mu.Unlock()
	}
	m.k.giveBack()
}
