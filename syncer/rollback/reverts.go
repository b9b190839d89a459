package rollback

import (
	"fmt"
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/syncer/gate"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// Recent counts the automatic reverts of the last hour on the branch of
// a source: those in the journal, and those that the branch has if the journal
// lacks them. The dates of other commits say nothing: whoever writes one can
// choose its date.
func (r *Rollbacks) Recent(h source.Head, source string, now time.Time) (int, error) {
	const most = 1000 // commits and journal entries that are looked at
	reverted, seen := map[string]bool{}, 0
	err := r.Journal.Backwards(func(e wire.Entry) bool {
		if seen++; seen > most || now.Sub(e.Time) > time.Hour {
			return false
		}
		if e.Type == wire.EntryReverted && e.Source == source && e.Commit != nil {
			reverted[e.Commit.SHA] = true
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	repo, err := h.Repository()
	if err != nil {
		return 0, err
	}
	for c, err := range history.Nearest(repo, h.Commit, most) {
		if err != nil {
			return len(reverted), fmt.Errorf("count the reverts on the branch: %w", err)
		}
		if r.automatic(c) && now.Sub(c.Committer.When) <= time.Hour {
			reverted[c.Reverts()] = true
		}
	}
	return len(reverted), nil
}

// TakenBackBy returns the newest commit that came after another and takes it back,
// whoever wrote it, and is not taken back itself. It is empty if there is none.
func TakenBackBy(repo *git.Repository, sha, head string) (string, error) {
	list, err := history.Between(repo, sha, head, gate.MaxCommits)
	if err != nil {
		return "", err
	}
	gone := map[string]bool{}
	for _, c := range list {
		if gone[c.SHA] || c.Reverts() == "" {
			continue
		}
		back, err := write.RevertOf(repo, c.SHA)
		if err != nil {
			return "", err
		}
		if back.Commit == "" {
			continue
		}
		taken, err := history.Between(repo, back.Since, back.Commit, gate.MaxCommits)
		if err != nil {
			return "", err
		}
		for _, c := range taken {
			gone[c.SHA] = true
		}
		in, err := history.IsAncestor(repo, sha, back.Commit)
		if err != nil {
			return "", err
		}
		if !in {
			continue
		}
		if before, err := history.IsAncestor(repo, sha, back.Since); err != nil {
			return "", err
		} else if !before {
			return c.SHA, nil
		}
	}
	return "", nil
}

// OnlyReverts reports whether a failed commit is an automatic revert, or there
// are only reverts since the one that was healthy.
func (r *Rollbacks) OnlyReverts(repo *git.Repository, good, sha string) (bool, error) {
	c, err := repo.Commit(sha)
	if err != nil || c.Reverts() == "" {
		return false, err
	}
	if r.automatic(c) {
		return true, nil
	}
	list, err := history.Between(repo, good, sha, gate.MaxCommits)
	return !slices.ContainsFunc(list, func(c git.Commit) bool { return c.Reverts() == "" && len(c.Parents) < 2 }), err
}

// automatic reports whether a commit is a revert in the server's own name.
func (r *Rollbacks) automatic(c git.Commit) bool {
	return c.Reverts() != "" && c.Author.Name == r.Identity.Name && c.Author.Email == r.Identity.Email
}

// Undone reports whether each of the commits, newest first, takes back
// others, or is itself taken back by a later one of them; and whether the first
// of them alone takes back all the others and the applied one. What goes back
// more than one commit counts only if it goes back to what the Kustomization
// had deployed.
func (r *Rollbacks) Undone(repo *git.Repository, ks *kustomizev1.Kustomization, commits []git.Commit, applied string) (only, rollback bool, err error) {
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
		if had, err := r.HadDeployed(ks, back.Since); err != nil || !had {
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
