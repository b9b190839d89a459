package source

import (
	"context"
	"fmt"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/status"
)

// Report implements Follower: it writes the source's status, if it changed, and
// reports what is new.
func (src *gitRepository) Report(ctx context.Context, o object.Object, err error, failures int, next time.Time) {
	obj, ok := o.(*sourcev1.GitRepository)
	if !ok {
		return
	}
	head, _ := src.Current()
	src.mu.Lock()
	verified, form := src.verified, src.form
	src.mu.Unlock()
	revision := head.Revision()
	looked := status.Looked{
		Generation: obj.Generation, Request: flux.Of(obj).Request.Value, Revision: revision, Commit: head.Commit,
		Included: form.included(), Verified: verified, Err: err, Failures: failures, Next: next,
	}
	advanced := false
	tx := change.Tx{Changes: []change.Change{looked.Change(src.Key, src.set.env.Now(), &advanced)}}
	if err == nil && !obj.Status.Artifact.HasRevision(revision) {
		tx.Changes = append(tx.Changes, acceptances(src.set.env.Store, obj, head.Commit)...)
	}
	if _, cerr := src.set.env.Store.Commit(ctx, tx); cerr != nil && ctx.Err() == nil {
		src.set.env.Log.Error("write the status", "source", src.Name(), "err", cerr)
	}
	switch {
	case err != nil:
		src.set.env.Log.Warn("source failed", "source", src.Name(), "err", err, "attempt", failures, "next", next)
		if failures == 1 {
			src.set.env.Record(obj, corev1.EventTypeWarning, fault.ReasonOf(err, sourcev1.GitOperationFailedReason), err.Error())
		}
	case advanced:
		src.set.env.Log.Info("fetched", "source", src.Name(), "revision", revision)
		msg := looked.Message()
		if c, cerr := src.Commit(head.Commit); cerr == nil {
			msg = fmt.Sprintf("stored artifact for commit '%s'", c.Subject)
		}
		src.set.env.Record(obj, corev1.EventTypeNormal, "NewArtifact", msg)
	}
}
