package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
	"headway.dev/syncer/wire"
)

// planning is the making of one answer: the plans of some Kustomizations and
// of those that they declare and that follow the same source.
type planning struct {
	ctx    context.Context //nolint:containedctx // of the one request that it answers
	s      *Syncer
	req    wire.PlanRequest
	source object.Key
	// tree is what is planned: a commit's, whose revision target is, or one of
	// files.
	tree   tree.Tree
	target string
	// behind is how the commit relates to the followed branch, if badly.
	behind string

	// namespaces are those that the plans so far would create.
	namespaces map[object.Key]object.Object
	rendered   map[string]neighbours.Rendering // for neighbours
	queue      []planned
	done       map[object.Key]*planned
	order      []*planned
	// stalled remembers why one would not be applied, or that it would be.
	stalled map[*planned]string
}

// planned is one Kustomization and its plan.
type planned struct {
	// gates are the bounds that the plan meets; held counts those among the
	// errors.
	gates   []wire.Gate
	held    int
	ks      *kustomizev1.Kustomization
	parent  string
	deleted bool
	arrives bool // or is changed, by the plan of parent
	denied  bool // to the account that the Kustomization acts as
	times   int
	plan    wire.Plan
	items   []load.Item // that it declares; none if they cannot be told
	res     plan.Result
	grants  map[object.Key]object.Object // see grantsOf
	unruly  []object.Key                 // no longer declared, and kept
	// orphans stay because the account that would delete them is gone.
	orphans  []object.Key
	unread   []object.Key // Secrets that the plan was made without
	foreseen foreseen
}

// fetch finds the tree of the revision that is asked for.
func (p *planning) fetch(ctx context.Context, src *source.Source) error {
	h, lastErr := src.Current()
	if h.Repo == nil {
		return errors.Join(fmt.Errorf("source %s is not fetched yet", src.Name()), lastErr)
	}
	auth := src.Auth()
	sha := h.Commit
	var err error
	if p.req.Rev != "" {
		obj, _ := p.s.env.Store.Get(src.Key).(*sourcev1.GitRepository)
		ctx, cancel := context.WithTimeout(ctx, flux.GitTimeout(obj))
		defer cancel()
		if sha, err = h.Repo.FetchRevision(ctx, h.Absolute(p.req.Rev), auth); err != nil {
			return err
		}
	}
	if p.tree, err = h.At(git.Head{Commit: sha}).Tree(flux.Ignore(p.s.env.Store, src.Key)); err != nil {
		return err
	}
	switch p.req.Rev {
	case "":
		p.target = h.Revision()
	case sha:
		p.target = "sha1:" + sha
	default:
		p.target = p.req.Rev + "@sha1:" + sha
	}
	if h.Commit != "" && sha != h.Commit {
		// Without the newest commits a plan shows them as taken back.
		if current, err := history.IsAncestor(h.Repo, h.Commit, sha); err == nil && !current {
			p.behind = fmt.Sprintf("it lacks commits of %s, which the plan shows as taken back: merge or rebase it, or plan the merged revision", h.Revision())
		}
	}
	return nil
}

// run plans what is in the queue, and what that adds to it.
func (p *planning) run(ctx context.Context) {
	p.drain(ctx)
	for p.retry(ctx) {
		p.drain(ctx)
	}
	if p.ctx.Err() == nil {
		p.contend()
		p.foresee()
	}
	proven := p.revoke()
	for i, one := range p.order {
		if !proven { // no account may be shown what it perhaps may not read
			one.empty()
		}
		if !proven || i == 0 && p.ctx.Err() != nil {
			one.plan.Errors = append(one.plan.Errors, fault.Faults(p.spent())...)
		}
	}
}

func (p *planning) drain(ctx context.Context) {
	for len(p.queue) > 0 {
		next := p.queue[0]
		p.queue = p.queue[1:]
		if err := p.spent(); err != nil {
			p.cut(next, err)
			return
		}
		key := flux.KeyOf(next.ks)
		before := p.done[key]
		if before == nil {
			before = &planned{}
			p.done[key] = before
			p.order = append(p.order, before)
		} else if before.deleted == next.deleted && equality.Semantic.DeepEqual(before.ks.Spec, next.ks.Spec) {
			before.parent = cmp.Or(before.parent, next.parent)
			continue
		}
		// Declared otherwise than it is stored, or by several; not for ever.
		if next.times = before.times + 1; next.times > 3 {
			continue
		}
		*before = next
		p.one(ctx, before)
		p.descend(before)
	}
}

// retry plans once more what was refused, for namespaces and rights may come
// with a plan that was made later. It reports whether something is refused no
// more, which may bring others in turn.
func (p *planning) retry(ctx context.Context) bool {
	if len(p.namespaces) == 0 && !p.grants() {
		return false
	}
	mended := false
	for _, one := range p.order {
		if len(one.plan.Errors) == 0 || p.spent() != nil {
			continue
		}
		if p.one(ctx, one); len(one.plan.Errors) == 0 {
			p.descend(one)
			mended = true
		}
	}
	return mended
}

