// Package volumes says on which nodes the volumes of a pod's claims are, or can be had.
// It is pure: a State is changed by its caller only, and is not safe for concurrent use.
//
//	State + Pod ──▶ Needs ──▶ Check: a node's refusal, in Kubernetes' words
//	                     └──▶ Bind: what has to be written before the pod is bound
package volumes

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"

	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/podspec"
)

// State is the claims, volumes and classes, and which claims the pods on nodes have.
type State struct {
	claims  map[types.NamespacedName]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
	classes map[string]*storagev1.StorageClass
	// open are the volumes that claims of a class may still be bound to, by name.
	open map[string][]*corev1.PersistentVolume
	// granted are claims that somebody will have bound, wherever.
	granted map[types.NamespacedName]bool
	// users is how many pods on nodes name a claim.
	users map[types.NamespacedName]int
}

// Refusal is why a node cannot have a pod.
type Refusal uint8

// The refusals.
const (
	None Refusal = iota
	// Whole is what Needs.Whole says, of all nodes.
	Whole
	// InUse: another pod has a claim that one pod at a time may have.
	InUse
	// Gone: a claim is bound to a volume that does not exist.
	Gone
	// Elsewhere: a volume cannot be reached from the node.
	Elsewhere
	// NotFound: there is no volume for a claim, and none can be made.
	NotFound
)

// New returns the state of a cluster without claims.
func New() *State {
	return &State{
		claims: map[types.NamespacedName]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{},
		classes: map[string]*storagev1.StorageClass{}, open: map[string][]*corev1.PersistentVolume{}, users: map[types.NamespacedName]int{},
		granted: map[types.NamespacedName]bool{},
	}
}

// SetClaim adds or replaces a claim; RemoveClaim forgets it, and so on.
func (s *State) SetClaim(c *corev1.PersistentVolumeClaim) {
	s.claims[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}] = c
}

// RemoveClaim forgets a claim.
func (s *State) RemoveClaim(c *corev1.PersistentVolumeClaim) {
	delete(s.claims, types.NamespacedName{Namespace: c.Namespace, Name: c.Name})
}

// SetVolume adds or replaces a volume.
func (s *State) SetVolume(pv *corev1.PersistentVolume) {
	s.RemoveVolume(pv.Name)
	s.volumes[pv.Name] = pv
	if pv.Status.Phase == corev1.VolumeBound {
		return
	}
	class := volume.GetPersistentVolumeClass(pv)
	list := s.open[class]
	i, _ := slices.BinarySearchFunc(list, pv.Name, byName)
	s.open[class] = slices.Insert(list, i, pv)
}

func byName(pv *corev1.PersistentVolume, name string) int { return cmp.Compare(pv.Name, name) }

// RemoveVolume forgets a volume.
func (s *State) RemoveVolume(name string) {
	pv := s.volumes[name]
	if pv == nil {
		return
	}
	delete(s.volumes, name)
	class := volume.GetPersistentVolumeClass(pv)
	list := s.open[class]
	if i, found := slices.BinarySearchFunc(list, name, byName); found {
		s.open[class] = slices.Delete(list, i, i+1)
	}
	if len(s.open[class]) == 0 {
		delete(s.open, class)
	}
}

// SetClass adds or replaces a StorageClass.
func (s *State) SetClass(c *storagev1.StorageClass) {
	s.classes[c.Name] = c
}

// RemoveClass forgets a StorageClass.
func (s *State) RemoveClass(name string) {
	delete(s.classes, name)
}

// ClaimsOf are the names of a pod's claims, each once.
func ClaimsOf(pod *corev1.Pod) []string {
	var names []string
	podspec.Claims(pod, func(name string) { names = append(names, name) })
	slices.Sort(names)
	return slices.Compact(names)
}

// Names reports whether a pod has a claim.
func Names(pod *corev1.Pod, claim string) bool {
	found := false
	podspec.Claims(pod, func(name string) { found = found || name == claim })
	return found
}

// Needs is what a pod needs of volumes.
type Needs struct {
	s *State
	// Whole is why no node will do, whatever it has; empty for no reason.
	Whole   string
	bound   []*corev1.PersistentVolume
	unbound []*corev1.PersistentVolumeClaim
	// alone are the claims that one pod at a time may have.
	alone []types.NamespacedName
	gone  bool // a volume that a claim is bound to does not exist
}

