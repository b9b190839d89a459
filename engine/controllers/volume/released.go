package volume

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/volume"

	"headway.dev/manifests/model/kinds/storage"
)

// Fate is what becomes of a volume.
type Fate struct {
	// Phase is what its status is to say, with Message; empty for no change.
	Phase   corev1.PersistentVolumePhase
	Message string
	// Unbind gives it to others, of the same name if somebody has kept it for that.
	Unbind bool
	// Delete deletes the object; who has the data removes them.
	Delete bool
	// Forget gives up the data: their node is gone.
	Forget bool
	Event  *Event
}

// DecideVolume decides about a volume by the claim that it names, which is nil if
// it is gone. gone says that the node which has its data is no more.
func DecideVolume(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim, gone bool) Fate {
	f := fate(pv, claim)
	f.Forget = gone && pv.DeletionTimestamp != nil && f.Phase != corev1.VolumeBound && slices.Contains(pv.Finalizers, storage.LocalFinalizer)
	f.Delete = f.Delete && pv.DeletionTimestamp == nil
	// What others say of a phase stays with it, and so does a failure until the volume is
	// claimed again.
	if f.Phase == pv.Status.Phase || f.Phase == corev1.VolumeReleased && pv.Status.Phase == corev1.VolumeFailed {
		f.Phase, f.Event = "", nil
	}
	return f
}

func fate(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) Fate {
	ref := pv.Spec.ClaimRef
	dynamic := pv.Annotations[volume.AnnDynamicallyProvisioned] != ""
	switch {
	case ref == nil || ref.UID == "":
		return Fate{Phase: corev1.VolumeAvailable}
	case claim == nil || claim.UID != ref.UID:
		return reclaim(pv)
	case claim.Spec.VolumeName == "":
		return Fate{} // the claim will be bound
	case claim.Spec.VolumeName == pv.Name:
		return Fate{Phase: corev1.VolumeBound}
	case dynamic && pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return reclaim(pv)
	}
	return Fate{Phase: corev1.VolumeAvailable, Unbind: true}
}

// reclaim is for a volume whose claim is gone.
func reclaim(pv *corev1.PersistentVolume) Fate {
	f := Fate{Phase: corev1.VolumeReleased}
	if pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return f
	}
	switch pv.Annotations[volume.AnnDynamicallyProvisioned] {
	case storage.LocalProvisioner:
		f.Delete = true
	case "":
		f.Phase = corev1.VolumeFailed
		f.Message = fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", pv.Name)
		f.Event = &Event{Source: source, Reason: "VolumeFailedDelete", Message: f.Message, Warning: true}
	}
	return f
}
