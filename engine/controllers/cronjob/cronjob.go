package cronjob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const source = "cronjob-controller"

type controller struct {
	control.Env
	jobs *control.Index // by controller
}

// New makes the controller.
func New(env control.Env) control.Controller {
	register()
	c := &controller{Env: env, jobs: env.Feed.Index("jobs by controller", control.ByController, control.Job)}
	return control.Controller{Name: "cronjob-controller", Workers: 4, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case control.CronJob:
		if ev.Type != object.Deleted {
			add(ev.Key)
		}
	case control.Job:
		control.ControllerKeys(ev, control.CronJob, add)
	}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	cj := control.Get[batchv1.CronJob](c.Store, key)
	if cj == nil {
		return 0, nil
	}
	var jobs []*batchv1.Job
	for _, obj := range c.jobs.Get(string(cj.UID)) {
		if j, ok := obj.(*batchv1.Job); ok {
			jobs = append(jobs, j)
		}
	}
	// The CronJob is read from the store, which may be ahead of the index: a job that runs
	// is not missing because nobody has told of it.
	for _, ref := range cj.Status.Active {
		if !slices.ContainsFunc(jobs, func(j *batchv1.Job) bool { return j.UID == ref.UID }) {
			if j := control.Get[batchv1.Job](c.Store, object.Key{GroupKind: control.Job, Namespace: cj.Namespace, Name: ref.Name}); j != nil && j.UID == ref.UID {
				jobs = append(jobs, j)
			}
		}
	}
	taken := func(name string) *batchv1.Job {
		return control.Get[batchv1.Job](c.Store, object.Key{GroupKind: control.Job, Namespace: cj.Namespace, Name: name})
	}
	now := c.Now()
	plan := Decide(cj, jobs, taken, now)
	return plan.After, c.commit(ctx, key, cj, plan, now)
}

// commit writes a plan, all of it or nothing.
func (c *controller) commit(ctx context.Context, key object.Key, cj *batchv1.CronJob, plan Plan, now time.Time) error {
	var changes []change.Change
	if plan.Create != nil {
		changes = append(changes, change.Create(plan.Create, now))
		plan.Status.Active = append(plan.Status.Active, corev1.ObjectReference{
			APIVersion: batchv1.SchemeGroupVersion.String(), Kind: control.Job.Kind,
			Namespace: plan.Create.Namespace, Name: plan.Create.Name, UID: plan.Create.UID,
		})
	}
	background := metav1.DeletePropagationBackground
	for _, j := range plan.Delete {
		changes = append(changes, control.Guarded(change.Delete(object.KeyOf(control.Job, j), metav1.DeleteOptions{PropagationPolicy: &background}, now), control.SameUID(j.UID)))
	}
	if !apiequality.Semantic.DeepEqual(cj.Status, plan.Status) {
		write := change.PatchStatus(key, func(obj object.Object) bool {
			plan.Status.DeepCopyInto(&obj.(*batchv1.CronJob).Status)
			return true
		})
		mutate := write.Mutate
		write.Mutate = func(current object.Object) (object.Object, error) {
			if current == nil || current.GetResourceVersion() != cj.ResourceVersion {
				return nil, apierrors.NewConflict(batchv1.Resource("cronjobs"), cj.Name, errors.New("it has changed since it was looked at"))
			}
			return mutate(current)
		}
		changes = append(changes, write)
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		switch {
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return nil // the CronJob goes too
		case plan.Create != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !errors.Is(err, context.Canceled):
			c.Events.Warning(source, cj, "FailedCreate", "Error creating job: %v", err)
		}
		return fmt.Errorf("start and remove the jobs of %s: %w", key, err)
	}
	for _, e := range plan.Events {
		if e.Type == corev1.EventTypeNormal {
			c.Events.Normal(source, cj, e.Reason, "%s", e.Message)
		} else {
			c.Events.Warning(source, cj, e.Reason, "%s", e.Message)
		}
	}
	if plan.Create != nil {
		skew.Observe(now.Sub(plan.Status.LastScheduleTime.Time).Seconds())
		c.Events.Normal(source, cj, "SuccessfulCreate", "Created job %v", plan.Create.Name)
	}
	for _, j := range plan.Delete {
		c.Events.Normal(source, cj, "SuccessfulDelete", "Deleted job %v", j.Name)
	}
	return nil
}
