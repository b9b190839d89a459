package syncer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// Rollback writes one commit on the source's branch, and wakes the source: one
// that reverts req.Commit, or that brings back the state of req.To, or by
// default what was deployed before (see deployedBefore). It does not wait until
// that is applied. It fails with a write.ConflictError if later commits changed
// the same lines, with nothing written.
func (s *Syncer) Rollback(ctx context.Context, req wire.RollbackRequest) (wire.RollbackResult, error) {
	src, err := s.sources.Permitted(ctx, rights.VerbRollback, req.Source)
	if err != nil {
		return wire.RollbackResult{}, err
	}
	what := undo{commit: req.Commit, since: req.To}
	what.author, what.extra = s.asker(ctx, req)
	switch {
	case req.Commit != "" && req.To != "":
		return wire.RollbackResult{}, errors.New("a rollback takes back one commit, or goes back to one: name either")
	case req.Commit == "" && req.To == "":
		if what.commit, what.since, err = s.deployedBefore(src); err != nil {
			return wire.RollbackResult{}, err
		}
	}
	return s.revert(ctx, src, what)
}

// superusers may do anything, also in another's name.
const superusers = "system:masters"

// asker is the author of the commit that a caller asks for, and what its
// message says besides: who was authenticated. Only a call from this process
// and an administrator, who could push it as well, may name somebody else, as
// whose certificate says nothing about who they are.
func (s *Syncer) asker(ctx context.Context, req wire.RollbackRequest) (git.Signature, string) {
	author := git.Signature{Name: s.cfg.Identity.Name, Email: s.cfg.Identity.Email, When: s.env.Now()}
	user, known := rights.Caller(ctx)
	admin := !known || slices.Contains(user.Groups, superusers)
	switch {
	case admin && req.Author != nil && req.Author.Name != "":
		author.Name, author.Email = git.OneLine(req.Author.Name), git.OneLine(req.Author.Email)
	case !admin:
		author.Name = cmp.Or(git.OneLine(user.Name), "unknown")
		author.Email = strings.NewReplacer(":", ".", " ", ".").Replace(author.Name)
		if !strings.Contains(author.Email, "@") {
			author.Email += "@cluster.local"
		}
	}
	extra := strings.TrimSpace(req.Message)
	if known && user.Name != "" {
		extra = strings.TrimLeft(extra+"\n\nRequested-by: "+git.OneLine(user.Name), "\n")
	}
	return author, extra
}

// undo is what a revert takes back: commit (empty: the branch's newest) alone,
// or all that it has and since has not.
type undo struct {
	commit, since string
	extra         string // for the message
	author        git.Signature
}

func (s *Syncer) revert(ctx context.Context, src *source.Source, what undo) (wire.RollbackResult, error) {
	h, lastErr := src.Current()
	if h.Repo == nil {
		return wire.RollbackResult{}, errors.Join(fmt.Errorf("source %s is not fetched yet", src.Name()), lastErr)
	}
	obj, ok := s.env.Store.Get(src.Key).(*sourcev1.GitRepository)
	if !ok {
		return wire.RollbackResult{}, fmt.Errorf("GitRepository %s not found", src.Name())
	}
	branch, err := flux.BranchOf(obj)
	if err != nil {
		return wire.RollbackResult{}, err
	}
	sha := ""
	for _, name := range []struct {
		rev string
		sha *string
	}{{what.commit, &sha}, {what.since, &what.since}} {
		if name.rev == "" {
			continue
		}
		if *name.sha, err = h.Resolve(name.rev); err != nil {
			return wire.RollbackResult{}, err
		}
	}
	auth := src.Auth()
	ctx, cancel := context.WithTimeout(ctx, flux.GitTimeout(obj))
	defer cancel()
	committer := git.Signature{Name: s.cfg.Identity.Name, Email: s.cfg.Identity.Email, When: s.env.Now()}
	c, err := write.Revert(ctx, h.Repo, write.RevertOptions{Branch: branch, Commit: sha, Since: what.since, Extra: what.extra, Author: what.author, Committer: committer, Key: s.cfg.SigningKey, Auth: auth})
	if err != nil {
		return wire.RollbackResult{}, err
	}
	if sha == "" {
		sha = c.Reverts()
	}
	s.env.Log.Info("reverted", "source", src.Name(), "commit", sha, "since", what.since, "revert", c.SHA)
	told := fmt.Sprintf("commit %s reverts %s", c.SHA, sha)
	if what.since != "" {
		told += " and goes back to " + what.since
	}
	s.env.Record(obj, corev1.EventTypeNormal, "Reverted", told)
	src.Wake()
	return wire.RollbackResult{Source: src.Name(), Reverted: sha, To: what.since, Revert: c.SHA, Subject: c.Subject, Branch: branch}, nil
}

// serveRollback answers what cannot be reverted as it is with a Conflict that
// names the files.
func (s *Syncer) serveRollback(w http.ResponseWriter, r *http.Request) {
	var req wire.RollbackRequest
	if !readJSON(w, r, &req) {
		return
	}
	result, err := s.Rollback(r.Context(), req)
	if err == nil {
		writeJSON(w, result)
		return
	}
	code := statusOf(err)
	if code != http.StatusConflict {
		http.Error(w, err.Error(), code)
		return
	}
	refusal := wire.RollbackRefusal{Message: err.Error()}
	if conflict, ok := errors.AsType[*write.ConflictError](err); ok {
		refusal.Conflicts = conflict.Files
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// Nobody is left to tell when this fails.
	_ = json.NewEncoder(w).Encode(refusal)
}