// descend queues the Kustomizations that a plan declares or deletes.
func (p *planning) descend(parent *planned) {
	for _, a := range parent.res.Actions {
		if a.Key.GroupKind != flux.Kustomization {
			continue
		}
		obj := a.Object
		if a.Type == plan.Delete || obj == nil {
			obj = a.Live
		}
		child, ok := obj.(*kustomizev1.Kustomization)
		if !ok || a.Type == plan.Skip || a.Key == flux.KeyOf(parent.ks) {
			continue
		}
		if child.Spec.SourceRef.Kind == sourcev1.GitRepositoryKind && flux.SourceKey(child) == p.source {
			p.queue = append(p.queue, planned{ks: p.known(child), parent: parent.plan.Kustomization, deleted: a.Type == plan.Delete, arrives: a.Type != plan.Unchanged})
		}
	}
}

// one plans one Kustomization.
func (p *planning) one(ctx context.Context, out *planned) {
	ks := out.ks
	*out = planned{ks: ks, parent: out.parent, deleted: out.deleted, arrives: out.arrives, times: out.times}
	k := p.s.lookalike(ctx, flux.KeyOf(ks))
	out.plan = wire.Plan{Kustomization: k.name(), Parent: out.parent, Base: ks.Status.LastAppliedRevision, Target: p.target, Actions: []wire.Action{}}
	for _, key := range flux.Dependencies(ks) {
		out.plan.DependsOn = append(out.plan.DependsOn, key.Namespace+"/"+key.Name)
	}
	r := p.rights(out)
	if err := p.mayRefer(r, out); err != nil {
		out.plan.Errors = fault.Faults(err)
		return
	}
	k.lookFor(render.NewOnlooker(ctx, p.s.rights, r))
	ks, items, err := p.build(k, out)
	out.unread = k.onlooker.LeftOut()
	if err != nil {
		out.plan.Errors = fault.Faults(err)
		return
	}
	out.items = items
	in, err := k.input(ks, items)
	if err != nil {
		out.plan.Errors = fault.Faults(err)
		return
	}
	if out.deleted {
		in.Prune, in.Released = flux.Deletes(ks), true
	}
	p.neighbours(k.key).Tell(ctx, &in)
	k.restrict(&in)
	out.res = k.planner.Plan(in, &overlay{p.s.env.Store, p.namespaces})
	if !p.authorize(r, out) {
		return
	}
	if !in.Prune {
		out.unruly = undeclared(in.Inventory, out.res)
	}
	for _, a := range out.res.Actions {
		if a.Type == plan.Create && a.Key.GroupKind == flux.Namespace {
			p.namespaces[a.Key] = a.Object
		}
	}
	out.grants = grantsOf(out.res)
	out.show()
	if len(out.res.Errors) > 0 {
		out.plan.Errors = fault.Faults(&fault.Invalid{Errs: out.res.Errors})
	}
	if !out.deleted {
		p.gates(out)
	}
}

// show is what a plan's actions look like in the answer.
func (one *planned) show() {
	one.plan.Summary = wire.Summary{}
	for _, a := range one.res.Actions {
		count(&one.plan.Summary, a)
	}
	one.plan.Actions = wireActions(one.res, true)
	before, after := sidesOf(one.res)
	one.plan.Summary.Replace = describeNew(one.plan.Actions, before, after, declaredIn(one.items))
}

// gates holds a plan against the bounds of its Kustomization.
func (p *planning) gates(out *planned) {
	sha := ""
	if head, ok := git.ParseRevision(p.target); ok {
		sha = head.Commit
	}
	var err error
	if out.gates, err = p.s.gates.Judge(out.ks, out.res, sha); err != nil {
		out.plan.Errors = append(out.plan.Errors, fault.Faults(err)...)
		return
	}
	for _, g := range out.gates {
		// A freeze passes by itself: the commit need not change.
		if !g.Open && g.Name != wire.GateFreeze {
			out.plan.Errors = append(out.plan.Errors, fault.Faults(gate.Refusal(g))...)
			out.held++
		}
	}
}

// build renders the Kustomization's directory of what is planned, with the spec
// that counts there; nothing for one that is deleted.
func (p *planning) build(k *kustomization, out *planned) (*kustomizev1.Kustomization, []load.Item, error) {
	ks := out.ks
	if out.deleted {
		return ks, nil, nil
	}
	if len(p.req.Files) > 0 && out.parent == "" {
		dir := render.CleanDir(cmp.Or(p.req.Path, ks.Spec.Path))
		if p.req.Path == "" && !isDir(p.tree, dir) {
			dir = "."
		}
		ks = ks.DeepCopy()
		ks.Spec.Path = dir
		items, err := k.renderer.Render(p.ctx, ks, p.tree, p.target)
		return ks, items, err
	}
	return k.renderSettled(p.ctx, ks, p.tree, p.target)
}

