package volume

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/volume"

	"headway.dev/manifests/model/kinds/storage"
)

// View is what a claim is decided by.
type View struct {
	// Volumes are those that the claim may be bound to: of its class and claimed by
	// nobody, or claimed for it.
	Volumes []*corev1.PersistentVolume
	// Named is the volume that the claim names.
	Named *corev1.PersistentVolume
	// Class is the claim's, and Default the one that it gets if it has none.
	Class, Default *storagev1.StorageClass
	// Node is the one that the scheduler selected, if it exists.
	Node *corev1.Node
	// Pods are those that use the claim and wait for a node.
	Pods []string
}

// Event is one to record.
type Event struct {
	Source, Reason, Message string
	Warning                 bool
}

// Decision is what becomes of a claim.
type Decision struct {
	// Bind is the volume to bind it to, which is New if it does not exist yet.
	Bind *corev1.PersistentVolume
	New  bool
	// Phase is the claim's, if it is not bound.
	Phase corev1.PersistentVolumeClaimPhase
	// Class is the class to give it.
	Class string
	// Provisioner is who has to make the volume.
	Provisioner string
	// Unselect has the scheduler choose another node.
	Unselect bool
	Event    *Event
}

const (
	source      = "persistentvolume-controller"
	noNode      = "volumes of " + storage.LocalProvisioner + " are on the node of their first pod: the StorageClass needs volumeBindingMode WaitForFirstConsumer"
	manyNodes   = "volumes of " + storage.LocalProvisioner + " are on one node: the access modes can be ReadWriteOnce or ReadWriteOncePod"
	noSelectors = "claim Selector is not supported"
)

// DecideClaim decides about a claim that is not being deleted.
func DecideClaim(claim *corev1.PersistentVolumeClaim, v View) Decision {
	if claim.Annotations[volume.AnnBindCompleted] != "" {
		return bound(claim, v.Named)
	}
	if claim.Spec.VolumeName != "" {
		return named(claim, v.Named)
	}
	delays := storage.Delays(v.Class)
	found, err := volume.FindMatchingVolume(claim, able(claim, v.Volumes), nil, nil, delays, false)
	switch {
	case err != nil:
		return failed("FailedBinding", err.Error())
	case found != nil:
		return Decision{Bind: found}
	case !volume.PersistentVolumeClaimHasClass(claim) && v.Default != nil:
		return Decision{Phase: corev1.ClaimPending, Class: v.Default.Name}
	case delays && !volume.IsDelayBindingProvisioning(claim):
		d := Decision{Phase: corev1.ClaimPending, Event: &Event{Source: source, Reason: "WaitForFirstConsumer", Message: "waiting for first consumer to be created before binding"}}
		if len(v.Pods) == 1 {
			d.Event.Reason, d.Event.Message = "WaitForPodScheduled", fmt.Sprintf("waiting for pod %s to be scheduled", v.Pods[0])
		} else if len(v.Pods) > 1 {
			d.Event.Reason, d.Event.Message = "WaitForPodScheduled", fmt.Sprintf("waiting for pods %s to be scheduled", strings.Join(v.Pods, ","))
		}
		return d
	case volume.GetPersistentVolumeClaimClass(claim) == "":
		return Decision{Phase: corev1.ClaimPending, Event: &Event{
			Source: source, Reason: "FailedBinding", Message: "no persistent volumes available for this claim and no storage class is set",
		}}
	}
	return provision(claim, v)
}

// able are the volumes that have all access modes of a claim, or are kept for it.
func able(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume) []*corev1.PersistentVolume {
	var list []*corev1.PersistentVolume
	for _, pv := range volumes {
		if volume.IsVolumeBoundToClaim(pv, claim) || volume.CheckAccessModes(claim, pv) {
			list = append(list, pv)
		}
	}
	return list
}

func failed(reason, message string) Decision {
	return Decision{Phase: corev1.ClaimPending, Event: &Event{Source: source, Reason: reason, Message: message, Warning: true}}
}

func lost(reason, message string) Decision {
	d := failed(reason, message)
	d.Phase = corev1.ClaimLost
	return d
}

