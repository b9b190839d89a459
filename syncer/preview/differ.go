package preview

import (
	"cmp"
	"context"
	"errors"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/git"
	"headway.dev/syncer/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/preview/budget"
	"headway.dev/syncer/preview/content"
	"headway.dev/syncer/render"
	"headway.dev/syncer/wire"
)

// Diff says which objects and fields differ between two commits, as the
// Kustomizations of a source render them. It changes nothing.
func (v *Previewer) Diff(ctx context.Context, req wire.DiffRequest) (wire.Plans, error) {
	done, err := v.turns.Take(ctx)
	if err != nil {
		return wire.Plans{}, err
	}
	defer done()
	list, src, err := v.selected(ctx, wire.PlanRequest{Source: req.Source, Kustomization: req.Kustomization})
	if err != nil {
		return wire.Plans{}, err
	}
	if list, err = v.Rights.Readable(ctx, list); err != nil {
		return wire.Plans{}, err
	}
	h, _, err := src.Repository()
	if err != nil {
		return wire.Plans{}, err
	}
	to, err := h.Resolve(req.To)
	if err != nil {
		return wire.Plans{}, err
	}
	from := ""
	if req.From != "" {
		if from, err = h.Resolve(req.From); err != nil {
			return wire.Plans{}, err
		}
	}
	all := wire.Plans{Plan: wire.Plan{Target: "sha1:" + to, Actions: []wire.Action{}}}
	size := budget.NewSize(v.Bytes)
	for _, ks := range list {
		if err := ctx.Err(); err != nil {
			return wire.Plans{}, err
		}
		p, err := v.difference(ctx, ks, from, to)
		if err != nil {
			return wire.Plans{}, err
		}
		size.Fit(&p)
		all.Checks = append(all.Checks, p.Checks...)
		all.Plans = append(all.Plans, p)
		all.Base, all.Kustomization = p.Base, p.Kustomization
		all.Actions = append(all.Actions, p.Actions...)
		all.Errors = append(all.Errors, p.Errors...)
		all.Summary.Create += p.Summary.Create
		all.Summary.Update += p.Summary.Update
		all.Summary.Delete += p.Summary.Delete
		all.Summary.Replace += p.Summary.Replace
		all.Summary.Unchanged += p.Summary.Unchanged
	}
	if len(all.Plans) == 1 {
		all.Plans = nil
	}
	return all, nil
}

// difference compares what one Kustomization makes of two commits; an empty
// from is what it has applied.
func (v *Previewer) difference(ctx context.Context, ks *kustomizev1.Kustomization, from, to string) (wire.Plan, error) {
	out := wire.Plan{Kustomization: ks.Namespace + "/" + ks.Name, Target: "sha1:" + to, Actions: []wire.Action{}}
	if from == "" {
		head, ok := git.ParseRevision(ks.Status.LastAppliedRevision)
		if !ok {
			return out, history.Missing("Kustomization %s has not applied anything yet: name two commits", out.Kustomization)
		}
		from = head.Commit
	}
	out.Base = "sha1:" + from
	old, oldErr := v.History.PastVersion(ctx, ks, from)
	if oldErr = ignoreMissingPath(oldErr); oldErr != nil {
		out.Errors = append(out.Errors, fault.Faults(oldErr)...)
	}
	next, nextErr := v.History.PastVersion(ctx, ks, to)
	if nextErr = ignoreMissingPath(nextErr); nextErr != nil {
		out.Errors = append(out.Errors, fault.Faults(nextErr)...)
	}
	if len(out.Errors) > 0 {
		return out, nil
	}
	before, after := old.ByKey(), next.ByKey()
	for key, it := range after {
		was, existed := before[key]
		if !existed {
			out.Summary.Create++
			out.Actions = append(out.Actions, actionOn(plan.Create, key, it))
			continue
		}
		if reason := cmp.Or(was.LeftOut(), it.LeftOut()); reason != "" {
			a := actionOn(plan.Skip, key, it)
			a.Reason = reason
			out.Actions = append(out.Actions, a)
			out.Summary.Unchanged++
			continue
		}
		fields := diff.Objects(was.Object, it.Object)
		if len(fields) == 0 {
			out.Summary.Unchanged++
			continue
		}
		a := actionOn(plan.Update, key, it)
		for _, f := range fields {
			a.Fields = append(a.Fields, wire.Field{Path: f.Path, Old: f.Old, New: f.New})
		}
		out.Summary.Update++
		out.Actions = append(out.Actions, a)
	}
	for key, it := range before {
		if _, still := after[key]; !still {
			out.Summary.Delete++
			out.Actions = append(out.Actions, actionOn(plan.Delete, key, it))
		}
	}
	slices.SortFunc(out.Actions, func(a, b wire.Action) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	declared := objectsOf(after)
	out.Summary.Replace = content.Describe(out.Actions, objectsOf(before), declared, declared)
	return out, nil
}

// ignoreMissingPath lets a commit without the directory count as empty.
func ignoreMissingPath(err error) error {
	if e := (*render.PathError)(nil); errors.As(err, &e) {
		return nil
	}
	return err
}

func actionOn(typ plan.Type, key object.Key, it load.Item) wire.Action {
	return wire.Action{
		Action: string(typ), Group: key.Group, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name,
		File: it.Source.File, Line: it.Source.Line,
	}
}

func objectsOf(items map[object.Key]load.Item) map[object.Key]object.Object {
	m := make(map[object.Key]object.Object, len(items))
	for key, it := range items {
		m[key] = it.Object
	}
	return m
}
