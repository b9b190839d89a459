package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
	"headway.dev/syncer/wire"
)

// Plan says what a revision or a set of files would change, and changes
// nothing.
func (s *Syncer) Plan(ctx context.Context, req wire.PlanRequest) (wire.Plans, error) {
	done, err := s.planTurn(ctx)
	if err != nil {
		return wire.Plans{}, err
	}
	defer done()
	if req.Rev != "" && len(req.Files)+len(req.Binary) > 0 {
		return wire.Plans{}, errors.New("a plan takes either a revision or files")
	}
	list, src, err := s.planned(ctx, req)
	if err != nil {
		return wire.Plans{}, err
	}
	if list, err = s.rights.Readable(ctx, list); err != nil {
		return wire.Plans{}, err
	}
	p := &planning{ctx: ctx, s: s, req: req, source: flux.SourceKey(list[0]), namespaces: map[object.Key]object.Object{}, done: map[object.Key]*planned{}}
	if len(req.Files) > 0 {
		p.tree, err = s.uploaded(req, p.source)
	} else {
		err = p.fetch(ctx, src)
	}
	if err != nil {
		return wire.Plans{}, err
	}
	for _, ks := range list {
		p.queue = append(p.queue, planned{ks: ks})
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.planTimeout(), fmt.Errorf("%w: it takes longer than %s", errPlanBudget, s.planTimeout()))
	defer cancel()
	p.ctx = ctx
	p.run(ctx)
	all := p.answer()
	s.hideValues(ctx, all.Actions)
	return all, nil
}

// planned are the Kustomizations that a request is about.
func (s *Syncer) planned(ctx context.Context, req wire.PlanRequest) ([]*kustomizev1.Kustomization, *source.Source, error) {
	var list []*kustomizev1.Kustomization
	all, _ := s.env.Store.List(flux.Kustomization, "")
	all = slices.DeleteFunc(slices.Clone(all), func(o object.Object) bool { return !s.sees(ctx, o.GetNamespace()+"/"+o.GetName()) })
	if req.Kustomization != "" || len(req.Files) > 0 {
		name := req.Kustomization
		for _, o := range all {
			ks, ok := o.(*kustomizev1.Kustomization)
			full := o.GetNamespace() + "/" + o.GetName()
			if len(req.Files) > 0 && req.Source != "" && ok && !sourceNamed(req.Source, flux.SourceKey(ks)) {
				continue
			}
			if ok && (full == name || o.GetName() == name || name == "" && (full == "headway-system/cluster" && req.Source == "" || len(all) == 1 || req.Source != "" && s.onlyFollower(ks))) {
				list = append(list, ks)
			}
		}
		if len(list) == 0 {
			if err := s.rights.Permitted(ctx, "get", source.Named(flux.Kustomization, name)); err != nil {
				return nil, nil, err
			}
		}
		if len(list) != 1 {
			return nil, nil, fmt.Errorf("%d Kustomizations match %q: name one as namespace/name", len(list), name)
		}
		if name == "" && req.Path != "" {
			list = s.byPath(flux.SourceKey(list[0]), req.Path, list)
		}
		src := s.sources.Get(flux.SourceKey(list[0]))
		if src == nil && len(req.Files) == 0 {
			return nil, nil, fmt.Errorf("the source of Kustomization %s/%s does not exist", list[0].Namespace, list[0].Name)
		}
		return list, src, nil
	}
	src, err := s.sources.Planned(ctx, req.Source)
	if err != nil {
		return nil, nil, err
	}
	if list = flux.Followers(s.env.Store, src.Key); len(list) == 0 {
		return nil, nil, fmt.Errorf("no Kustomization follows GitRepository %s", src.Name())
	}
	return list, src, nil
}

