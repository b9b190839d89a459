package volumes

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"

	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
)

// Clone is a copy that can be changed by itself, as it is once new volumes are available.
func (s *State) Clone() *State {
	if s == nil {
		return nil
	}
	c := &State{
		claims: maps.Clone(s.claims), volumes: maps.Clone(s.volumes), classes: maps.Clone(s.classes), open: map[string][]*corev1.PersistentVolume{},
		granted: maps.Clone(s.granted), users: maps.Clone(s.users),
	}
	for class, list := range s.open {
		c.open[class] = slices.Clone(list)
		for i, pv := range list {
			if pv.Status.Phase == "" || pv.Status.Phase == corev1.VolumePending {
				pv = pv.DeepCopy()
				pv.Status.Phase = corev1.VolumeAvailable
				c.open[class][i], c.volumes[pv.Name] = pv, pv
			}
		}
	}
	return c
}

// Expect adds a claim that is not there yet, as it will be once it is made: of the default
// class if it names none; bound, if it does not wait for its first pod and a volume is
// there for it, or somebody makes volumes of its class.
func (s *State) Expect(claim *corev1.PersistentVolumeClaim) {
	key := types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
	if s == nil || s.claims[key] != nil {
		return
	}
	c := claim.DeepCopy()
	if !volume.PersistentVolumeClaimHasClass(c) {
		if class := s.defaultClass(); class != nil {
			c.Spec.StorageClassName = &class.Name
		}
	}
	class := s.classes[volume.GetPersistentVolumeClaimClass(c)]
	if !storage.Delays(class) && c.Spec.VolumeName == "" {
		found, err := volume.FindMatchingVolume(c, s.open[volume.GetPersistentVolumeClaimClass(c)], nil, nil, false, false)
		switch {
		case err == nil && found != nil:
			s.bind(found, c)
			return
		case class != nil && class.Provisioner != "" && class.Provisioner != noProvisioner:
			s.granted[key] = true
		}
	}
	s.SetClaim(c)
}

func (s *State) defaultClass() *storagev1.StorageClass {
	classes := make([]object.Object, 0, len(s.classes))
	for _, c := range s.classes {
		classes = append(classes, c)
	}
	return storage.Default(classes)
}

// bind has a claim and a volume bound to each other.
func (s *State) bind(pv *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) {
	pv, c = pv.DeepCopy(), c.DeepCopy()
	pv.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID}
	pv.Status.Phase = corev1.VolumeBound
	c.Spec.VolumeName = pv.Name
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnBindCompleted, "yes")
	s.SetVolume(pv)
	s.SetClaim(c)
}

// Assume has happened what a pod needs that gets a node.
func (s *State) Assume(plan Plan, node string) {
	for _, b := range plan.Bind {
		s.bind(b.Volume, b.Claim)
	}
	for _, claim := range plan.Provision {
		c := claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnSelectedNode, node)
		s.SetClaim(c)
	}
}
