package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const source = "job-controller"

type controller struct {
	control.Env
	pods *control.Index // by controller
	// strays are the pods with the finalizer by the name of their job.
	strays *control.Index
	// selecting are jobs by selector, accounts by what their pods run as.
	selecting, accounts *control.Index

	mu       sync.Mutex
	backoffs map[object.Key]backoffOf
}

// backoffOf is the back-off of the job that had a name last.
type backoffOf struct {
	uid types.UID
	Backoff
}

// New makes the controller.
func New(env control.Env) control.Controller {
	register()
	c := &controller{
		Env:       env,
		pods:      env.Feed.Index("pods by controller", control.ByController, control.Pod),
		strays:    env.Feed.Index("tracked pods by job", byJob, control.Pod),
		selecting: env.Feed.Index("jobs by selector", control.BySelector(control.SelectorOf), control.Job),
		accounts:  env.Feed.Index("jobs by account", control.ByAccount(control.PodSpecOf), control.Job),
		backoffs:  map[object.Key]backoffOf{},
	}
	return control.Controller{Name: "job-controller", Workers: 4, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	observe(ev)
	switch ev.Key.GroupKind {
	case control.Job:
		add(ev.Key)
	case control.ServiceAccount:
		control.AccountKeys(ev, c.accounts, add)
	case control.Pod:
		control.ControllerKeys(ev, control.Job, add)
		control.AdopterKeys(ev, control.Job, c.selecting, control.SelectorOf, add)
		if pod, ok := ev.Object.(*corev1.Pod); ok && ev.Type != object.Deleted && tracked(pod) && jobOf(pod) == nil {
			add(ev.Key)
		}
	}
}

// byJob files the pods that have not been counted under the name of their job.
func byJob(obj object.Object) []string {
	pod, ok := obj.(*corev1.Pod)
	if !ok || !tracked(pod) {
		return nil
	}
	ref := jobOf(pod)
	if ref == nil {
		return nil
	}
	return []string{pod.Namespace + "/" + ref.Name}
}

// jobOf is the job that controls a pod, nil if none does.
func jobOf(pod *corev1.Pod) *metav1.OwnerReference {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != control.Job.Kind || ref.APIVersion != batchv1.SchemeGroupVersion.String() {
		return nil
	}
	return ref
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (_ time.Duration, err error) {
	if key.GroupKind == control.Pod {
		pod, ok := c.Store.Get(key).(*corev1.Pod)
		if !ok || !tracked(pod) || jobOf(pod) != nil {
			return 0, nil
		}
		return 0, c.letGo(ctx, key, []object.Object{pod}, "")
	}
	job := control.Get[batchv1.Job](c.Store, key)
	if job == nil {
		c.forgetBackoff(key)
		return 0, c.letGo(ctx, key, c.strays.Get(key.Namespace+"/"+key.Name), "")
	}
	if ptr.Deref(job.Spec.ManagedBy, batchv1.JobControllerName) != batchv1.JobControllerName {
		return 0, nil
	}
	if Finished(job) != nil {
		c.forgetBackoff(key)
		return 0, c.letGo(ctx, key, c.strays.Get(key.Namespace+"/"+key.Name), "")
	}
	if err := c.letGo(ctx, key, c.strays.Get(key.Namespace+"/"+key.Name), job.UID); err != nil {
		return 0, err
	}
	pods, err := c.claim(ctx, job)
	if err != nil {
		return 0, fmt.Errorf("adopt and release pods of %s: %w", key, err)
	}
	now, backoff := c.Now(), c.backoff(key, job.UID)
	plan := Decide(job, pods, backoff, now)
	defer func() { synced(job, plan, c.Now().Sub(now), err) }()
	if err := c.commit(ctx, key, job, plan, now); err != nil {
		if len(plan.Create) == 0 || !refused(err) {
			return 0, err
		}
		return plan.After, c.createApart(ctx, key, job, pods, backoff, plan.Create, now, err)
	}
	return plan.After, nil
}

// letGo removes the finalizer from pods that nobody counts: those of no job, or of
// another than the one with the UID, which is gone.
func (c *controller) letGo(ctx context.Context, key object.Key, pods []object.Object, except types.UID) error {
	var changes []change.Change
	for _, obj := range pods {
		pod, ok := obj.(*corev1.Pod)
		if ref := jobOf(pod); !ok || ref != nil && ref.UID == except {
			continue
		}
		changes = append(changes, control.Guarded(change.Patch(object.KeyOf(control.Pod, pod), untrack), control.SameUID(pod.UID)))
	}
	if err := errors.Join(c.CommitEach(ctx, changes)...); err != nil {
		return fmt.Errorf("let go the pods of %s: %w", key, err)
	}
	return nil
}

func untrack(obj object.Object) bool {
	before := obj.GetFinalizers()
	kept := make([]string, 0, len(before))
	for _, f := range before {
		if f != batchv1.JobTrackingFinalizer {
			kept = append(kept, f)
		}
	}
	obj.SetFinalizers(kept)
	return len(kept) != len(before)
}

// claim adopts the pods that the job selects, and releases those that it selects no
// more.
func (c *controller) claim(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil || selector.Empty() {
		return nil, nil //nolint:nilerr // validation refuses these; one that got in owns nothing
	}
	find := func() control.Claims {
		return control.Claim(job, selector, c.pods.Get(string(job.UID)), c.pods.Get(control.Orphans(job.Namespace, job.Spec.Selector)))
	}
	claims := find()
	changes := claims.Changes(control.Pod, reference(job))
	if len(changes) == 0 {
		return asPods(claims.Owned), nil
	}
	// Who is adopted is counted, who is released is not.
	for i := range changes {
		adopted := i < len(claims.Adopt)
		mutate := changes[i].Mutate
		changes[i].Mutate = func(current object.Object) (object.Object, error) {
			next, err := mutate(current)
			if err != nil || next == nil || next == current {
				return next, err
			}
			if adopted {
				next.SetFinalizers(append(next.GetFinalizers(), batchv1.JobTrackingFinalizer))
			} else {
				untrack(next)
			}
			return next, nil
		}
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return nil, err
	}
	return asPods(find().Owned), nil
}

// commit writes a plan, all of it or nothing.
func (c *controller) commit(ctx context.Context, key object.Key, job *batchv1.Job, plan Plan, now time.Time) error {
	var changes []change.Change
	if !apiequality.Semantic.DeepEqual(job.Status, plan.Status) {
		changes = append(changes, unlessChanged(change.PatchStatus(key, func(obj object.Object) bool {
			plan.Status.DeepCopyInto(&obj.(*batchv1.Job).Status)
			return true
		}), func(current object.Object) bool { return current.GetResourceVersion() == job.ResourceVersion }))
	}
	for _, pod := range plan.Release {
		if !tracked(pod) {
			continue
		}
		// Another write that has let it go may have counted it.
		changes = append(changes, unlessChanged(change.Patch(object.KeyOf(control.Pod, pod), untrack), func(current object.Object) bool {
			stored, ok := current.(*corev1.Pod)
			return ok && stored.UID == pod.UID && tracked(stored)
		}))
	}
	for _, pod := range plan.Delete {
		changes = append(changes, control.Guarded(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{}, now), control.SameUID(pod.UID)))
	}
	var created []string
	for _, creation := range plan.Create {
		pod := newPod(job, creation)
		created = append(created, pod.Name)
		changes = append(changes, change.Create(pod, now))
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return err
	}
	c.keepBackoff(key, job.UID, plan.Backoff)
	written(job, plan)
	c.tellCreated(job, created)
	for _, pod := range plan.Delete {
		c.Events.Normal(source, job, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	}
	for _, e := range plan.Events {
		if e.Type == corev1.EventTypeNormal {
			c.Events.Normal(source, job, e.Reason, "%s", e.Message)
		} else {
			c.Events.Warning(source, job, e.Reason, "%s", e.Message)
		}
	}
	return nil
}

// unlessChanged fails a change, and with it the transaction, with a Conflict unless
// the stored object satisfies is.
func unlessChanged(ch change.Change, is func(current object.Object) bool) change.Change {
	mutate := ch.Mutate
	ch.Mutate = func(current object.Object) (object.Object, error) {
		if current == nil || !is(current) {
			return nil, apierrors.NewConflict(batchv1.Resource(ch.Key.Kind), ch.Key.Name, errors.New("it has changed since it was looked at"))
		}
		return mutate(current)
	}
	return ch
}

// refused reports whether an error may be about the pods that are to be created, and
// not a race that the next look settles.
func refused(err error) bool {
	return !errors.Is(err, context.Canceled) && !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err)
}

// createApart writes a plan whose creations are refused: all but them, and then as
// many of them as are admitted, in batches that double as long as all goes well.
func (c *controller) createApart(ctx context.Context, key object.Key, job *batchv1.Job, pods []*corev1.Pod, backoff Backoff, creations []Creation, now time.Time, cause error) error {
	if err := c.commit(ctx, key, job, decideWithout(job, pods, backoff, now), now); err != nil {
		return err
	}
	for size := 1; len(creations) > 0; size *= 2 {
		batch := creations[:min(size, len(creations))]
		creations = creations[len(batch):]
		var changes []change.Change
		for _, creation := range batch {
			changes = append(changes, change.Create(newPod(job, creation), now))
		}
		cause = nil
		for i, err := range c.CommitEach(ctx, changes) {
			if err == nil {
				podsCreated.WithLabelValues(whyCreated(job, &job.Status), "succeeded").Inc()
				c.tellCreated(job, []string{changes[i].Key.Name})
			} else {
				podsCreated.WithLabelValues(whyCreated(job, &job.Status), "failed").Inc()
			}
			cause = cmp.Or(cause, err)
		}
		if cause != nil {
			break
		}
	}
	if cause == nil || apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause) {
		return nil // the pods' events tell what to do next, or the job goes too
	}
	if refused(cause) {
		c.Events.Warning(source, job, "FailedCreate", "Error creating: %v", cause)
	}
	return cause
}

func (c *controller) tellCreated(job *batchv1.Job, names []string) {
	for _, name := range names {
		c.Events.Normal(source, job, "SuccessfulCreate", "Created pod: %s", name)
	}
}

func (c *controller) backoff(key object.Key, uid types.UID) Backoff {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.backoffs[key]; b.uid == uid {
		return b.Backoff
	}
	return Backoff{}
}

func (c *controller) keepBackoff(key object.Key, uid types.UID, b Backoff) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backoffs[key] = backoffOf{uid, b}
}

func (c *controller) forgetBackoff(key object.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.backoffs, key)
}

func asPods(objs []object.Object) []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, len(objs))
	for _, o := range objs {
		if pod, ok := o.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods
}
