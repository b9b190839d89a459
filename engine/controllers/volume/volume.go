// Package volume binds PersistentVolumeClaims to PersistentVolumes, makes volumes
// on the disks of nodes for the default StorageClass, and gives volumes back that
// nobody claims any more.
//
//	claim ─▶ DecideClaim ─▶ bind to a volume, have one made, or say why not
//	volume ─▶ DecideVolume ─▶ Available, Bound, Released, deleted
//
// Both are pure. A claim and its volume are bound in one transaction, which fails if
// either has changed, so that no volume has two claims. What is on a disk is the
// business of the agent that has it (nodes/volume): it makes the directory for the
// first pod, and removes it once the volume is deleted.
//
// Two more controllers hold claims that pods use, and volumes that are bound.
package volume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/storage/volume"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
)

type binder struct {
	control.Env
	pending   *control.Index // claims that have no volume, by class
	unclaimed *control.Index // volumes that no claim has, by class
	claimed   *control.Index // volumes by the claim that they name
	onNode    *control.Index // volumes by the node that has their data
	pods      *control.Index // by claim
}

// New makes the binder.
func New(env control.Env) control.Controller {
	c := &binder{
		Env:       env,
		pending:   env.Feed.Index("claims without a volume by class", pendingOf, control.PersistentVolumeClaim),
		unclaimed: env.Feed.Index("volumes without a claim by class", unclaimedOf, control.PersistentVolume),
		claimed:   env.Feed.Index("volumes by claim", claimOf, control.PersistentVolume),
		onNode: env.Feed.Index("volumes by node", func(obj object.Object) []string {
			return []string{obj.GetLabels()[storage.NodeLabel]}
		}, control.PersistentVolume),
		pods: podsByClaim(env),
	}
	// One worker: two claims must not choose the same volume all the time.
	return control.Controller{Name: "persistentvolume-binder-controller", Keys: c.keys, Reconcile: c.reconcile}
}

func pendingOf(obj object.Object) []string {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok || claim.Annotations[volume.AnnBindCompleted] != "" {
		return nil
	}
	return []string{volume.GetPersistentVolumeClaimClass(claim)}
}

func unclaimedOf(obj object.Object) []string {
	pv, ok := obj.(*corev1.PersistentVolume)
	if !ok || pv.Spec.ClaimRef != nil {
		return nil
	}
	return []string{volume.GetPersistentVolumeClass(pv)}
}

func claimOf(obj object.Object) []string {
	pv, ok := obj.(*corev1.PersistentVolume)
	if !ok || pv.Spec.ClaimRef == nil {
		return nil
	}
	return []string{pv.Spec.ClaimRef.Namespace + "/" + pv.Spec.ClaimRef.Name}
}

// podsByClaim has the pods under each claim that they name.
func podsByClaim(env control.Env) *control.Index {
	return env.Feed.Index("pods by claim", func(obj object.Object) []string {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return nil
		}
		var names []string
		podspec.Claims(pod, func(name string) { names = append(names, pod.Namespace+"/"+name) })
		return names
	}, control.Pod)
}

func claimKey(namespace, name string) object.Key {
	return object.Key{GroupKind: control.PersistentVolumeClaim, Namespace: namespace, Name: name}
}

func volumeKey(name string) object.Key {
	return object.Key{GroupKind: control.PersistentVolume, Name: name}
}

func (c *binder) keys(ev object.Event, add func(object.Key)) {
	switch obj := ev.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		add(ev.Key)
		if obj.Spec.VolumeName != "" {
			add(volumeKey(obj.Spec.VolumeName))
		}
		addAll(c.claimed.Keys(obj.Namespace+"/"+obj.Name), add)
	case *corev1.PersistentVolume:
		add(ev.Key)
		for _, state := range []object.Object{ev.Old, ev.Object} {
			pv, ok := state.(*corev1.PersistentVolume)
			if !ok {
				continue
			}
			if ref := pv.Spec.ClaimRef; ref != nil {
				add(claimKey(ref.Namespace, ref.Name))
			}
		}
		if obj.Spec.ClaimRef == nil && ev.Type != object.Deleted {
			addAll(c.pending.Keys(volume.GetPersistentVolumeClass(obj)), add)
		}
	case *storagev1.StorageClass:
		addAll(c.pending.Keys(obj.Name), add)
		if storage.IsDefault(obj) {
			addAll(c.pending.Keys(""), add)
		}
	case *corev1.Node:
		if ev.Type == object.Deleted {
			addAll(c.onNode.Keys(obj.Name), add)
			claims, _ := c.Store.List(control.PersistentVolumeClaim, "")
			for _, claim := range claims {
				if claim.GetAnnotations()[volume.AnnSelectedNode] == obj.Name {
					add(object.KeyOf(control.PersistentVolumeClaim, claim))
				}
			}
		}
	case *corev1.Pod:
		if ev.Type == object.Added && obj.Spec.NodeName == "" {
			podspec.Claims(obj, func(name string) { add(claimKey(obj.Namespace, name)) })
		}
	}
}

