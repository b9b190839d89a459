package scheduler

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/storage/volume"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/engine/scheduler/volumes"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

var (
	claimKind  = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	volumeKind = schema.GroupKind{Kind: "PersistentVolume"}
	classKind  = schema.GroupKind{Group: storagev1.GroupName, Kind: "StorageClass"}

	errTaken = errors.New("somebody else has taken it")
)

// Volumes are the claims, volumes and classes that are stored.
func Volumes(stored object.Reader) *volumes.State {
	state := volumes.New()
	claims, _ := stored.List(claimKind, "")
	for _, obj := range claims {
		if c, ok := obj.(*corev1.PersistentVolumeClaim); ok {
			state.SetClaim(c)
		}
	}
	pvs, _ := stored.List(volumeKind, "")
	for _, obj := range pvs {
		if pv, ok := obj.(*corev1.PersistentVolume); ok {
			state.SetVolume(pv)
		}
	}
	classes, _ := stored.List(classKind, "")
	for _, obj := range classes {
		if c, ok := obj.(*storagev1.StorageClass); ok {
			state.SetClass(c)
		}
	}
	return state
}

// preparation has claims of a pod bound, or volumes made for them, on the node that was
// picked. The pod is looked at again when they are.
type preparation struct {
	item    *item
	changes []change.Change
}

// storage notes a claim, a volume or a class, and has the pods looked at again for which
// it is.
func (s *Scheduler) storage(ev object.Event) {
	known, gone := s.snapshot.Volumes, ev.Type == object.Deleted
	namespace, claim := "", ""
	switch obj := ev.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		if gone {
			known.RemoveClaim(obj)
		} else {
			known.SetClaim(obj)
		}
		namespace, claim = obj.Namespace, obj.Name
	case *corev1.PersistentVolume:
		if gone {
			known.RemoveVolume(obj.Name)
		} else {
			known.SetVolume(obj)
		}
		if ref := obj.Spec.ClaimRef; ref != nil {
			namespace, claim = ref.Namespace, ref.Name
		}
	case *storagev1.StorageClass:
		if gone {
			known.RemoveClass(obj.Name)
		} else {
			known.SetClass(obj)
		}
	}
	s.queue.wake(func(p *corev1.Pod, causes placement.Cause) bool {
		return causes&placement.ByVolumes != 0 && (claim == "" || p.Namespace == namespace && volumes.Names(p, claim))
	})
}

// prepare keeps the node for a pod whose claims have no volumes yet, and asks for those.
func (s *Scheduler) prepare(r *round, it *item, node string, plan volumes.Plan) {
	p := preparation{item: it}
	for _, b := range plan.Bind {
		if ref := b.Volume.Spec.ClaimRef; ref != nil && ref.UID == b.Claim.UID {
			continue // the binder is about to bind the claim, too
		}
		kept, _, err := volume.GetBindVolumeToClaim(b.Volume, b.Claim)
		if err != nil {
			continue // the next look tries again
		}
		s.snapshot.Volumes.SetVolume(kept)
		p.changes = append(p.changes, keepVolume(b))
	}
	for _, c := range plan.Provision {
		if c.Annotations[volume.AnnSelectedNode] == node {
			continue
		}
		next := c.DeepCopy()
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, volume.AnnSelectedNode, node)
		s.snapshot.Volumes.SetClaim(next)
		p.changes = append(p.changes, selectNode(c, node))
	}
	s.snapshot.Nominate(it.pod, node)
	s.queue.fitsNowhere(it, &placement.Failure{Class: "volumes/" + string(it.pod.UID), Causes: placement.ByVolumes}, s.Now())
	if len(p.changes) > 0 {
		r.preparations = append(r.preparations, p)
	}
}

// keepVolume gives a volume to a claim, unless it is somebody else's by now.
func keepVolume(b volumes.Binding) change.Change {
	key := object.Key{GroupKind: volumeKind, Name: b.Volume.Name}
	return checked(change.Patch(key, func(obj object.Object) bool {
		pv := obj.(*corev1.PersistentVolume)
		kept, dirty, err := volume.GetBindVolumeToClaim(pv, b.Claim)
		if err != nil || !dirty {
			return false
		}
		pv.Spec.ClaimRef, pv.Annotations = kept.Spec.ClaimRef, kept.Annotations
		return true
	}), func(current object.Object) bool {
		pv, ok := current.(*corev1.PersistentVolume)
		return ok && pv.UID == b.Volume.UID && pv.DeletionTimestamp == nil && (pv.Spec.ClaimRef == nil || volume.IsVolumeBoundToClaim(pv, b.Claim))
	})
}

// selectNode tells who makes the volume of a claim on which node it has to be.
func selectNode(c *corev1.PersistentVolumeClaim, node string) change.Change {
	return checked(change.Patch(object.KeyOf(claimKind, c), func(obj object.Object) bool {
		meta := &obj.(*corev1.PersistentVolumeClaim).ObjectMeta
		metav1.SetMetaDataAnnotation(meta, volume.AnnSelectedNode, node)
		return true
	}), func(current object.Object) bool {
		next, ok := current.(*corev1.PersistentVolumeClaim)
		return ok && next.UID == c.UID && next.Spec.VolumeName == "" && next.Annotations[volume.AnnSelectedNode] == c.Annotations[volume.AnnSelectedNode]
	})
}

// checked has a transaction fail unless the object satisfies is.
func checked(ch change.Change, is func(object.Object) bool) change.Change {
	mutate := ch.Mutate
	ch.Mutate = func(current object.Object) (object.Object, error) {
		if current == nil || !is(current) {
			return nil, apierrors.NewConflict(schema.GroupResource{Resource: ch.Key.Kind}, ch.Key.Name, errTaken)
		}
		return mutate(current)
	}
	return ch
}

// unprepared takes back what was assumed of claims and volumes.
func (s *Scheduler) unprepared(ctx context.Context, p *preparation, err error) {
	if ctx.Err() == nil {
		s.Log.Debug("could not prepare volumes of a pod, trying again", "pod", p.item.key, "error", err)
	}
	for _, ch := range p.changes {
		switch obj := s.Store.Get(ch.Key).(type) {
		case *corev1.PersistentVolumeClaim:
			s.snapshot.Volumes.SetClaim(obj)
		case *corev1.PersistentVolume:
			s.snapshot.Volumes.SetVolume(obj)
		}
	}
	s.snapshot.Nominate(p.item.pod, p.item.pod.Status.NominatedNodeName)
	if s.queue.items[p.item.key] == p.item {
		s.queue.failed(p.item, s.Now())
	}
}