// NeedsOf works out what a pod with these claims, which are ClaimsOf it, needs; nil if
// that is nothing. A nil State knows of no need.
func (s *State) NeedsOf(pod *corev1.Pod, claims []string) *Needs {
	if s == nil || len(claims) == 0 {
		return nil
	}
	n := &Needs{s: s}
	refuse := func(format string, args ...any) {
		if n.Whole == "" {
			n.Whole = fmt.Sprintf(format, args...)
		}
	}
	immediate := false
	for _, name := range claims {
		key := types.NamespacedName{Namespace: pod.Namespace, Name: name}
		c, own := s.claims[key], podspec.OwnVolume(pod, name) != nil
		switch {
		case n.s.granted[key]:
			continue
		case c == nil && own:
			refuse("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
			continue
		case c == nil:
			refuse("persistentvolumeclaim %q not found", name)
			continue
		case c.Status.Phase == corev1.ClaimLost:
			refuse("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, c.Spec.VolumeName)
		case c.DeletionTimestamp != nil:
			refuse("persistentvolumeclaim %q is being deleted", name)
		case own:
			if err := ephemeral.VolumeIsForPod(pod, c); err != nil {
				refuse("%s", err)
			}
		}
		if slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod) {
			n.alone = append(n.alone, key)
		}
		switch {
		case isBound(c):
			if pv := s.volumes[c.Spec.VolumeName]; pv != nil {
				n.bound = append(n.bound, pv)
			} else {
				n.gone = true
			}
		case c.Spec.VolumeName == "" && storage.Delays(s.classes[volume.GetPersistentVolumeClaimClass(c)]):
			n.unbound = append(n.unbound, c)
		default:
			immediate = true
		}
	}
	if immediate {
		refuse("pod has unbound immediate PersistentVolumeClaims")
	}
	// Those that ask for less take the smaller volumes.
	slices.SortStableFunc(n.unbound, func(a, b *corev1.PersistentVolumeClaim) int {
		x, y := a.Spec.Resources.Requests[corev1.ResourceStorage], b.Spec.Resources.Requests[corev1.ResourceStorage]
		return x.Cmp(y)
	})
	return n
}

func isBound(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName != "" && c.Annotations[volume.AnnBindCompleted] != ""
}

// Check asks whether the pod's volumes can be had on a node.
func (n *Needs) Check(node *corev1.Node) Refusal {
	if n.Whole != "" {
		return Whole
	}
	for _, key := range n.alone {
		if n.s.users[key] > 0 {
			return InUse
		}
	}
	if n.gone {
		return Gone
	}
	for _, pv := range n.bound {
		if volume.CheckNodeAffinity(pv, node.Labels) != nil {
			return Elsewhere
		}
	}
	if len(n.unbound) > 0 {
		if _, ok := n.Bind(node); !ok {
			return NotFound
		}
	}
	return None
}

// Plan is what has to be written before a pod can be bound to a node.
type Plan struct {
	// Bind has volumes, each with the claim that it is for; Provision are claims of
	// which the node has to be told to who makes their volumes.
	Bind      []Binding
	Provision []*corev1.PersistentVolumeClaim
}

// Binding is a volume for a claim.
type Binding struct {
	Volume *corev1.PersistentVolume
	Claim  *corev1.PersistentVolumeClaim
}

// Empty reports whether all claims have their volumes.
func (p Plan) Empty() bool { return len(p.Bind)+len(p.Provision) == 0 }

// Bind finds a volume on a node for each claim that has none.
func (n *Needs) Bind(node *corev1.Node) (plan Plan, ok bool) {
	taken := map[string]*corev1.PersistentVolume{}
	for _, c := range n.unbound {
		class := volume.GetPersistentVolumeClaimClass(c)
		if selected := c.Annotations[volume.AnnSelectedNode]; selected != "" {
			if selected != node.Name {
				return Plan{}, false
			}
		} else if pv, err := volume.FindMatchingVolume(c, n.s.open[class], node, taken, false, false); err != nil {
			return Plan{}, false
		} else if pv != nil {
			taken[pv.Name] = pv
			plan.Bind = append(plan.Bind, Binding{pv, c})
			continue
		}
		if !provides(n.s.classes[class], node) {
			return Plan{}, false
		}
		plan.Provision = append(plan.Provision, c)
	}
	return plan, true
}

// noProvisioner is that of classes whose volumes people make.
const noProvisioner = "kubernetes.io/no-provisioner"

// provides reports whether volumes of a class can be made on a node.
func provides(class *storagev1.StorageClass, node *corev1.Node) bool {
	switch {
	case class == nil || class.Provisioner == "" || class.Provisioner == noProvisioner || !storage.Allows(class, node.Labels):
		return false
	case class.Provisioner == storage.LocalProvisioner:
		return node.Annotations[storage.VolumesAnnotation] != ""
	}
	return true
}

// Count notes that pods of a namespace with these claims came to nodes, or left them.
func (s *State) Count(namespace string, claims []string, pods int) {
	if s == nil {
		return
	}
	for _, name := range claims {
		key := types.NamespacedName{Namespace: namespace, Name: name}
		if s.users[key] += pods; s.users[key] == 0 {
			delete(s.users, key)
		}
	}
}
