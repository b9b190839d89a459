package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/load"
	"headway.dev/manifests/object"
	"headway.dev/manifests/scheme"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// Plan says what a revision or a set of files would change, and changes
// nothing.
func (s *Syncer) Plan(ctx context.Context, req wire.PlanRequest) (wire.Plans, error) {
	if req.Rev != "" && len(req.Files) > 0 {
		return wire.Plans{}, errors.New("a plan takes either a revision or files")
	}
	list, src, err := s.planned(req)
	if err != nil {
		return wire.Plans{}, err
	}
	var all wire.Plans
	var t tree
	if len(req.Files) == 0 {
		h, lastErr := src.current()
		if h.repo == nil {
			return wire.Plans{}, errors.Join(fmt.Errorf("source %s is not fetched yet", src.name()), lastErr)
		}
		src.mu.Lock()
		auth := src.auth
		src.mu.Unlock()
		sha := h.Commit
		if req.Rev != "" {
			if sha, err = h.repo.FetchRevision(ctx, req.Rev, auth); err != nil {
				return wire.Plans{}, err
			}
		}
		if t, err = h.repo.Tree(sha, s.ignoreOf(src.key)); err != nil {
			return wire.Plans{}, err
		}
		switch req.Rev {
		case "":
			all.Target = h.revision()
		case sha:
			all.Target = "sha1:" + sha
		default:
			all.Target = req.Rev + "@sha1:" + sha
		}
	}
	for _, ks := range list {
		p, err := s.preview(ks, t, req, all.Target)
		if err != nil {
			return wire.Plans{}, err
		}
		all.Plans = append(all.Plans, p)
		all.Base, all.Kustomization = p.Base, p.Kustomization
		all.Actions = append(all.Actions, p.Actions...)
		all.Errors = append(all.Errors, p.Errors...)
		all.Summary.Create += p.Summary.Create
		all.Summary.Update += p.Summary.Update
		all.Summary.Delete += p.Summary.Delete
		all.Summary.Unchanged += p.Summary.Unchanged
		all.Summary.Restart += p.Summary.Restart
	}
	if len(all.Plans) == 1 {
		all.Plans = nil
	}
	return all, nil
}

// planned are the Kustomizations that a request is about.
func (s *Syncer) planned(req wire.PlanRequest) ([]*kustomizev1.Kustomization, *source, error) {
	var list []*kustomizev1.Kustomization
	all, _ := s.cfg.Store.List(kustomizationKind, "")
	if req.Kustomization != "" || len(req.Files) > 0 {
		name := req.Kustomization
		for _, o := range all {
			ks, ok := o.(*kustomizev1.Kustomization)
			full := o.GetNamespace() + "/" + o.GetName()
			if ok && (full == name || o.GetName() == name || name == "" && (full == "headway-system/cluster" || len(all) == 1)) {
				list = append(list, ks)
			}
		}
		if len(list) != 1 {
			return nil, nil, fmt.Errorf("%d Kustomizations match %q: name one as namespace/name", len(list), name)
		}
		src := s.source(sourceKey(list[0]))
		if src == nil && len(req.Files) == 0 {
			return nil, nil, fmt.Errorf("the source of Kustomization %s/%s does not exist", list[0].Namespace, list[0].Name)
		}
		return list, src, nil
	}
	src, err := s.findSource(req.Source)
	if err != nil {
		return nil, nil, err
	}
	if list = s.followers(src.key); len(list) == 0 {
		return nil, nil, fmt.Errorf("no Kustomization follows GitRepository %s", src.name())
	}
	return list, src, nil
}

// preview plans one Kustomization, with builders and planners of its own: what
// is only looked at must not be remembered as applied.
func (s *Syncer) preview(ks *kustomizev1.Kustomization, t tree, req wire.PlanRequest, target string) (wire.Plan, error) {
	k := newKustomization(s, object.Key{GroupKind: kustomizationKind, Namespace: ks.Namespace, Name: ks.Name})
	k.planner = plan.New()
	out := wire.Plan{Kustomization: k.name(), Base: ks.Status.LastAppliedRevision, Target: target, Actions: []wire.Action{}}
	var err error
	if t == nil {
		ks, t, err = uploaded(ks, req)
	}
	var items []load.Item
	if err == nil {
		items, err = k.render(ks, t, target)
	}
	if err != nil {
		out.Errors = faults(err)
		return out, nil
	}
	in, err := k.input(ks, items)
	if err != nil {
		return out, err
	}
	res := k.planner.Plan(in, s.cfg.Store)
	if err := s.authorize(ks, res); err != nil {
		// The actions would show what the Kustomization may not read.
		out.Errors = faults(err)
		return out, nil
	}
	out.Actions = wireActions(res, true)
	for _, a := range res.Actions {
		switch a.Type {
		case plan.Create:
			out.Summary.Create++
		case plan.Update:
			out.Summary.Update++
		case plan.Delete:
			out.Summary.Delete++
		case plan.Unchanged, plan.Skip:
			out.Summary.Unchanged++
		}
		if a.Restart {
			out.Summary.Restart++
		}
	}
	if len(res.Errors) > 0 {
		out.Errors = faults(&errInvalid{errs: res.Errors})
	}
	if res.Budget != nil {
		out.Errors = append(out.Errors, faults(res.Budget)...)
	}
	return out, nil
}

// uploaded are the files of a request as a tree, and the Kustomization with the
// directory of them that is to be built.
func uploaded(ks *kustomizev1.Kustomization, req wire.PlanRequest) (*kustomizev1.Kustomization, tree, error) {
	files, err := newFileTree(req.Files)
	if err != nil {
		return ks, nil, err
	}
	dir := cleanDir(cmp.Or(req.Path, ks.Spec.Path))
	if req.Path == "" && !isDir(files, dir) {
		dir = "."
	}
	ks = ks.DeepCopy()
	ks.Spec.Path = dir
	return ks, files, nil
}

func isDir(files fs.FS, dir string) bool {
	info, err := fs.Stat(files, dir)
	return err == nil && info.IsDir()
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
			Restart: a.Restart, Reason: a.Reason, File: a.Source.File, Line: a.Source.Line,
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
// selector), newest first, with what came of each.
func (s *Syncer) Log(kind, namespace, name string, limit int) ([]wire.LogEntry, error) {
	kind = kindName(kind)
	verdicts := map[string]wire.Entry{} // the newest of each applied revision
	var list []wire.LogEntry
	err := s.journal.backwards(func(e wire.Entry) bool {
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
		if !concerns(e, kind, namespace, name) {
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
