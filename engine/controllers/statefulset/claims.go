package statefulset

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kinds/apps"
	"headway.dev/manifests/model/object"
)

var podKind = corev1.SchemeGroupVersion.WithKind("Pod")

// NewClaim is a claim to be made before the pod that it is for.
type NewClaim struct {
	Claim *corev1.PersistentVolumeClaim
	Pod   string
}

// Ownership is a claim whose owners are to be as the set's policy says. Pod has the name
// of the pod that the claim is for, and its UID if it exists.
type Ownership struct{ Claim, Pod *metav1.ObjectMeta }

var numbered = regexp.MustCompile("-(0|[1-9][0-9]*)$")

// hasClaim reports whether a claim of this name is one of the set's, of any number.
func hasClaim(set *appsv1.StatefulSet, name string) bool {
	end := numbered.FindStringIndex(name)
	return end != nil && slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(t corev1.PersistentVolumeClaim) bool {
		return name[:end[0]] == t.Name+"-"+set.Name
	})
}

// volumesOf are the volumes of the pod of a number: its claims, in place of volumes of
// their names, and the others of the template.
func volumesOf(set *appsv1.StatefulSet, template []corev1.Volume, n int) []corev1.Volume {
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		return template
	}
	var volumes []corev1.Volume
	has := func(name string) bool {
		return slices.ContainsFunc(volumes, func(v corev1.Volume) bool { return v.Name == name })
	}
	for _, c := range apps.Claims(set, n) {
		volumes = append(volumes, corev1.Volume{Name: c.Volume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Claim.Name},
		}})
	}
	for _, v := range template {
		if !has(v.Name) {
			volumes = append(volumes, v)
		}
	}
	return volumes
}

func inRange(set *appsv1.StatefulSet, n int) bool {
	start, size := bounds(set)
	return n >= start && n < start+size
}

// claimed has the claims of a number made that are missing, if missing says so, and the
// others owned as the policy says. It reports whether a pod can be made with them; pod is
// nil if there is none.
func (d *decision) claimed(pod *corev1.Pod, n int, missing bool) bool {
	meta := &metav1.ObjectMeta{Namespace: d.Set.Namespace, Name: podName(d.Set, n)}
	if pod != nil {
		meta = &pod.ObjectMeta
	}
	var claims []*corev1.PersistentVolumeClaim
	var stored []*metav1.ObjectMeta
	for _, c := range apps.Claims(d.Set, n) {
		claim := c.Claim
		claims = append(claims, claim)
		var is *metav1.ObjectMeta
		if found := d.Claim(claim.Name); found != nil {
			is = &found.ObjectMeta
		}
		stored = append(stored, is)
	}
	// What belongs to a pod of the past goes with it; the new one gets another.
	if scaled, _ := policy(d.Set); pod == nil && scaled && slices.ContainsFunc(stored, func(c *metav1.ObjectMeta) bool { return c != nil && stale(c, meta, podKind) }) {
		return false
	}
	var leaving []string
	for i, claim := range claims {
		switch is := stored[i]; {
		case is == nil && missing:
			claim.OwnerReferences, _, _ = owners(&claim.ObjectMeta, d.Set, meta)
			d.Claims = append(d.Claims, NewClaim{claim, meta.Name})
		case is == nil:
		case missing && is.DeletionTimestamp != nil:
			leaving = append(leaving, fmt.Sprintf("pvc %s is being deleted", is.Name))
		default:
			d.own(is, meta, missing)
		}
	}
	if len(leaving) > 0 && pod == nil {
		why := leaving[0]
		if len(leaving) > 1 {
			why = "[" + strings.Join(leaving, ", ") + "]"
		}
		d.Events = append(d.Events, Event{corev1.EventTypeWarning, "FailedCreate", fmt.Sprintf("Create Pod %s in StatefulSet %s failed error: %s", meta.Name, d.Set.Name, why)})
	}
	return len(leaving) == 0
}

