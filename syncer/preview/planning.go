package preview

import (
	"cmp"
	"context"
	"io/fs"
	"maps"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/parents"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/preview/needs"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/tree"
	"headway.dev/syncer/wire"
)

// planning is the making of one answer: the plans of some Kustomizations and
// of those that they declare and that follow the same source.
type planning struct {
	ctx    context.Context //nolint:containedctx // of the one request that it answers
	v      *Previewer
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
	// definitions are those of custom resources that they would create or change.
	definitions map[object.Key]*apiextensionsv1.CustomResourceDefinition
	rendered    map[string]neighbours.Rendering // for neighbours
	admitted    rights.Afterwards               // the cluster with what admission was asked about
	queue       []planned
	plans
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
		lacking(p)
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

// retry plans once more what was refused, for namespaces, kinds and rights may come
// with a plan that was made later. It reports whether something is refused no
// more, which may bring others in turn.
func (p *planning) retry(ctx context.Context) bool {
	if len(p.namespaces)+len(p.definitions) == 0 && !p.grants() {
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
		if flux.SourceKey(child) == p.source {
			p.queue = append(p.queue, planned{ks: p.known(child), parent: parent.plan.Kustomization, deleted: a.Type == plan.Delete, arrives: a.Type != plan.Unchanged})
		}
	}
}

// one plans one Kustomization.
func (p *planning) one(ctx context.Context, out *planned) {
	ks := out.ks
	*out = planned{ks: ks, parent: out.parent, deleted: out.deleted, arrives: out.arrives, times: out.times}
	planner, renderer := p.v.Loops.Fork(ctx, flux.KeyOf(ks))
	out.plan = wire.Plan{Kustomization: ks.Namespace + "/" + ks.Name, Parent: out.parent, Base: ks.Status.LastAppliedRevision, Target: p.target, Actions: []wire.Action{}}
	for _, key := range flux.Dependencies(ks) {
		out.plan.DependsOn = append(out.plan.DependsOn, key.Namespace+"/"+key.Name)
	}
	r := p.rights(out)
	if err := p.mayRefer(r, out); err != nil {
		out.plan.Errors = fault.Faults(err)
		return
	}
	caller := render.NewViewer(ctx, p.v.Rights, r)
	renderer.LookFor(caller)
	definitions := slices.Collect(maps.Values(p.definitions))
	renderer.Define(definitions)
	ks, items, err := p.build(renderer, out)
	out.unread = caller.LeftOut()
	if err != nil {
		out.plan.Errors = fault.Faults(err)
		return
	}
	out.items = items
	in, err := p.v.Loops.Input(ctx, ks, items)
	if err != nil {
		out.plan.Errors = fault.Faults(err)
		return
	}
	if out.deleted {
		in.Prune, in.Released = flux.Deletes(ks), true
	}
	in.Definitions = definitions
	p.neighbours(flux.KeyOf(ks)).Complete(ctx, &in)
	p.v.restrict(caller, flux.KeyOf(ks), &in)
	out.res = planner.Plan(ctx, in, &overlay{p.v.Env.Store, p.namespaces})
	if ctx.Err() != nil {
		out.res.Errors = nil // what was not asked any more is no fault
	}
	if !p.authorize(r, out) {
		return
	}
	if !in.Prune {
		out.undeclared = undeclared(in.Inventory, out.res)
	}
	for _, a := range out.res.Actions {
		if a.Type == plan.Create && a.Key.GroupKind == flux.Namespace {
			p.namespaces[a.Key] = a.Object
		}
		if crd, ok := a.Object.(*apiextensionsv1.CustomResourceDefinition); ok && (a.Type == plan.Create || a.Type == plan.Update) {
			p.definitions[a.Key] = crd
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

// gates checks a plan against the bounds of its Kustomization.
func (p *planning) gates(out *planned) {
	sha := ""
	if head, ok := git.ParseRevision(p.target); ok {
		sha = head.Commit
	}
	var err error
	if out.gates, err = p.v.Gates.Check(out.ks, out.res, sha); err != nil {
		out.plan.Errors = append(out.plan.Errors, fault.Faults(err)...)
		return
	}
	for _, g := range out.gates {
		// A freeze passes by itself: the commit need not change.
		if !g.Open && g.Name != wire.GateFreeze {
			out.plan.Errors = append(out.plan.Errors, fault.Faults(gate.Refusal(g))...)
			out.shut++
		}
	}
}

// build renders the Kustomization's directory of what is planned, with the spec
// that counts there; nothing for one that is deleted.
func (p *planning) build(renderer *render.Renderer, out *planned) (*kustomizev1.Kustomization, []load.Item, error) {
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
		items, err := renderer.Render(p.ctx, ks, p.tree, p.target)
		return ks, items, err
	}
	return parents.Render(p.ctx, renderer, p.v.Env.Store, p.v.Owners, ks, p.tree, p.target)
}

func isDir(files fs.FS, dir string) bool {
	info, err := fs.Stat(files, dir)
	return err == nil && info.IsDir()
}

// foresee checks all plans against the policies as the whole commit leaves them.
// Of whom the caller may not read nothing counts.
func (p *planning) foresee() {
	if p.v.Foresee == nil {
		return
	}
	changed := p.changed(foresee.Decides)
	view := p.visibly(changed)
	p.admitted = view
	for _, one := range p.order {
		known := len(one.res.Errors)
		one.foreseen = p.v.Foresee.Plan(p.ctx, &one.res, view, p.v.Rights.Writer(one.ks), p.sees)
		maps.Copy(changed, one.foreseen.Along) // quotas count all of the commit
		if refused := one.res.Errors[known:]; len(refused) > 0 {
			one.plan.Errors = append(fault.Faults(&fault.Invalid{Errs: refused}), one.plan.Errors...)
		}
	}
}

// lacking finds what the pods of the plans would not find.
func lacking(p *planning) {
	f := needs.Finder{Before: p.v.Env.Store, After: p.visibly(p.changed(needs.Of)), Sees: p.sees}
	for _, one := range p.order {
		if len(one.plan.Errors) == one.shut && !one.deleted {
			one.missing = f.Missing(one.res.Actions)
		}
	}
}

// admit is why a pod would be refused that a controller makes after all of the plans; nil
// if it would not be, or nobody knows. It counts for the pods that come after it.
func (p *planning) admit(pod *corev1.Pod) error {
	if p.v.Foresee == nil || p.admitted.Changed == nil {
		return nil
	}
	answer, over := p.v.Foresee.Ask(p.ctx, foresee.Ask{View: p.admitted, Object: pod})
	if asked := over == nil && p.ctx.Err() == nil; !asked {
		return nil
	}
	for _, obj := range answer.Along {
		if key, err := plan.KeyOf(obj); err == nil {
			p.admitted.Changed[key] = obj
		}
	}
	if answer.Refused != nil && foresee.PodSecurity(answer.Refused.Error()) {
		return nil // the workload's own answer has warned of that
	}
	return answer.Refused
}

// visibly is the cluster with these changes, as far as the caller may list it.
func (p *planning) visibly(changed map[object.Key]object.Object) rights.Afterwards {
	return rights.NewAfterwards(visible{&overlay{p.v.Env.Store, p.namespaces}, p.sees}, changed)
}

// sees reports whether the caller may read an object.
func (p *planning) sees(key object.Key) bool { return p.v.Rights.Permitted(p.ctx, "get", key) == nil }

// afterwards is the cluster with what the commit makes of what decides about others, and of
// volumes and their classes.
func (p *planning) afterwards() object.Reader {
	return rights.NewAfterwards(&overlay{p.v.Env.Store, p.namespaces}, p.changed(func(key object.Key) bool {
		return foresee.Decides(key) || key.GroupKind == volumeKind || key.GroupKind == storageClassKind
	}))
}

var (
	volumeKind       = schema.GroupKind{Kind: "PersistentVolume"}
	storageClassKind = schema.GroupKind{Group: "storage.k8s.io", Kind: "StorageClass"}
)

// changed are the objects of some keys as the commit leaves them.
func (p *planning) changed(of func(object.Key) bool) map[object.Key]object.Object {
	changed := map[object.Key]object.Object{}
	for _, one := range p.order {
		if len(one.plan.Errors) > one.shut || one.ks.Spec.Suspend {
			continue // it would not be applied
		}
		for _, a := range one.res.Actions {
			if a.Writes() && of(a.Key) {
				changed[a.Key] = a.Object
			}
		}
	}
	return changed
}