func isDir(files fs.FS, dir string) bool {
	info, err := fs.Stat(files, dir)
	return err == nil && info.IsDir()
}

// undeclared are the keys of an inventory that a plan does not want any more.
func undeclared(inventory []object.Key, res plan.Result) []object.Key {
	wanted := keySet(res.Inventory)
	return slices.DeleteFunc(slices.Clone(inventory), func(key object.Key) bool { return wanted[key] })
}

func count(sum *wire.Summary, a plan.Action) {
	switch a.Type {
	case plan.Create:
		sum.Create++
	case plan.Update:
		sum.Update++
	case plan.Delete:
		sum.Delete++
	case plan.Unchanged, plan.Skip:
		sum.Unchanged++
	}
	if a.Restart {
		sum.Restart++
	}
}

// answer puts the plans together: those that others wait for first.
func (p *planning) answer() wire.Plans {
	p.sort()
	p.stalled = map[*planned]string{}
	var moves []rollout
	pods, gone := indexPods(p.s.env.Store), map[types.UID]bool{}
	for _, one := range p.order {
		moves = append(moves, rollouts(one.plan.Kustomization, one.res.Actions, pods, gone)...)
	}
	p.s.simulate(moves)
	all := wire.Plans{Plan: wire.Plan{Target: p.target, Actions: []wire.Action{}}, Source: p.source.Namespace + "/" + p.source.Name}
	if src, ok := p.s.env.Store.Get(p.source).(*sourcev1.GitRepository); ok {
		all.Forge = src.Annotations[flux.CommitStatus]
		if u, err := url.Parse(src.Spec.URL); err == nil {
			u.User = nil
			all.Repository = u.String()
		}
	}
	room := p.s.room()
	for _, one := range p.order {
		for _, m := range moves {
			if m.owner == one.plan.Kustomization {
				one.plan.Rollouts = append(one.plan.Rollouts, m.told)
			}
		}
		one.plan.Checks = p.checks(one)
		room.fit(&one.plan)
		all.Plans = append(all.Plans, one.plan)
		all.Base, all.Kustomization = cmp.Or(all.Base, one.plan.Base), cmp.Or(all.Kustomization, one.plan.Kustomization)
		all.Actions = append(all.Actions, one.plan.Actions...)
		all.Errors = append(all.Errors, one.plan.Errors...)
		all.Rollouts = append(all.Rollouts, one.plan.Rollouts...)
		all.Checks = append(all.Checks, one.plan.Checks...)
		all.Summary.Create += one.plan.Summary.Create
		all.Summary.Update += one.plan.Summary.Update
		all.Summary.Delete += one.plan.Summary.Delete
		all.Summary.Replace += one.plan.Summary.Replace
		all.Summary.Unchanged += one.plan.Summary.Unchanged
		all.Summary.Restart += one.plan.Summary.Restart
	}
	if len(all.Plans) == 1 {
		all.Plan, all.Plans = all.Plans[0], nil
	}
	return all
}

// sort orders the plans as they would be applied: after what they depend on,
// and otherwise as they were found, parents first.
func (p *planning) sort() {
	byName := map[string]*planned{}
	for _, one := range p.order {
		byName[one.plan.Kustomization] = one
	}
	var sorted []*planned
	visited := map[*planned]bool{}
	var visit func(*planned)
	visit = func(one *planned) {
		if one == nil || visited[one] {
			return
		}
		visited[one] = true
		for _, d := range one.plan.DependsOn {
			visit(byName[d])
		}
		sorted = append(sorted, one)
	}
	for _, one := range p.order {
		visit(one)
	}
	p.order = sorted
}

// overlay shows, besides what is stored, the namespaces that other plans of
// the same answer create.
type overlay struct {
	object.Reader
	namespaces map[object.Key]object.Object
}

// Get implements object.Reader.
func (o *overlay) Get(key object.Key) object.Object {
	if obj := o.Reader.Get(key); obj != nil || o.namespaces[key] == nil {
		return obj
	}
	return o.namespaces[key]
}

// lookalike is a kustomization to plan with what is only looked at, and must
// not be remembered as applied. It knows what the one that follows the object
// does, so that what did not change is neither rendered nor planned again.
func (s *Syncer) lookalike(ctx context.Context, key object.Key) *kustomization {
	k := newKustomization(s, key)
	s.mu.Lock()
	follows := s.kustomizations[key]
	s.mu.Unlock()
	if follows == nil {
		return k
	}
	k.planner = follows.planner.Fork()
	k.renderer = follows.renderer.Fork(ctx)
	return k
}

// lookFor has it planned for somebody, who may not see everything.
func (k *kustomization) lookFor(o *render.Onlooker) {
	k.onlooker = o
	k.renderer.LookFor(o)
}

func keySet(keys []object.Key) map[object.Key]bool {
	m := make(map[object.Key]bool, len(keys))
	for _, key := range keys {
		m[key] = true
	}
	return m
}