// own has a claim owned as the policy says. A claim that somebody else controls is told
// of if it is changed, or told is set.
func (d *decision) own(claim, pod *metav1.ObjectMeta, told bool) {
	_, differ, foreign := owners(claim, d.Set, pod)
	if differ {
		d.Own = append(d.Own, Ownership{claim, pod})
	}
	if foreign && (differ || told) {
		d.Events = append(d.Events, Event{corev1.EventTypeWarning, "ConflictingController", fmt.Sprintf(
			"PersistentVolumeClaim %s has a conflicting OwnerReference that acts as a managing controller, the retention policy is ignored for this claim", claim.Name)})
	}
}

// policy tells whether claims are deleted when their pod is too many, and with the set.
func policy(set *appsv1.StatefulSet) (scaled, deleted bool) {
	p := set.Spec.PersistentVolumeClaimRetentionPolicy
	if p == nil {
		return false, false
	}
	return p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType, p.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// owners are those that a claim is to have, and whether it has others; foreign says that
// somebody else controls it, to whom it is left. The garbage collector deletes a claim
// with the last of its owners:
//
//	whenScaled  whenDeleted  owner
//	Retain      Retain       none
//	Retain      Delete       the set
//	Delete      Retain       its pod, if that is too many
//	Delete      Delete       its pod, if that is too many; otherwise the set
func owners(claim *metav1.ObjectMeta, set *appsv1.StatefulSet, pod *metav1.ObjectMeta) (refs []metav1.OwnerReference, differ, foreign bool) {
	setKind := appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	scaled, deleted := policy(set)
	var ofSet, ofPod, shared bool
	for _, ref := range claim.OwnerReferences {
		controls := ref.Controller != nil && *ref.Controller
		ofSet, ofPod = ofSet || ref.UID == set.UID, ofPod || ref.UID == pod.UID
		shared = shared || !controls && (ref.UID == set.UID || ref.UID == pod.UID)
		switch isSet, isPod := names(ref, set.Name, setKind), names(ref, pod.Name, podKind); {
		case isSet || isPod:
			foreign = foreign || isSet && ref.UID != set.UID || isPod && ref.UID != pod.UID
		default:
			refs, foreign = append(refs, ref), foreign || controls
		}
	}
	foreign = foreign && (scaled || deleted)
	if stale(claim, &set.ObjectMeta, setKind) || stale(claim, pod, podKind) {
		return claim.OwnerReferences, false, foreign // the garbage collector knows whether the claim goes
	}
	if foreign {
		return refs, ofSet || ofPod, true
	}
	_, n := parse(pod.Name)
	surplus := !inRange(set, n)
	toSet, toPod := deleted && (!scaled || !surplus), scaled && surplus
	if toSet {
		refs = append(refs, *metav1.NewControllerRef(set, setKind))
	}
	if toPod {
		refs = append(refs, *metav1.NewControllerRef(pod, podKind))
	}
	return refs, shared || ofSet != toSet || ofPod != toPod, false
}

func names(ref metav1.OwnerReference, name string, kind schema.GroupVersionKind) bool {
	return ref.APIVersion == kind.GroupVersion().String() && ref.Kind == kind.Kind && ref.Name == name
}

// stale reports whether a claim names an owner of the name and kind of another one.
func stale(claim, owner *metav1.ObjectMeta, kind schema.GroupVersionKind) bool {
	for _, ref := range claim.OwnerReferences {
		if names(ref, owner.Name, kind) {
			return ref.UID != owner.UID
		}
	}
	return false
}

// reown gives a stored claim its owners.
func reown(set *appsv1.StatefulSet, o Ownership) func(object.Object) bool {
	return func(current object.Object) bool {
		meta := &current.(*corev1.PersistentVolumeClaim).ObjectMeta
		refs, differ, _ := owners(meta, set, o.Pod)
		if differ {
			meta.OwnerReferences = refs
		}
		return differ
	}
}
