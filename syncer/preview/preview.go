package preview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/history"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/passage"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/preview/budget"
	"headway.dev/syncer/preview/rollout"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// Loops is what plans need of those that follow Kustomizations.
type Loops interface {
	// Fork returns a planner and a renderer that know what those of a
	// Kustomization's loop do, so that what did not change is neither rendered nor
	// planned again, and from which these learn nothing.
	Fork(ctx context.Context, key object.Key) (*plan.Planner, *render.Renderer)
	// Input is what a plan for a Kustomization depends on.
	Input(ctx context.Context, ks *kustomizev1.Kustomization, items []load.Item) (plan.Input, error)
	// Rendered is what a Kustomization applied last, as it was rendered.
	Rendered(key object.Key) history.Rendered
}

// Config is what plans are made with.
type Config struct {
	Env        *env.Env
	Rights     rights.Rights
	Sources    *source.Set
	Owners     *owners.Index
	History    *history.History
	Neighbours *neighbours.Finder
	Gates      *passage.Gates
	Loops      Loops
	// Restricted says that callers may not see everything.
	Restricted bool
	Foresee    foresee.Func
	// Patience is for how long admission is waited for, in all, when a plan is made.
	Patience time.Duration
	// Simulate tells where the pods of plans would run; nil: nobody knows.
	Simulate rollout.Simulator
	// Timeout bounds the time for one plan (default 2 minutes).
	Timeout time.Duration
	// Bytes bounds one answer, see [budget.NewSize]; OfUser is how many of them one
	// user may have made at once, see [budget.Turns].
	Bytes, OfUser int
}

// Previewer makes plans and diffs. Create one with New.
type Previewer struct {
	Config
	turns budget.Turns
}

// New returns a Previewer.
func New(cfg Config) *Previewer {
	return &Previewer{Config: cfg, turns: budget.Turns{OfUser: cfg.OfUser}}
}

func (v *Previewer) timeout() time.Duration {
	if v.Timeout > 0 {
		return v.Timeout
	}
	return defaultTimeout
}

// Plan says what a revision or a set of files would change, and changes
// nothing.
func (v *Previewer) Plan(ctx context.Context, req wire.PlanRequest) (wire.Plans, error) {
	done, err := v.turns.Take(ctx)
	if err != nil {
		return wire.Plans{}, err
	}
	defer done()
	if req.Rev != "" && len(req.Files)+len(req.Binary) > 0 {
		return wire.Plans{}, errors.New("a plan takes either a revision or files")
	}
	list, src, err := v.selected(ctx, req)
	if err != nil {
		return wire.Plans{}, err
	}
	if list, err = v.Rights.Readable(ctx, list); err != nil {
		return wire.Plans{}, err
	}
	p := &planning{
		ctx: ctx, v: v, req: req, source: flux.SourceKey(list[0]), plans: plans{done: map[object.Key]*planned{}},
		namespaces: map[object.Key]object.Object{}, definitions: map[object.Key]*apiextensionsv1.CustomResourceDefinition{},
	}
	if len(req.Files) > 0 {
		p.tree, err = v.uploaded(req, p.source)
	} else {
		err = p.fetch(ctx, src)
	}
	if err != nil {
		return wire.Plans{}, err
	}
	for _, ks := range list {
		p.queue = append(p.queue, planned{ks: ks})
	}
	ctx, cancel := context.WithTimeoutCause(ctx, v.timeout(), fmt.Errorf("%w: it takes longer than %s", errTooLarge, v.timeout()))
	defer cancel()
	ctx = change.NewPatience(v.Patience).In(ctx)
	p.ctx = ctx
	p.run(ctx)
	all := p.answer()
	v.hideValues(ctx, all.Actions)
	return all, nil
}

// hidden stands for a value that the caller may not read.
const hidden = "(hidden)"

// hideValues takes from a plan the stored values of objects that the caller may
// not read.
func (v *Previewer) hideValues(ctx context.Context, actions []wire.Action) {
	for _, a := range actions {
		key := object.Key{Namespace: a.Namespace, Name: cmp.Or(a.Replaces, a.Name)}
		key.Group, key.Kind = a.Group, a.Kind
		if len(a.Fields) == 0 || v.Rights.Permitted(ctx, "get", key) == nil {
			continue
		}
		for i := range a.Fields {
			a.Fields[i].Old = hidden
		}
	}
}
