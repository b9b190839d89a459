package statefulset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/history"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// apply writes a plan and the status as one transaction. If that is refused, it creates
// as many pods as it may.
func (c *controller) apply(ctx context.Context, key object.Key, in Input, plan Plan, current *appsv1.ControllerRevision) error {
	set := in.Set
	old := &set.Spec.Template
	if current.Name != in.Update && slices.ContainsFunc(plan.Create, func(n Creation) bool { return n.Revision == current.Name }) {
		var err error
		if old, err = history.Template(current); err != nil {
			return err
		}
	}
	var claims, creations, rest []change.Change
	for _, n := range plan.Claims {
		claims = append(claims, change.Create(n.Claim, in.Now))
	}
	for _, n := range plan.Create {
		template := &set.Spec.Template
		if n.Revision == current.Name {
			template = old
		}
		creations = append(creations, change.Create(newPod(set, template, n.Revision, n.Ordinal), in.Now))
	}
	for _, o := range plan.Own {
		rest = append(rest, control.Guarded(change.Patch(object.KeyOf(control.PersistentVolumeClaim, o.Claim), reown(set, o)), control.SameUID(o.Claim.UID)))
	}
	for _, pod := range plan.Delete {
		rest = append(rest, control.Guarded(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{}, in.Now), control.SameUID(pod.UID)))
	}
	for _, pod := range plan.Identify {
		rest = append(rest, control.Guarded(change.Patch(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
			stored, ok := obj.(*corev1.Pod)
			if ok {
				identify(stored, ordinal(set, stored))
			}
			return ok
		}), control.SameUID(pod.UID)))
	}
	if !apiequality.Semantic.DeepEqual(set.Status, plan.Status) {
		rest = append(rest, c.writeStatus(key, set, plan.Status))
	}
	_, err := c.Commit(ctx, change.Tx{Changes: slices.Concat(claims, creations, rest)})
	if err == nil {
		for _, n := range plan.Claims {
			c.tellClaim(set, n, nil)
		}
		for _, n := range plan.Create {
			c.tell(set, "Create", podName(set, n.Ordinal))
		}
		c.tellRest(set, plan)
		return nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil // the set goes too
	}
	if len(claims)+len(creations) == 0 || ctx.Err() != nil {
		return fmt.Errorf("write the next step of %s: %w", key, err)
	}
	creations, cause := c.makeClaims(ctx, set, plan.Claims, claims, creations)
	made, refusal := c.SlowStart(ctx, creations)
	for _, name := range made {
		c.tell(set, "Create", name)
	}
	if refusal != nil && ctx.Err() == nil {
		c.failed(set, creations[min(len(made), len(creations)-1)].Key.Name, refusal)
	}
	cause = errors.Join(cause, refusal)
	if _, err := c.Commit(ctx, change.Tx{Changes: rest}); err != nil {
		return errors.Join(cause, err)
	}
	c.tellRest(set, plan)
	return cause
}

// makeClaims makes claims each by itself, and returns the creations of those pods that
// have theirs.
func (c *controller) makeClaims(ctx context.Context, set *appsv1.StatefulSet, plan []NewClaim, claims, pods []change.Change) ([]change.Change, error) {
	var causes []error
	for i, err := range c.CommitEach(ctx, claims) {
		n := plan[i]
		if err == nil {
			c.tellClaim(set, n, nil)
			continue
		}
		err = fmt.Errorf("failed to create PVC %s: %w", n.Claim.Name, err)
		causes = append(causes, err)
		if ctx.Err() != nil {
			continue
		}
		c.tellClaim(set, n, err)
		without := func(ch change.Change) bool { return ch.Key.Name == n.Pod }
		if slices.ContainsFunc(pods, without) {
			pods = slices.DeleteFunc(slices.Clone(pods), without)
			c.failed(set, n.Pod, err)
		}
	}
	return pods, errors.Join(causes...)
}

func backoffKey(set *appsv1.StatefulSet, pod string) string { return string(set.UID) + "/" + pod }

func (c *controller) tellRest(set *appsv1.StatefulSet, plan Plan) {
	for _, e := range plan.Events {
		if e.Type == corev1.EventTypeNormal {
			c.Events.Normal(source, set, e.Reason, "%s", e.Message)
		} else {
			c.Events.Warning(source, set, e.Reason, "%s", e.Message)
		}
	}
	for _, pod := range plan.Ended {
		c.ended.Note(backoffKey(set, pod.Name))
	}
	for _, pod := range plan.Delete {
		c.tell(set, "Delete", pod.Name)
	}
	for _, pod := range plan.Identify {
		c.tell(set, "Update", pod.Name)
	}
}

func (c *controller) tell(set *appsv1.StatefulSet, verb, pod string) {
	c.Events.Normal(source, set, "Successful"+verb, "%s Pod %s in StatefulSet %s successful", verb, pod, set.Name)
}

func (c *controller) tellClaim(set *appsv1.StatefulSet, n NewClaim, err error) {
	switch {
	case err == nil:
		c.Events.Normal(source, set, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", n.Claim.Name, n.Pod, set.Name)
	case !apierrors.IsAlreadyExists(err):
		c.Events.Warning(source, set, "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %v", n.Claim.Name, n.Pod, set.Name, errors.Unwrap(err))
	}
}

func (c *controller) failed(set *appsv1.StatefulSet, pod string, err error) {
	c.Events.Warning(source, set, "FailedCreate", "Create Pod %s in StatefulSet %s failed error: %v", pod, set.Name, err)
}
