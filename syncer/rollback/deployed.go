package rollback

import (
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/syncer/git"
	githistory "headway.dev/syncer/git/history"
	"headway.dev/syncer/history"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// maxDeployed bounds the journal entries that are looked at for what was
// deployed.
const maxDeployed = 20_000

// deployedBefore is what a rollback goes back to, and from: since is the newest
// commit below the source's head that was deployed and found healthy and whose
// files differ from the head's; if none was ever healthy, the newest that was
// applied. What lies between was never found healthy, or was not deployed on
// its own, so that nobody can say which of it is to blame.
func (r *Rollbacks) deployedBefore(src *source.Source) (commit, since string, err error) {
	h, lastErr := src.Current()
	if h.Commit == "" {
		return "", "", errors.Join(fmt.Errorf("source %s is not fetched yet", src.Name()), lastErr)
	}
	repo, err := h.Repository()
	if err != nil {
		return "", "", err
	}
	tip, err := repo.Commit(h.Commit)
	if err != nil {
		return "", "", err
	}
	applied := ""
	seen := 0
	tried := map[string]bool{h.Commit: true}
	before := func(e wire.Entry) (string, bool) {
		at, ok := git.ParseRevision(e.Revision)
		if e.Source != src.Name() || !ok || tried[at.Commit] {
			return "", false
		}
		c, err := repo.Commit(at.Commit)
		if err != nil || c.Tree == tip.Tree {
			return "", false
		}
		below, err := githistory.IsAncestor(repo, at.Commit, h.Commit)
		return at.Commit, err == nil && below
	}
	failed := map[string]bool{} // after it was healthy, maybe
	err = r.Journal.Backwards(func(e wire.Entry) bool {
		if seen++; seen > maxDeployed || since != "" {
			return false
		}
		if e.Type == wire.EntryVerdict {
			if failed[e.Kustomization+" "+e.Revision] {
				return true
			}
			failed[e.Kustomization+" "+e.Revision] = e.Verdict == wire.VerdictFailed
		}
		good := e.Type == wire.EntryVerdict && (e.Verdict == wire.VerdictHealthy || e.Verdict == wire.VerdictRecovered)
		if !good && (e.Type != wire.EntryApplied || applied != "") {
			return true
		}
		switch sha, ok := before(e); {
		case !ok:
		case good:
			since = sha
		default:
			applied = sha
		}
		return true
	})
	if err != nil {
		return "", "", err
	}
	if since == "" {
		since = applied
	}
	if since == "" {
		return "", "", history.Missing("nothing else of %s was deployed before %.12s: name the commit to take back, or with --to the one whose state shall come back", src.Name(), h.Commit)
	}
	return h.Commit, since, nil
}

// HadDeployed reports whether a Kustomization has applied a commit.
func (r *Rollbacks) HadDeployed(ks *kustomizev1.Kustomization, sha string) (bool, error) {
	name := ks.Namespace + "/" + ks.Name
	found, seen := false, 0
	err := r.Journal.Backwards(func(e wire.Entry) bool {
		if e.Kustomization == name && e.Type == wire.EntryApplied {
			at, ok := git.ParseRevision(e.Revision)
			found = ok && at.Commit == sha
		}
		seen++
		return !found && seen < maxDeployed
	})
	return found, err
}
