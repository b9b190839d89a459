package daemonset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/history"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const (
	source = "daemonset-controller"
	// A failed pod is deleted after the first of these at the earliest, then after
	// twice as long, up to the second.
	firstBackoff, maxBackoff = time.Second, 15 * time.Minute
)

type controller struct {
	control.Env
	history.Keeper
	pods *control.Index // by controller
	// selecting are daemon sets by selector, accounts by what their pods run as.
	selecting, accounts *control.Index
	failed              *control.Failures
	verdicts            verdicts
}

// New makes the controller.
func New(env control.Env) control.Controller {
	c := &controller{
		Env: env, Keeper: history.NewKeeper(env),
		pods: env.Feed.Index("pods by controller", control.ByController, control.Pod),

		selecting: env.Feed.Index("daemon sets by selector", control.BySelector(control.SelectorOf), control.DaemonSet),
		accounts:  env.Feed.Index("daemon sets by account", control.ByAccount(control.PodSpecOf), control.DaemonSet),
		failed:    control.NewFailures(firstBackoff, maxBackoff),
		verdicts:  newVerdicts(),
	}
	return control.Controller{Name: "daemonset-controller", Workers: 2, Keys: c.keys, Reconcile: c.reconcile}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case control.DaemonSet:
		add(ev.Key)
	case control.ServiceAccount:
		control.AccountKeys(ev, c.accounts, add)
	case control.Pod:
		control.ControllerKeys(ev, control.DaemonSet, add)
		control.AdopterKeys(ev, control.DaemonSet, c.selecting, control.SelectorOf, add)
	case control.ControllerRevision:
		control.ControllerKeys(ev, control.DaemonSet, add)
		control.AdopterKeys(ev, control.DaemonSet, c.selecting, control.SelectorOf, add)
	case control.Node:
		c.nodeKeys(ev, add)
	}
}

// nodeKeys are the sets to which a node is something else now.
func (c *controller) nodeKeys(ev object.Event, add func(object.Key)) {
	was, _ := ev.Old.(*corev1.Node)
	is, _ := ev.Object.(*corev1.Node)
	if ev.Type == object.Deleted {
		is = nil
	}
	if was != nil && is != nil && apiequality.Semantic.DeepEqual(was.Labels, is.Labels) && apiequality.Semantic.DeepEqual(was.Spec.Taints, is.Spec.Taints) {
		return
	}
	sets, _ := c.Store.List(control.DaemonSet, "")
	for _, obj := range sets {
		ds, ok := obj.(*appsv1.DaemonSet)
		if !ok {
			continue
		}
		m, before, after := newMatcher(ds), Verdict{}, Verdict{}
		if was != nil {
			before = m.judge(was)
		}
		if is != nil {
			after = m.judge(is)
		}
		if before != after {
			add(object.KeyOf(control.DaemonSet, ds))
		}
	}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	ds := control.Get[appsv1.DaemonSet](c.Store, key)
	if ds == nil {
		c.verdicts.forget(key)
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
	if err != nil {
		return 0, nil //nolint:nilerr // validation refuses these; one that got in owns nothing
	}
	if selectsAll(ds.Spec.Selector) {
		c.Events.Warning(source, ds, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return 0, nil
	}
	if ds.DeletionTimestamp != nil {
		return 0, nil
	}
	past, err := c.history(ctx, key, ds)
	if err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return 0, nil // the set goes too
		}
		return 0, err
	}
	find := func() control.Claims {
		return control.Claim(ds, selector, c.pods.Get(string(ds.UID)), c.pods.Get(control.Orphans(ds.Namespace, ds.Spec.Selector)))
	}
	claims := find()
	if changes := claims.Changes(control.Pod, reference(ds)); len(changes) > 0 {
		if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
			return 0, fmt.Errorf("adopt and release pods of %s: %w", key, err)
		}
		claims = find()
	}
	in := Input{
		Set: ds, Nodes: c.verdicts.of(key, ds, c.nodes()), Pods: asPods(claims.Owned), Hash: past.Current.Labels[appsv1.ControllerRevisionHashLabelKey],
		Hashes: map[string]bool{}, Backoff: func(node string) time.Duration { return c.failed.Wait(backoffKey(ds, node)) }, Now: c.Now(),
	}
	in.Hashes[in.Hash] = true
	for _, r := range past.Same {
		in.Hashes[r.Labels[appsv1.ControllerRevisionHashLabelKey]] = true
	}
	plan := Decide(in)
	if err := c.apply(ctx, key, in, plan); err != nil {
		return 0, err
	}
	return plan.After, c.forget(ctx, ds, past, in.Pods)
}

