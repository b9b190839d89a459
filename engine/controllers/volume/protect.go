package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
)

var errChanged = errors.New("it has changed meanwhile")

// The finalizers of what is in use.
const (
	ClaimProtection  = "kubernetes.io/pvc-protection"
	VolumeProtection = "kubernetes.io/pv-protection"
)

// NewClaimProtection makes the controller that holds claims which pods use, and tells of
// each whether one does.
func NewClaimProtection(env control.Env) control.Controller {
	pods := podsByClaim(env)
	return control.Controller{
		Name: "persistentvolumeclaim-protection-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			switch obj := ev.Object.(type) {
			case *corev1.PersistentVolumeClaim:
				add(ev.Key)
			case *corev1.Pod:
				was, _ := ev.Old.(*corev1.Pod)
				if ev.Type != object.Modified || was == nil || was.UID != obj.UID || was.Spec.NodeName != obj.Spec.NodeName || ended(was) != ended(obj) || ended(obj) && leaves(was) != leaves(obj) {
					podspec.Claims(obj, func(name string) { add(claimKey(obj.Namespace, name)) })
				}
			}
		},
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			claim := control.Get[corev1.PersistentVolumeClaim](env.Store, key)
			if claim == nil {
				return 0, nil
			}
			var held, used bool
			for _, obj := range pods.Get(key.Namespace + "/" + key.Name) {
				if pod, ok := obj.(*corev1.Pod); ok {
					held, used = held || holds(pod, claim), used || !ended(pod)
				}
			}
			if err := protect(ctx, env, key, claim, ClaimProtection, held); err != nil {
				return 0, err
			}
			return 0, tellUse(ctx, env, key, claim, used)
		},
	}
}

// holds reports whether a pod keeps a claim: as long as it exists, or only until it has
// ended if the claim was made for it, as a pod may wait for the claim to go first.
func holds(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	return pod.Spec.NodeName != "" && (!leaves(pod) || !ended(pod) || !metav1.IsControlledBy(claim, pod))
}

func leaves(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil }

// tellUse keeps the condition Unused of a claim that is bound.
func tellUse(ctx context.Context, env control.Env, key object.Key, claim *corev1.PersistentVolumeClaim, used bool) error {
	condition := corev1.PersistentVolumeClaimCondition{
		Type: corev1.PersistentVolumeClaimUnused, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(env.Now()),
		Reason: "NoPodsUsingPVC", Message: "No pods are currently referencing this PVC",
	}
	if used {
		condition.Status, condition.Reason, condition.Message = corev1.ConditionFalse, "PodUsingPVC", "A pod is currently referencing this PVC"
	}
	find := func(claim *corev1.PersistentVolumeClaim) int {
		return slices.IndexFunc(claim.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool { return c.Type == condition.Type })
	}
	due := func(claim *corev1.PersistentVolumeClaim) bool {
		at := find(claim)
		return claim.DeletionTimestamp == nil && claim.Status.Phase == corev1.ClaimBound && (at < 0 || claim.Status.Conditions[at].Status != condition.Status)
	}
	if !due(claim) {
		return nil
	}
	write := control.Guarded(change.PatchStatus(key, func(obj object.Object) bool {
		current := obj.(*corev1.PersistentVolumeClaim)
		if !due(current) {
			return false
		}
		list := slices.Clone(current.Status.Conditions)
		if at := find(current); at >= 0 {
			list[at] = condition
		} else {
			list = append(list, condition)
		}
		current.Status.Conditions = list
		return true
	}), control.SameUID(claim.UID))
	if _, err := env.Commit(ctx, change.Tx{Changes: []change.Change{write}}); err != nil {
		return fmt.Errorf("tell whether %s is used: %w", key, err)
	}
	return nil
}

// NewVolumeProtection makes the controller that holds volumes which are bound.
func NewVolumeProtection(env control.Env) control.Controller {
	return control.Controller{
		Name: "persistentvolume-protection-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			if ev.Key.GroupKind == control.PersistentVolume {
				add(ev.Key)
			}
		},
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			pv := control.Get[corev1.PersistentVolume](env.Store, key)
			if pv == nil {
				return 0, nil
			}
			return 0, protect(ctx, env, key, pv, VolumeProtection, pv.Status.Phase == corev1.VolumeBound)
		},
	}
}

// protect adds the finalizer to what is not being deleted, and takes it from what is
// and is not used.
func protect(ctx context.Context, env control.Env, key object.Key, obj object.Object, finalizer string, used bool) error {
	has := slices.Contains(obj.GetFinalizers(), finalizer)
	leaves := obj.GetDeletionTimestamp() != nil
	if leaves != has || leaves && used {
		return nil
	}
	write := control.Guarded(change.Patch(key, func(current object.Object) bool {
		list := slices.DeleteFunc(slices.Clone(current.GetFinalizers()), func(f string) bool { return f == finalizer })
		if !leaves {
			list = append(list, finalizer)
		}
		current.SetFinalizers(list)
		return true
	}), unchanged(obj))
	if _, err := env.Commit(ctx, change.Tx{Changes: []change.Change{write}}); err != nil {
		return fmt.Errorf("protect %s: %w", key, err)
	}
	return nil
}

// ended reports whether a pod's containers use no volume any more, as Kubernetes
// tells it.
func ended(pod *corev1.Pod) bool {
	if control.Terminal(pod) {
		return true
	}
	return pod.DeletionTimestamp != nil && !slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Terminated == nil && s.State.Waiting == nil
	})
}
