package rollback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/syncer/env"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// Rollbacks write commits that take back others.
type Rollbacks struct {
	Env     *env.Env
	Rights  rights.Rights
	Sources *source.Set
	Journal *journal.Journal
	// Identity is the committer, and the author of automatic reverts.
	Identity git.Identity
	// SigningKey signs the commits; nil leaves them unsigned.
	SigningKey *signature.SigningKey
}

// Rollback writes one commit on the source's branch, and wakes the source: one
// that reverts req.Commit, or that brings back the state of req.To, or by
// default what was deployed before (see deployedBefore). It does not wait until
// that is applied. It fails with a write.ConflictError if later commits changed
// the same lines, with nothing written.
func (r *Rollbacks) Rollback(ctx context.Context, req wire.RollbackRequest) (wire.RollbackResult, error) {
	src, err := r.Sources.Permitted(ctx, rights.VerbRollback, req.Source)
	if err != nil {
		return wire.RollbackResult{}, err
	}
	what := Undo{Commit: req.Commit, Since: req.To}
	what.Author, what.Extra = r.asker(ctx, req)
	switch {
	case req.Commit != "" && req.To != "":
		return wire.RollbackResult{}, errors.New("a rollback takes back one commit, or goes back to one: name either")
	case req.Commit == "" && req.To == "":
		if what.Commit, what.Since, err = r.deployedBefore(src); err != nil {
			return wire.RollbackResult{}, err
		}
	}
	return r.Revert(ctx, src, what)
}

// superusers may do anything, also in another's name.
const superusers = "system:masters"

// asker is the author of the commit that a caller asks for, and what its
// message says besides: who was authenticated. Only a call from this process
// and an administrator, who could push it as well, may name somebody else, as
// whose certificate says nothing about who they are.
func (r *Rollbacks) asker(ctx context.Context, req wire.RollbackRequest) (git.Signature, string) {
	author := r.Identity.At(r.Env.Now())
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

// Undo is what a revert takes back: Commit (empty: the branch's newest) alone,
// or all that it has and Since has not.
type Undo struct {
	Commit, Since string
	Extra         string // for the message
	Author        git.Signature
}

// Revert writes the commit that takes back, and wakes the source.
func (r *Rollbacks) Revert(ctx context.Context, src *source.Source, what Undo) (wire.RollbackResult, error) {
	h, repo, err := src.Repository()
	if err != nil {
		return wire.RollbackResult{}, err
	}
	branch, err := src.Branch()
	switch {
	case errors.Is(err, source.ErrGone):
		return wire.RollbackResult{}, fmt.Errorf("%s %s not found", src.Key.Kind, src.Name())
	case err != nil:
		return wire.RollbackResult{}, err
	}
	sha := ""
	for _, name := range []struct {
		rev string
		sha *string
	}{{what.Commit, &sha}, {what.Since, &what.Since}} {
		if name.rev == "" {
			continue
		}
		if *name.sha, err = h.Resolve(name.rev); err != nil {
			return wire.RollbackResult{}, err
		}
	}
	auth := src.Auth()
	ctx, cancel := context.WithTimeout(ctx, branch.Timeout)
	defer cancel()
	committer := r.Identity.At(r.Env.Now())
	c, err := write.Revert(ctx, repo, write.RevertOptions{Branch: branch.Name, Commit: sha, Since: what.Since, Extra: what.Extra, Author: what.Author, Committer: committer, Key: r.SigningKey, Auth: auth})
	if err != nil {
		return wire.RollbackResult{}, err
	}
	if sha == "" {
		sha = c.Reverts()
	}
	r.Env.Log.Info("reverted", "source", src.Name(), "commit", sha, "since", what.Since, "revert", c.SHA)
	message := fmt.Sprintf("commit %s reverts %s", c.SHA, sha)
	if what.Since != "" {
		message += " and goes back to " + what.Since
	}
	r.Env.Record(branch.Object, corev1.EventTypeNormal, "Reverted", message)
	src.Wake()
	return wire.RollbackResult{Source: src.Name(), Reverted: sha, To: what.Since, Revert: c.SHA, Subject: c.Subject, Branch: branch.Name}, nil
}
