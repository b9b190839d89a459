package syncer

import (
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/source"
)

// reach reads what the commits from the one that the Kustomization has applied
// to sha say for themselves.
func (s *Syncer) reach(src *source.Source, ks *kustomizev1.Kustomization, sha string) (reach, error) {
	h, _ := src.Current()
	obj, ok := s.env.Store.Get(src.Key).(*sourcev1.GitRepository)
	if h.Repo == nil || !ok {
		return reach{}, fmt.Errorf("source %s is not fetched yet", src.Name())
	}
	applied, _ := git.ParseRevision(ks.Status.LastAppliedRevision)
	commits, err := history.Between(h.Repo, applied.Commit, sha, maxReach)
	if err != nil || len(commits) == 0 {
		return reach{}, err
	}
	signed := func(sha string) error {
		if obj.Spec.Verification == nil {
			return errNoVerify
		}
		_, err := src.Trusted(sha)
		return err
	}
	r := reach{allow: allowed(commits, signed)}
	if r.allow.freeze {
		// A signature vouches for what is below the commit, not above it.
		tip := commits[slices.IndexFunc(commits, func(c git.Commit) bool { return c.SHA == sha })]
		merged, err := history.Between(h.Repo, tip.Parent(), sha, maxReach)
		if err != nil {
			return reach{}, err
		}
		r.thaws = allowed(merged, signed).freeze
	}
	if r.thaws || applied.Commit == "" {
		return r, nil
	}
	r.thaws, r.rollback, err = s.onlyReverts(h.Repo, ks, commits, applied.Commit)
	return r, err
}

// onlyReverts says whether each of the commits, newest first, takes back
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
		taken, err := history.Between(repo, back.Since, back.Commit, maxReach)
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
		if r, err := k.s.reach(src, ks, h.Commit); err == nil && r.thaws {
			return h, true
		}
	}
	return h, false
}
