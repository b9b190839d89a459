package preview

import (
	"context"
	"fmt"
	"maps"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/render"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
	"headway.dev/syncer/wire"
)

// selected are the Kustomizations that a request is about.
func (v *Previewer) selected(ctx context.Context, req wire.PlanRequest) ([]*kustomizev1.Kustomization, *source.Source, error) {
	var list []*kustomizev1.Kustomization
	all, _ := v.Env.Store.List(flux.Kustomization, "")
	all = slices.DeleteFunc(slices.Clone(all), func(o object.Object) bool {
		return v.Rights.Permitted(ctx, "get", object.KeyOf(flux.Kustomization, o)) != nil
	})
	if req.Kustomization != "" || len(req.Files) > 0 {
		name := req.Kustomization
		for _, o := range all {
			ks, ok := o.(*kustomizev1.Kustomization)
			full := o.GetNamespace() + "/" + o.GetName()
			if len(req.Files) > 0 && req.Source != "" && ok && !sourceNamed(req.Source, flux.SourceKey(ks)) {
				continue
			}
			if ok && (full == name || o.GetName() == name || name == "" && (full == wire.Root && req.Source == "" || len(all) == 1 || req.Source != "" && v.onlyFollower(ks))) {
				list = append(list, ks)
			}
		}
		if len(list) == 0 {
			if err := v.Rights.Permitted(ctx, "get", source.Named(flux.Kustomization, name)); err != nil {
				return nil, nil, err
			}
		}
		if len(list) != 1 {
			return nil, nil, fmt.Errorf("%d Kustomizations match %q: name one as namespace/name", len(list), name)
		}
		if name == "" && req.Path != "" {
			list = v.byPath(flux.SourceKey(list[0]), req.Path, list)
		}
		src := v.Sources.Get(flux.SourceKey(list[0]))
		if src == nil && len(req.Files) == 0 {
			return nil, nil, fmt.Errorf("the source of Kustomization %s/%s does not exist", list[0].Namespace, list[0].Name)
		}
		return list, src, nil
	}
	src, err := v.Sources.ForPlan(ctx, req.Source)
	if err != nil {
		return nil, nil, err
	}
	if list = flux.Followers(v.Env.Store, src.Key); len(list) == 0 {
		return nil, nil, fmt.Errorf("no Kustomization follows GitRepository %s", src.Name())
	}
	return list, src, nil
}

// uploaded is the tree of a request's files, without those that a source leaves
// out of what it fetches.
func (v *Previewer) uploaded(req wire.PlanRequest, source object.Key) (*tree.Files, error) {
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
	excluded, err := git.ReadExcluded(all, flux.Ignore(v.Env.Store, source))
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
func (v *Previewer) onlyFollower(ks *kustomizev1.Kustomization) bool {
	roots := 0
	for _, other := range flux.Followers(v.Env.Store, flux.SourceKey(ks)) {
		if parent, ok := v.Owners.Of(flux.KeyOf(other)); !ok || parent == flux.KeyOf(other) {
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
func (v *Previewer) byPath(source object.Key, dir string, otherwise []*kustomizev1.Kustomization) []*kustomizev1.Kustomization {
	var match []*kustomizev1.Kustomization
	for _, ks := range flux.Followers(v.Env.Store, source) {
		if render.CleanDir(ks.Spec.Path) == render.CleanDir(dir) {
			match = append(match, ks)
		}
	}
	if len(match) == 1 {
		return match
	}
	return otherwise
}

// fetch finds the tree of the revision that is asked for.
func (p *planning) fetch(ctx context.Context, src *source.Source) error {
	h, repo, err := src.Repository()
	if err != nil {
		return err
	}
	auth := src.Auth()
	sha := h.Commit
	if p.req.Rev != "" {
		spec, ok := src.Spec()
		if !ok {
			return source.ErrGone
		}
		ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
		defer cancel()
		if sha, err = repo.FetchRevision(ctx, h.Absolute(p.req.Rev), auth); err != nil {
			return err
		}
	}
	if p.tree, err = h.At(git.Head{Commit: sha}).Tree(flux.Ignore(p.v.Env.Store, src.Key)); err != nil {
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
		if current, err := history.IsAncestor(repo, h.Commit, sha); err == nil && !current {
			p.behind = fmt.Sprintf("it lacks commits of %s, which the plan shows as taken back: merge or rebase it, or plan the merged revision", h.Revision())
		}
	}
	return nil
}