func addAll(keys []object.Key, add func(object.Key)) {
	for _, k := range keys {
		add(k)
	}
}

func (c *binder) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	if key.GroupKind == control.PersistentVolume {
		return 0, c.volume(ctx, key)
	}
	return 0, c.claim(ctx, key)
}

func (c *binder) claim(ctx context.Context, key object.Key) error {
	claim := control.Get[corev1.PersistentVolumeClaim](c.Store, key)
	if claim == nil || claim.DeletionTimestamp != nil {
		return nil
	}
	d := DecideClaim(claim, c.view(claim))
	changes := c.changes(claim, d)
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("bind %s: %w", key, err)
	}
	if e := d.Event; e != nil && (d.Phase != claim.Status.Phase || d.Phase == corev1.ClaimPending) {
		c.tell(claim, e)
	}
	return nil
}

func (c *binder) tell(about object.Object, e *Event) {
	if e.Warning {
		c.Events.Warning(e.Source, about, e.Reason, "%s", e.Message)
		return
	}
	c.Events.Normal(e.Source, about, e.Reason, "%s", e.Message)
}

func (c *binder) view(claim *corev1.PersistentVolumeClaim) View {
	var v View
	if claim.Spec.VolumeName != "" {
		v.Named = control.Get[corev1.PersistentVolume](c.Store, volumeKey(claim.Spec.VolumeName))
		return v
	}
	class := volume.GetPersistentVolumeClaimClass(claim)
	own := claim.Namespace + "/" + claim.Name
	for _, obj := range slices.Concat(c.unclaimed.Get(class), c.claimed.Get(own)) {
		if pv, ok := obj.(*corev1.PersistentVolume); ok {
			v.Volumes = append(v.Volumes, pv)
		}
	}
	if class != "" {
		v.Class = control.Get[storagev1.StorageClass](c.Store, object.Key{GroupKind: control.StorageClass, Name: class})
	}
	if !volume.PersistentVolumeClaimHasClass(claim) {
		classes, _ := c.Store.List(control.StorageClass, "")
		v.Default = storage.Default(classes)
	}
	if name := claim.Annotations[volume.AnnSelectedNode]; name != "" {
		v.Node = control.Get[corev1.Node](c.Store, object.Key{GroupKind: control.Node, Name: name})
	}
	for _, obj := range c.pods.Get(own) {
		if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName == "" && !control.Terminal(pod) {
			v.Pods = append(v.Pods, pod.Name)
		}
	}
	slices.Sort(v.Pods)
	return v
}

// changes are what a decision about a claim writes.
func (c *binder) changes(claim *corev1.PersistentVolumeClaim, d Decision) []change.Change {
	key := claimKey(claim.Namespace, claim.Name)
	same := unchanged(claim)
	var changes []change.Change
	if bind := d.Bind; bind != nil {
		changes = append(changes, c.bindVolume(bind, claim, d.New)...)
	}
	changes = append(changes, must(change.Patch(key, func(obj object.Object) bool {
		return editClaim(obj.(*corev1.PersistentVolumeClaim), d)
	}), same), change.PatchStatus(key, func(obj object.Object) bool {
		current := obj.(*corev1.PersistentVolumeClaim)
		if d.Bind == nil {
			current.Status.Phase = d.Phase
			return true
		}
		if current.Status.Phase == corev1.ClaimBound && current.Status.Capacity != nil {
			return false
		}
		current.Status.Phase, current.Status.AccessModes, current.Status.Capacity = corev1.ClaimBound, d.Bind.Spec.AccessModes, d.Bind.Spec.Capacity
		return true
	}))
	return changes
}

// editClaim writes a decision into the claim itself.
func editClaim(claim *corev1.PersistentVolumeClaim, d Decision) bool {
	annotations := maps.Clone(claim.Annotations)
	set := func(name, value string) {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[name] = value
	}
	if d.Class != "" {
		claim.Spec.StorageClassName = &d.Class
	}
	if d.Provisioner != "" {
		set(volume.AnnStorageProvisioner, d.Provisioner)
		set(volume.AnnBetaStorageProvisioner, d.Provisioner)
	}
	if d.Unselect {
		delete(annotations, volume.AnnSelectedNode)
	}
	if d.Bind != nil {
		if claim.Spec.VolumeName == "" {
			claim.Spec.VolumeName = d.Bind.Name
			set(volume.AnnBoundByController, "yes")
		}
		set(volume.AnnBindCompleted, "yes")
	}
	claim.Annotations = annotations
	return true
}

