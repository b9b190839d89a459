package statefulset

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/history"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const (
	source = "statefulset-controller"
	// hashLabel is that of a revision.
	hashLabel = "controller.kubernetes.io/hash"
	// A pod that has ended is made again at once, the next one after the first of these
	// at the earliest, then after twice as long, up to the second: what its node rejects
	// would else be made again as fast as it can be written.
	firstBackoff, maxBackoff = time.Second, time.Minute
)

type controller struct {
	control.Env
	history.Keeper
	pods *control.Index // by controller
	// selecting are stateful sets by selector, accounts by what their pods run as.
	selecting, accounts *control.Index
	// claiming are those with claims, by namespace.
	claiming *control.Index
	ended    *control.Failures
}

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{
		Env: env, Keeper: history.NewKeeper(env),
		pods: env.Feed.Index("pods by controller", control.ByController, control.Pod),

		selecting: env.Feed.Index("stateful sets by selector", control.BySelector(control.SelectorOf), control.StatefulSet),
		accounts:  env.Feed.Index("stateful sets by account", control.ByAccount(control.PodSpecOf), control.StatefulSet),
		claiming:  env.Feed.Index("stateful sets with claims by namespace", claiming, control.StatefulSet),
		ended:     control.NewFailures(firstBackoff, maxBackoff),
	}
	return control.Controller{Name: "statefulset-controller", Workers: 4, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case control.StatefulSet:
		if ev.Type != object.Deleted {
			add(ev.Key)
		}
	case control.ServiceAccount:
		control.AccountKeys(ev, c.accounts, add)
	case control.PersistentVolumeClaim:
		for _, obj := range c.claiming.Get(ev.Key.Namespace) {
			if set, ok := obj.(*appsv1.StatefulSet); ok && hasClaim(set, ev.Key.Name) {
				add(object.KeyOf(control.StatefulSet, set))
			}
		}
	case control.Pod, control.ControllerRevision:
		control.ControllerKeys(ev, control.StatefulSet, add)
		control.AdopterKeys(ev, control.StatefulSet, c.selecting, control.SelectorOf, add)
	}
}

func claiming(obj object.Object) []string {
	if set, ok := obj.(*appsv1.StatefulSet); ok && len(set.Spec.VolumeClaimTemplates) > 0 {
		return []string{set.Namespace}
	}
	return nil
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	set := control.Get[appsv1.StatefulSet](c.Store, key)
	if set == nil || set.Spec.Selector == nil {
		return 0, nil
	}
	revisions, past, err := c.history(ctx, key, set)
	if err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return 0, nil // the set goes too
		}
		return 0, err
	}
	pods, err := c.claim(ctx, set)
	if err != nil {
		return 0, fmt.Errorf("adopt and release pods of %s: %w", key, err)
	}
	current := past.Current
	for _, r := range revisions {
		if r.Name == set.Status.CurrentRevision {
			current = r
		}
	}
	in := Input{Set: set, Pods: pods, Current: current.Name, Update: past.Current.Name, Now: c.Now(), Claim: func(name string) *corev1.PersistentVolumeClaim {
		return control.Get[corev1.PersistentVolumeClaim](c.Store, object.Key{GroupKind: control.PersistentVolumeClaim, Namespace: set.Namespace, Name: name})
	}, Backoff: func(pod string) time.Duration { return c.ended.Wait(backoffKey(set, pod)) }}
	plan := Decide(in)
	if err := c.apply(ctx, key, in, plan, current); err != nil {
		return 0, err
	}
	return plan.After, c.forget(ctx, set, past, plan.Status, pods)
}

// history finds or writes the revision of today's template. A set that is being deleted
// gets no new one.
func (c *controller) history(ctx context.Context, key object.Key, set *appsv1.StatefulSet) ([]*appsv1.ControllerRevision, history.History, error) {
	revisions, err := c.Claim(ctx, set, set.Spec.Selector, reference(set))
	if err != nil {
		return nil, history.History{}, err
	}
	in := history.Input{
		Owner: set, Reference: reference(set), Template: &set.Spec.Template, Revisions: revisions,
		Label: hashLabel, Collisions: set.Status.CollisionCount,
	}
	if set.DeletionTimestamp != nil {
		past, err := history.Look(in)
		return revisions, past, err
	}
	past, err := c.Record(ctx, in, func(n int32) change.Change {
		status := *set.Status.DeepCopy()
		status.CollisionCount = &n
		return c.writeStatus(key, set, status)
	})
	return revisions, past, err
}

// claim adopts the pods that the set selects and that have its name, and releases those
// that it has no more.
func (c *controller) claim(ctx context.Context, set *appsv1.StatefulSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil || selector.Empty() {
		return nil, nil //nolint:nilerr // validation refuses these; one that got in owns nothing
	}
	member := func(obj object.Object) bool {
		pod, ok := obj.(*corev1.Pod)
		return ok && ordinal(set, pod) != none
	}
	find := func() control.Claims {
		claims := control.Claim(set, selector, c.pods.Get(string(set.UID)), c.pods.Get(control.Orphans(set.Namespace, set.Spec.Selector)))
		claims.Adopt = slices.DeleteFunc(claims.Adopt, func(obj object.Object) bool { return !member(obj) })
		owned := claims.Owned
		claims.Owned = nil
		for _, obj := range owned {
			switch {
			case member(obj):
				claims.Owned = append(claims.Owned, obj)
			case obj.GetDeletionTimestamp() == nil:
				claims.Release = append(claims.Release, obj)
			}
		}
		return claims
	}
	claims := find()
	if changes := claims.Changes(control.Pod, reference(set)); len(changes) > 0 {
		if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
			return nil, err
		}
		claims = find()
	}
	pods := make([]*corev1.Pod, 0, len(claims.Owned))
	for _, obj := range claims.Owned {
		if pod, ok := obj.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// forget removes the revisions beyond the limit that nothing is of.
func (c *controller) forget(ctx context.Context, set *appsv1.StatefulSet, past history.History, status appsv1.StatefulSetStatus, pods []*corev1.Pod) error {
	if set.DeletionTimestamp != nil {
		return nil
	}
	used := map[string]bool{status.CurrentRevision: true, status.UpdateRevision: true, set.Status.CurrentRevision: true}
	for _, pod := range pods {
		used[revisionOf(pod)] = true
	}
	return c.Remove(ctx, history.Surplus(append(past.Old, past.Same...), int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)), func(r *appsv1.ControllerRevision) bool { return used[r.Name] }))
}

func (c *controller) writeStatus(key object.Key, set *appsv1.StatefulSet, status appsv1.StatefulSetStatus) change.Change {
	return control.Guarded(change.PatchStatus(key, func(obj object.Object) bool {
		stored := obj.(*appsv1.StatefulSet)
		// Conditions are those of others.
		conditions := stored.Status.Conditions
		stored.Status = status
		stored.Status.Conditions = conditions
		return true
	}), control.SameUID(set.UID))
}