// bound looks at a claim that had a volume.
func bound(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) Decision {
	switch {
	case claim.Spec.VolumeName == "":
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	case pv == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID == claim.UID:
		return Decision{Bind: pv}
	case pv.Spec.ClaimRef.UID == "" && volume.IsVolumeBoundToClaim(pv, claim):
		return Decision{Bind: pv}
	}
	return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

// named looks at a claim that asks for one volume.
func named(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) Decision {
	switch {
	case pv == nil:
		return Decision{Phase: corev1.ClaimPending}
	case pv.Spec.ClaimRef != nil && !volume.IsVolumeBoundToClaim(pv, claim):
		return failed("FailedBinding", fmt.Sprintf("volume %q already bound to a different claim.", pv.Name))
	case pv.Spec.ClaimRef == nil:
		if why := mismatch(claim, pv); why != "" {
			return failed("VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: %s", pv.Name, why))
		}
	}
	return Decision{Bind: pv}
}

func mismatch(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) string {
	asked, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], pv.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case pv.DeletionTimestamp != nil:
		return fmt.Sprintf("the volume is marked for deletion %q", pv.Name)
	case has.Cmp(asked) < 0:
		return "requested PV is too small"
	case volume.GetPersistentVolumeClass(pv) != volume.GetPersistentVolumeClaimClass(claim):
		return "storageClassName does not match"
	case volume.CheckVolumeModeMismatches(&claim.Spec, &pv.Spec):
		return "incompatible volumeMode"
	case !volume.CheckAccessModes(claim, pv):
		return "incompatible accessMode"
	}
	return ""
}

// provision has a volume made by whom the class says.
func provision(claim *corev1.PersistentVolumeClaim, v View) Decision {
	class := v.Class
	if class == nil {
		return failed("ProvisioningFailed", fmt.Sprintf("storageclass.storage.k8s.io %q not found", volume.GetPersistentVolumeClaimClass(claim)))
	}
	if class.Provisioner != storage.LocalProvisioner {
		if strings.HasPrefix(class.Provisioner, "kubernetes.io/") {
			return failed("ProvisioningFailed", fmt.Sprintf("no volume plugin matched name: %s", class.Provisioner))
		}
		return Decision{Phase: corev1.ClaimPending, Provisioner: class.Provisioner, Event: &Event{
			Source: source, Reason: "ExternalProvisioning", Message: fmt.Sprintf("Waiting for a volume to be created either by the external provisioner '%s' "+
				"or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.", class.Provisioner),
		}}
	}
	refuse := func(why string, unselect bool) Decision {
		d := failed("ProvisioningFailed", fmt.Sprintf("failed to provision volume with StorageClass %q: %s", class.Name, why))
		d.Provisioner, d.Unselect, d.Event.Source = class.Provisioner, unselect, storage.LocalProvisioner
		return d
	}
	node := claim.Annotations[volume.AnnSelectedNode]
	switch {
	case node == "":
		return refuse(noNode, false)
	case v.Node == nil:
		return refuse(fmt.Sprintf("node %q not found", node), true)
	case v.Node.Annotations[storage.VolumesAnnotation] == "":
		return refuse(fmt.Sprintf("node %q keeps no volumes", node), true)
	case !storage.Allows(class, v.Node.Labels):
		return refuse(fmt.Sprintf("node %q is not among the allowed topologies", node), true)
	case claim.Spec.Selector != nil:
		return refuse(noSelectors, false)
	case !oneNode(claim.Spec.AccessModes):
		return refuse(manyNodes, false)
	}
	pv := localVolume(claim, class, v.Node)
	return Decision{Bind: pv, New: true, Provisioner: class.Provisioner, Event: &Event{
		Source: storage.LocalProvisioner, Reason: "ProvisioningSucceeded", Message: "Successfully provisioned volume " + pv.Name,
	}}
}

func oneNode(modes []corev1.PersistentVolumeAccessMode) bool {
	for _, m := range modes {
		if m != corev1.ReadWriteOnce && m != corev1.ReadWriteOncePod {
			return false
		}
	}
	return true
}
