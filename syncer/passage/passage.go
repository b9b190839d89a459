package passage

import (
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rollback"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// Gates are what plans have to pass.
type Gates struct {
	Env       *env.Env
	Sources   *source.Set
	Rollbacks *rollback.Rollbacks
}

// reach reads what the commits from the one that the Kustomization has applied
// to sha say for themselves.
func (g *Gates) reach(src *source.Source, ks *kustomizev1.Kustomization, sha string) (gate.Reach, error) {
	h, _ := src.Current()
	spec, ok := src.Spec()
	if !h.Fetched() || !ok {
		return gate.Reach{}, fmt.Errorf("source %s is not fetched yet", src.Name())
	}
	repo, err := h.Repository()
	if err != nil {
		return gate.Reach{}, err
	}
	applied, _ := git.ParseRevision(ks.Status.LastAppliedRevision)
	commits, err := history.Between(repo, applied.Commit, sha, gate.MaxCommits)
	if err != nil || len(commits) == 0 {
		return gate.Reach{}, err
	}
	signed := func(sha string) error {
		if !spec.Verifies {
			return gate.ErrNoVerify
		}
		_, err := src.Trusted(sha)
		return err
	}
	r := gate.NewReach(commits, signed)
	if r.AsksThaw() {
		// A signature vouches for what is below the commit, not above it.
		tip := commits[slices.IndexFunc(commits, func(c git.Commit) bool { return c.SHA == sha })]
		merged, err := history.Between(repo, tip.Parent(), sha, gate.MaxCommits)
		if err != nil {
			return gate.Reach{}, err
		}
		r.Thaws = gate.FreezeAllowed(merged, signed)
	}
	if r.Thaws || applied.Commit == "" {
		return r, nil
	}
	r.Thaws, r.Rollback, err = g.Rollbacks.Undone(repo, ks, commits, applied.Commit)
	return r, err
}

// Thawed is the newest commit below the head, along first parents, that a
// freeze does not hold; false if there is none above the applied one.
func (g *Gates) Thawed(ks *kustomizev1.Kustomization, h source.Head) (source.Head, bool) {
	const most = 100 // commits of one freeze that are looked at
	src := g.Sources.Get(flux.SourceKey(ks))
	applied, ok := git.ParseRevision(ks.Status.LastAppliedRevision)
	if src == nil || !ok {
		return h, false
	}
	repo, err := h.Repository()
	if err != nil {
		return h, false
	}
	for range most {
		c, err := repo.Commit(h.Commit)
		if err != nil || c.Parent() == "" || c.Parent() == applied.Commit {
			return h, false
		}
		below := h.Head
		below.Commit = c.Parent()
		h = h.At(below)
		if above, err := history.IsAncestor(repo, applied.Commit, h.Commit); err != nil || !above {
			return h, false
		}
		if r, err := g.reach(src, ks, h.Commit); err == nil && r.Thaws {
			return h, true
		}
	}
	return h, false
}

// BoundsOf are the bounds of a Kustomization's commits.
func (g *Gates) BoundsOf(ks *kustomizev1.Kustomization) (gate.Bounds, error) {
	return gate.BoundsOf(ks, g.Env.Store.Get(flux.SourceKey(ks)), verdict.Of(ks).Quarantined)
}

// Check reports which of the bounds a plan meets, and what each makes of it: what
// a commit could be stopped by. It is pure but for the commits that it reads:
// sha is the planned one (empty for files that are no commit), whose signed
// trailers count. An annotation that cannot be understood is an error.
func (g *Gates) Check(ks *kustomizev1.Kustomization, res plan.Result, sha string) ([]wire.Gate, error) {
	b, err := g.BoundsOf(ks)
	if err != nil {
		return nil, err
	}
	list := b.Check(res, sha, gate.Reach{}, g.Env.Now())
	src := g.Sources.Get(flux.SourceKey(ks))
	if gate.Shut(list) == nil || sha == "" || src == nil {
		return list, nil
	}
	r, err := g.reach(src, ks, sha)
	if err != nil {
		return nil, err
	}
	return b.Check(res, sha, r, g.Env.Now()), nil
}

// Pass fails for a plan of a head that one of the gates stops; drift says that it
// puts back what was applied before.
func (g *Gates) Pass(ks *kustomizev1.Kustomization, res plan.Result, head source.Head, drift bool) error {
	list, err := g.Check(ks, res, head.Commit)
	if err != nil {
		return fault.New(meta.BuildFailedReason, err)
	}
	return gate.Pass(list, drift)
}