// bindVolume has a volume name the claim, and be bound.
func (c *binder) bindVolume(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim, fresh bool) []change.Change {
	phase := change.PatchStatus(volumeKey(pv.Name), func(obj object.Object) bool {
		s := &obj.(*corev1.PersistentVolume).Status
		if s.Phase == corev1.VolumeBound {
			return false
		}
		s.Phase, s.Message, s.Reason, s.LastPhaseTransitionTime = corev1.VolumeBound, "", "", new(metav1.NewTime(c.Now()))
		return true
	})
	if fresh {
		pv.Spec.ClaimRef = reference(claim)
		return []change.Change{change.Create(pv, c.Now()), phase}
	}
	return []change.Change{must(change.Patch(volumeKey(pv.Name), func(obj object.Object) bool {
		current := obj.(*corev1.PersistentVolume)
		if ref := current.Spec.ClaimRef; ref != nil && ref.UID == claim.UID {
			return false
		}
		if current.Spec.ClaimRef == nil {
			metav1.SetMetaDataAnnotation(&current.ObjectMeta, volume.AnnBoundByController, "yes")
		}
		current.Spec.ClaimRef = reference(claim)
		return true
	}), func(obj object.Object) bool {
		current, ok := obj.(*corev1.PersistentVolume)
		return ok && current.UID == pv.UID && (current.Spec.ClaimRef == nil || volume.IsVolumeBoundToClaim(current, claim))
	}), phase}
}

func reference(claim *corev1.PersistentVolumeClaim) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
	}
}

func (c *binder) volume(ctx context.Context, key object.Key) error {
	pv := control.Get[corev1.PersistentVolume](c.Store, key)
	if pv == nil {
		return nil
	}
	var claim *corev1.PersistentVolumeClaim
	if ref := pv.Spec.ClaimRef; ref != nil {
		claim = control.Get[corev1.PersistentVolumeClaim](c.Store, claimKey(ref.Namespace, ref.Name))
	}
	node, gone := pv.Labels[storage.NodeLabel], false
	if node != "" {
		gone = c.Store.Get(object.Key{GroupKind: control.Node, Name: node}) == nil
	}
	f := DecideVolume(pv, claim, gone)
	var changes []change.Change
	same := unchanged(pv)
	if f.Phase != "" {
		changes = append(changes, must(change.PatchStatus(key, func(obj object.Object) bool {
			s := &obj.(*corev1.PersistentVolume).Status
			if s.Phase != f.Phase {
				s.LastPhaseTransitionTime = new(metav1.NewTime(c.Now()))
			}
			s.Phase, s.Message = f.Phase, f.Message
			return true
		}), same))
		same = func(object.Object) bool { return true }
	}
	if f.Unbind || f.Forget {
		changes = append(changes, must(change.Patch(key, func(obj object.Object) bool {
			release(obj.(*corev1.PersistentVolume), f)
			return true
		}), same))
	}
	if f.Delete {
		changes = append(changes, change.Delete(key, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pv.UID}}, c.Now()))
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("look after %s: %w", key, err)
	}
	if f.Event != nil {
		c.tell(pv, f.Event)
	}
	return nil
}

func release(pv *corev1.PersistentVolume, f Fate) {
	if f.Forget {
		pv.Finalizers = slices.DeleteFunc(slices.Clone(pv.Finalizers), func(name string) bool { return name == storage.LocalFinalizer })
	}
	if !f.Unbind {
		return
	}
	if _, ours := pv.Annotations[volume.AnnBoundByController]; ours {
		delete(pv.Annotations, volume.AnnBoundByController)
		pv.Spec.ClaimRef = nil
	} else {
		pv.Spec.ClaimRef.UID, pv.Spec.ClaimRef.ResourceVersion = "", ""
	}
}

// unchanged reports whether an object is as it was when it was decided about.
func unchanged(obj object.Object) func(object.Object) bool {
	return func(current object.Object) bool {
		return current.GetUID() == obj.GetUID() && current.GetResourceVersion() == obj.GetResourceVersion()
	}
}

// must has a transaction fail, and what it is about looked at again, unless the
// object satisfies is.
func must(ch change.Change, is func(current object.Object) bool) change.Change {
	mutate := ch.Mutate
	ch.Mutate = func(current object.Object) (object.Object, error) {
		if current == nil || !is(current) {
			return nil, apierrors.NewConflict(schema.GroupResource{Resource: ch.Key.Kind}, ch.Key.Name, errChanged)
		}
		return mutate(current)
	}
	return ch
}