// uploaded is the tree of a request's files, without those that a source leaves
// out of what it fetches.
func (s *Syncer) uploaded(req wire.PlanRequest, source object.Key) (*tree.Files, error) {
	files := maps.Clone(req.Files)
	for name, data := range req.Binary {
		if _, twice := files[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		files[name] = string(data)
	}
	all, err := tree.NewFiles(files)
	if err != nil {
		return nil, err
	}
	excluded, err := git.ReadExcluded(all, flux.Ignore(s.env.Store, source))
	if err != nil {
		return nil, err
	}
	for name := range files {
		out, err := excluded.File(name)
		if err != nil {
			return nil, err
		}
		if out {
			delete(files, name)
		}
	}
	return tree.NewFiles(files)
}

// onlyFollower reports whether a Kustomization is the only one of its source, or
// the one that has declared all others.
func (s *Syncer) onlyFollower(ks *kustomizev1.Kustomization) bool {
	roots := 0
	for _, other := range flux.Followers(s.env.Store, flux.SourceKey(ks)) {
		if parent, ok := s.owners.Of(flux.KeyOf(other)); !ok || parent == flux.KeyOf(other) {
			roots++
			if flux.KeyOf(other) != flux.KeyOf(ks) {
				return false
			}
		}
	}
	return roots == 1
}

// sourceNamed reports whether [namespace/]name is that of a key.
func sourceNamed(name string, key object.Key) bool {
	return name == key.Name || name == key.Namespace+"/"+key.Name
}

// byPath is the one Kustomization of a source that applies a directory, or
// otherwise.
func (s *Syncer) byPath(source object.Key, dir string, otherwise []*kustomizev1.Kustomization) []*kustomizev1.Kustomization {
	var match []*kustomizev1.Kustomization
	for _, ks := range flux.Followers(s.env.Store, source) {
		if render.CleanDir(ks.Spec.Path) == render.CleanDir(dir) {
			match = append(match, ks)
		}
	}
	if len(match) == 1 {
		return match
	}
	return otherwise
}

// wireActions are a plan's actions that change something; with values, or for
// feeds and logs without.
func wireActions(res plan.Result, values bool) []wire.Action {
	list := []wire.Action{}
	for _, a := range res.Actions {
		if a.Type == plan.Unchanged {
			continue
		}
		w := wire.Action{
			Action: string(a.Type), Group: a.Key.Group, Kind: a.Key.Kind, Namespace: a.Key.Namespace, Name: a.Key.Name,
			Restart: a.Restart, Recreate: a.Recreate, Reason: a.Reason, File: a.Source.File, Line: a.Source.Line,
		}
		if a.Type == plan.Update {
			for _, f := range a.Fields {
				field := wire.Field{Path: f.Path}
				if values {
					field.Old, field.New = f.Old, f.New
				}
				w.Fields = append(w.Fields, field)
			}
		}
		list = append(list, w)
	}
	return list
}

// results are a plan's actions for the journal.
func results(res plan.Result) []wire.ObjectResult {
	var list []wire.ObjectResult
	for _, a := range res.Actions {
		if a.Type == plan.Unchanged {
			continue
		}
		list = append(list, wire.ObjectResult{
			Action: string(a.Type), Group: a.Key.Group, Kind: a.Key.Kind, Namespace: a.Key.Namespace, Name: a.Key.Name, Fields: fieldPaths(a),
		})
	}
	return list
}

// Log lists the commits that changed an object (or all of them, for the empty
// selector), newest first, with what came of each: those from before an entry's
// sequence number, if before is not negative.
func (s *Syncer) Log(kind, namespace, name string, before int64, limit int) ([]wire.LogEntry, error) {
	kind = kindName(kind)
	fits := func(e wire.Entry) bool { return concerns(e, kind, namespace, name) }
	if list, ok, err := s.journal.Find(kind, name, before, limit, fits); ok || err != nil {
		return list, err
	}
	return s.scanLog(fits, before, limit)
}

// scanLog reads the journal backwards.
func (s *Syncer) scanLog(fits func(wire.Entry) bool, before int64, limit int) ([]wire.LogEntry, error) {
	verdicts := map[string]wire.Entry{} // the newest of each applied revision
	var list []wire.LogEntry
	err := s.journal.Backwards(func(e wire.Entry) bool {
		at := e.Kustomization + " " + e.Revision
		if e.Type == wire.EntryVerdict {
			if _, newer := verdicts[at]; !newer {
				verdicts[at] = e
			}
			return true
		}
		v, judged := verdicts[at]
		if e.Type == wire.EntryApplied {
			// An earlier application of the same revision has its own verdict.
			delete(verdicts, at)
		}
		if before >= 0 && e.Seq >= before || !fits(e) {
			return true
		}
		l := wire.LogEntry{Entry: e}
		if judged && e.Type == wire.EntryApplied {
			l.Verdict, l.Reason, l.VerdictTime = v.Verdict, v.Reason, v.Time
		}
		list = append(list, l)
		return len(list) < limit
	})
	return list, err
}

// kindName resolves what kubectl takes for a kind: deploy, deployments, ….
func kindName(name string) string {
	name, _, _ = strings.Cut(name, ".")
	for _, k := range scheme.Kinds() {
		if strings.EqualFold(name, k.Kind) || strings.EqualFold(name, k.Plural) || slices.Contains(k.ShortNames, strings.ToLower(name)) {
			return k.Kind
		}
	}
	return name
}

func concerns(e wire.Entry, kind, namespace, name string) bool {
	if kind == "" && name == "" {
		return true
	}
	for _, o := range e.Objects {
		if strings.EqualFold(o.Kind, kind) && o.Name == name && (namespace == "" || o.Namespace == namespace) {
			return true
		}
	}
	return false
}
