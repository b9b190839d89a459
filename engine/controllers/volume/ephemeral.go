package volume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// NewEphemeral makes the controller that makes the claims of generic ephemeral volumes,
// which belong to their pods and go with them.
// https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
func NewEphemeral(env control.Env) control.Controller {
	pods := podsByClaim(env)
	c := &claimer{env}
	return control.Controller{
		Name: "ephemeral-volume-controller", Workers: 4,
		Keys: func(ev object.Event, add func(object.Key)) {
			switch obj := ev.Object.(type) {
			case *corev1.Pod:
				if ev.Type == object.Added && slices.ContainsFunc(obj.Spec.Volumes, func(v corev1.Volume) bool { return ownsClaim(&v) }) {
					add(ev.Key)
				}
			case *corev1.PersistentVolumeClaim:
				if ev.Type == object.Deleted { // the pod may still need it
					addAll(pods.Keys(obj.Namespace+"/"+obj.Name), add)
				}
			}
		},
		Reconcile: c.reconcile,
	}
}

type claimer struct{ control.Env }

func (c *claimer) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	pod := control.Get[corev1.Pod](c.Store, key)
	if pod == nil || pod.DeletionTimestamp != nil {
		return 0, nil
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; ownsClaim(v) {
			if err := c.make(ctx, pod, v); err != nil {
				err = fmt.Errorf("ephemeral volume %s: %w", v.Name, err)
				c.Events.Warning("ephemeral_volume", pod, "FailedBinding", "%s", err.Error())
				return 0, err
			}
		}
	}
	return 0, nil
}

func (c *claimer) make(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	claim := claimFor(pod, v)
	if there := control.Get[corev1.PersistentVolumeClaim](c.Store, claimKey(claim.Namespace, claim.Name)); there != nil {
		return ephemeral.VolumeIsForPod(pod, there)
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{change.Create(claim, c.Now())}}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create PVC %s: %w", claim.Name, err)
	}
	return nil
}

// ownsClaim reports whether a claim is made for a volume of a pod.
func ownsClaim(v *corev1.Volume) bool {
	return v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil
}

// claimFor is the claim that is made for a volume of a pod.
func claimFor(pod *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolumeClaim {
	t := v.Ephemeral.VolumeClaimTemplate
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: ephemeral.VolumeClaimName(pod, v), Labels: maps.Clone(t.Labels), Annotations: maps.Clone(t.Annotations),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))},
		},
		Spec: *t.Spec.DeepCopy(),
	}
}
