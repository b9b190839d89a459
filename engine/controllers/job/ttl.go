package job

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// NewTTL makes the controller that removes jobs ttlSecondsAfterFinished after they
// have.
func NewTTL(env control.Env) control.Controller {
	return control.Controller{
		Name: "ttl-after-finished-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			if job, ok := ev.Object.(*batchv1.Job); ok && ev.Type != object.Deleted && job.Spec.TTLSecondsAfterFinished != nil && Finished(job) != nil {
				add(ev.Key)
			}
		},
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) { return expire(ctx, env, key) },
	}
}

func expire(ctx context.Context, env control.Env, key object.Key) (time.Duration, error) {
	job := control.Get[batchv1.Job](env.Store, key)
	if job == nil || job.DeletionTimestamp != nil {
		return 0, nil
	}
	now := env.Now()
	left, ends := Expiry(job, now)
	if !ends || left > 0 {
		return left, nil
	}
	foreground := metav1.DeletePropagationForeground
	// Somebody may have given it more time meanwhile.
	remove := control.Guarded(change.Delete(key, metav1.DeleteOptions{PropagationPolicy: &foreground}, now), func(current object.Object) bool {
		stored, ok := current.(*batchv1.Job)
		if !ok || stored.UID != job.UID {
			return false
		}
		left, ends := Expiry(stored, now)
		return ends && left == 0
	})
	if _, err := env.Commit(ctx, change.Tx{Changes: []change.Change{remove}}); err != nil {
		return 0, fmt.Errorf("remove %s, which has finished: %w", key, err)
	}
	return 0, nil
}