// history finds or writes the revision of today's template.
func (c *controller) history(ctx context.Context, key object.Key, ds *appsv1.DaemonSet) (history.History, error) {
	revisions, err := c.Claim(ctx, ds, ds.Spec.Selector, reference(ds))
	if err != nil {
		return history.History{}, err
	}
	return c.Record(ctx, history.Input{
		Owner: ds, Reference: reference(ds), Template: &ds.Spec.Template, Revisions: revisions,
		Label: appsv1.ControllerRevisionHashLabelKey, Collisions: ds.Status.CollisionCount,
	}, func(n int32) change.Change { return c.writeStatus(key, ds, counted(ds, n)) })
}

// forget removes the revisions beyond the limit that no pod is of.
func (c *controller) forget(ctx context.Context, ds *appsv1.DaemonSet, past history.History, pods []*corev1.Pod) error {
	if len(past.Old) == 0 {
		return nil
	}
	used := map[string]bool{}
	for _, pod := range pods {
		used[pod.Labels[appsv1.ControllerRevisionHashLabelKey]] = true
	}
	return c.Remove(ctx, history.Surplus(past.Old, int(ptr.Deref(ds.Spec.RevisionHistoryLimit, 10)), func(r *appsv1.ControllerRevision) bool {
		return used[r.Labels[appsv1.ControllerRevisionHashLabelKey]]
	}))
}

// apply writes a plan and the status as one transaction. If that is refused, it creates
// as many pods as it may.
func (c *controller) apply(ctx context.Context, key object.Key, in Input, plan Plan) error {
	ds := in.Set
	var creations, rest []change.Change
	var names []string
	for _, node := range plan.Create {
		pod := newPod(ds, in.Hash, node)
		names = append(names, pod.Name)
		creations = append(creations, change.Create(pod, in.Now))
	}
	for _, pod := range plan.Delete {
		rest = append(rest, control.Guarded(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{}, in.Now), control.SameUID(pod.UID)))
	}
	tx := change.Tx{Changes: append(slices.Clip(creations), rest...)}
	if status := StatusOf(in, plan.Create); !apiequality.Semantic.DeepEqual(ds.Status, status) {
		tx.Changes = append(tx.Changes, c.writeStatus(key, ds, status))
	}
	_, err := c.Commit(ctx, tx)
	if err == nil {
		c.tell(in, plan, names, plan.Delete)
		return nil
	}
	if len(creations) == 0 || !control.Reportable(err) {
		return c.refused(ds, plan, err)
	}
	made, cause := c.SlowStart(ctx, creations)
	if status := StatusOf(in, plan.Create[:len(made)]); !apiequality.Semantic.DeepEqual(ds.Status, status) {
		rest = append(rest, c.writeStatus(key, ds, status))
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: rest}); err != nil {
		return errors.Join(cause, err)
	}
	c.tell(in, plan, made, plan.Delete)
	if cause != nil && control.Reportable(cause) {
		c.Events.Warning(source, ds, "FailedCreate", "Error creating: %v", cause)
	}
	return cause
}

// refused tells why pods could not be deleted.
func (c *controller) refused(ds *appsv1.DaemonSet, plan Plan, cause error) error {
	switch {
	case apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause):
		return nil // the set goes too
	case len(plan.Delete) > 0 && control.Reportable(cause):
		c.Events.Warning(source, ds, "FailedDelete", "Error deleting: %v", cause)
	}
	return cause
}

func (c *controller) tell(in Input, plan Plan, created []string, deleted []*corev1.Pod) {
	for _, e := range plan.Events {
		if e.Type == corev1.EventTypeNormal {
			c.Events.Normal(source, in.Set, e.Reason, "%s", e.Message)
		} else {
			c.Events.Warning(source, in.Set, e.Reason, "%s", e.Message)
		}
	}
	for _, name := range created {
		c.Events.Normal(source, in.Set, "SuccessfulCreate", "Created pod: %s", name)
	}
	for _, pod := range deleted {
		c.Events.Normal(source, in.Set, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	}
	for _, node := range plan.Failed {
		c.failed.Note(backoffKey(in.Set, node))
	}
}

func backoffKey(ds *appsv1.DaemonSet, node string) string { return string(ds.UID) + "/" + node }

func (c *controller) writeStatus(key object.Key, ds *appsv1.DaemonSet, status appsv1.DaemonSetStatus) change.Change {
	return control.Guarded(change.PatchStatus(key, func(obj object.Object) bool {
		obj.(*appsv1.DaemonSet).Status = status
		return true
	}), control.SameUID(ds.UID))
}

func (c *controller) nodes() []object.Object {
	nodes, _ := c.Store.List(control.Node, "")
	return nodes
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
