package why

import (
	"maps"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// commits adds what Git has to do with the reasons, as far as the caller may see it.
func (a *asked) commits(out *wire.Why, key object.Key, obj object.Object, reasons []found) {
	declared, kustomization, ok := a.declared(key, obj)
	if !ok || !a.may("get", declared) || !a.may("get", kustomization) {
		return
	}
	ks, _ := a.Env.Store.Get(kustomization).(*kustomizev1.Kustomization)
	if ks == nil {
		return
	}
	out.Kustomization, out.Revision, out.Declared = ks.Namespace+"/"+ks.Name, ks.Status.LastAppliedRevision, called(declared)
	out.Commits = map[string]wire.Commit{}
	fields := a.blame(declared, reasons, out.Commits)
	newest := a.newest(declared, out.Kustomization)
	for i := range reasons {
		r := &reasons[i]
		for _, want := range r.fields {
			for _, f := range fields {
				if len(r.Set) < mostSet && isField(f.Path, want) {
					r.Set = append(r.Set, wire.WhySet{Path: f.Path, Value: f.Value, Commit: f.Commit, File: f.File, Line: f.Line})
					if c, ok := out.Commits[f.Commit]; ok && (r.Since == "" || c.Committer.Date.After(out.Commits[r.Since].Committer.Date)) {
						r.Since = f.Commit
					}
				}
			}
		}
		if r.Since == "" && newest != nil {
			r.Since, out.Commits[newest.SHA] = newest.SHA, *newest
		}
	}
	named := map[string]bool{}
	for i := range reasons {
		named[reasons[i].Since] = true
		for _, s := range reasons[i].Set {
			named[s.Commit] = true
		}
	}
	for sha := range out.Commits {
		if !named[sha] {
			delete(out.Commits, sha)
		}
	}
}

// declared is the nearest of an object and what it belongs to that a Kustomization has
// applied.
func (a *asked) declared(key object.Key, obj object.Object) (declared, kustomization object.Key, ok bool) {
	for range mostUp {
		if ks, ok := a.Owners.Of(key); ok {
			return key, ks, true
		}
		ref := controller(obj)
		if ref == nil {
			break
		}
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		if err != nil {
			break
		}
		key = object.Key{GroupKind: gv.WithKind(ref.Kind).GroupKind(), Namespace: key.Namespace, Name: ref.Name}
		if obj = a.Env.Store.Get(key); obj == nil || obj.GetUID() != ref.UID {
			break
		}
	}
	return object.Key{}, object.Key{}, false
}

// blame are the fields that Git sets, if a reason is about some.
func (a *asked) blame(key object.Key, reasons []found, commits map[string]wire.Commit) (fields []wire.BlameField) {
	if !slices.ContainsFunc(reasons, func(r found) bool { return len(r.fields) > 0 }) {
		return nil
	}
	kind := key.Kind
	if key.Group != "" {
		kind += "." + key.Group
	}
	blame, err := a.History.Blame(a.ctx, wire.ObjectQuery{Kind: kind, Namespace: key.Namespace, Name: key.Name})
	if err != nil {
		a.Env.Log.Debug("cannot say which commits set what", "object", key, "error", err)
		return nil // the rest of the answer holds
	}
	for _, f := range blame.Fields {
		if f.Owner == wire.OwnerGit {
			fields = append(fields, f)
		}
	}
	maps.Copy(commits, blame.Commits)
	return fields
}

// newest is the newest commit that changed an object, nil if the journal does not tell.
func (a *asked) newest(key object.Key, kustomization string) *wire.Commit {
	list, err := a.Journal.Log(key.Kind, key.Namespace, key.Name, -1, 20)
	if err != nil {
		return nil
	}
	for _, e := range list {
		if e.Type == wire.EntryApplied && e.Kustomization == kustomization && e.Commit != nil {
			return e.Commit
		}
	}
	return nil
}

// isField reports whether path is a field of a pod, or below it, in whatever the pod's
// template is. [*] stands for every item of a list.
func isField(path, field string) bool {
	before, after, every := strings.Cut(field, "[*]")
	at := strings.LastIndex(path, before)
	if at < 0 || at > 0 && path[at-1] != '.' {
		return false
	}
	rest := path[at+len(before):]
	if every {
		_, item, ok := strings.Cut(rest, "]")
		if !ok || rest[0] != '[' || !strings.HasPrefix(item, after) {
			return false
		}
		rest = item[len(after):]
	}
	return rest == "" || rest[0] == '.' || rest[0] == '['
}
