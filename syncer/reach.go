package syncer

import (
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// reach reads what the commits from the one that the Kustomization has applied
// to sha say for themselves.
func (s *Syncer) reach(src *source.Source, ks *kustomizev1.Kustomization, sha string) (gate.Reach, error) {
	h, _ := src.Current()
	obj, ok := s.env.Store.Get(src.Key).(*sourcev1.GitRepository)
	if h.Repo == nil || !ok {
		return gate.Reach{}, fmt.Errorf("source %s is not fetched yet", src.Name())
	}
	applied, _ := git.ParseRevision(ks.Status.LastAppliedRevision)
	commits, err := history.Between(h.Repo, applied.Commit, sha, gate.MaxCommits)
	if err != nil || len(commits) == 0 {
		return gate.Reach{}, err
	}
	signed := func(sha string) error {
		if obj.Spec.Verification == nil {
			return gate.ErrNoVerify
		}
		_, err := src.Trusted(sha)
		return err
	}
	r := gate.NewReach(commits, signed)
	if r.AsksThaw() {
		// A signature vouches for what is below the commit, not above it.
		tip := commits[slices.IndexFunc(commits, func(c git.Commit) bool { return c.SHA == sha })]
		merged, err := history.Between(h.Repo, tip.Parent(), sha, gate.MaxCommits)
		if err != nil {
			return gate.Reach{}, err
		}
		r.Thaws = gate.FreezeAllowed(merged, signed)
	}
	if r.Thaws || applied.Commit == "" {
		return r, nil
	}
	r.Thaws, r.Rollback, err = s.onlyReverts(h.Repo, ks, commits, applied.Commit)
	return r, err
}

// onlyReverts reports whether each of the commits, newest first, takes back
// others, or is itself taken back by a later one of them; and whether the first
// of them alone takes back all the others and the applied one. What goes back
// more than one commit counts only if it goes back to what the Kustomization
// had deployed.
func (s *Syncer) onlyReverts(repo *git.Repository, ks *kustomizev1.Kustomization, commits []git.Commit, applied string) (only, rollback bool, err error) {
	gone := map[string]bool{}
	reverts := 0
	for _, c := range commits {
		if gone[c.SHA] {
			continue
		}
		back, err := write.RevertOf(repo, c.SHA)
		if err != nil || back.Commit == "" {
			return false, false, err
		}
		reverts++
		gone[back.Commit] = true
		was, err := repo.Commit(back.Commit)
		if err != nil {
			return false, false, err
		}
		if back.Since == was.Parent() {
			continue
		}
		if had, err := s.hadDeployed(ks, back.Since); err != nil || !had {
			return false, false, err
		}
		taken, err := history.Between(repo, back.Since, back.Commit, gate.MaxCommits)
		if err != nil {
			return false, false, err
		}
		for _, c := range taken {
			gone[c.SHA] = true
		}
	}
	return true, reverts == 1 && gone[applied], nil
}

// thawed is the newest commit below the head, along first parents, that a
// freeze does not hold; false if there is none above the applied one.
func (k *kustomization) thawed(ks *kustomizev1.Kustomization, h source.Head) (source.Head, bool) {
	const most = 100 // commits of one freeze that are looked at
	src := k.s.sources.Get(flux.SourceKey(ks))
	applied, ok := git.ParseRevision(ks.Status.LastAppliedRevision)
	if src == nil || !ok {
		return h, false
	}
	for range most {
		c, err := h.Repo.Commit(h.Commit)
		if err != nil || c.Parent() == "" || c.Parent() == applied.Commit {
			return h, false
		}
		below := h.Head
		below.Commit = c.Parent()
		h = h.At(below)
		if above, err := history.IsAncestor(h.Repo, applied.Commit, h.Commit); err != nil || !above {
			return h, false
		}
		if r, err := k.s.reach(src, ks, h.Commit); err == nil && r.Thaws {
			return h, true
		}
	}
	return h, false
}

// boundsOf are the bounds of a Kustomization's commits.
func (s *Syncer) boundsOf(ks *kustomizev1.Kustomization) (gate.Bounds, error) {
	src, _ := s.env.Store.Get(flux.SourceKey(ks)).(*sourcev1.GitRepository)
	return gate.BoundsOf(ks, src, verdict.Of(ks).Quarantined)
}

// gates says which of the bounds a plan meets, and what each makes of it: what
// a commit could be stopped by. It is pure but for the commits that it reads:
// sha is the planned one (empty for files that are no commit), whose signed
// trailers count. An annotation that cannot be understood is an error.
func (s *Syncer) gates(ks *kustomizev1.Kustomization, res plan.Result, sha string) ([]wire.Gate, error) {
	b, err := s.boundsOf(ks)
	if err != nil {
		return nil, err
	}
	list := b.Judge(res, sha, gate.Reach{}, s.env.Now())
	src := s.sources.Get(flux.SourceKey(ks))
	if gate.Shut(list) == nil || sha == "" || src == nil {
		return list, nil
	}
	r, err := s.reach(src, ks, sha)
	if err != nil {
		return nil, err
	}
	return b.Judge(res, sha, r, s.env.Now()), nil
}

// pass fails for a plan that one of the gates holds.
func (s *Syncer) pass(ks *kustomizev1.Kustomization, r *round) error {
	if r.hold {
		return nil // what was applied before
	}
	list, err := s.gates(ks, r.plan, r.head.Commit)
	if err != nil {
		return fault.New(meta.BuildFailedReason, err)
	}
	return gate.Pass(list, r.drift)
}
