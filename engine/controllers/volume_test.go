package controllers_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
)

func claimKey(name string) object.Key {
	return object.Key{GroupKind: control.PersistentVolumeClaim, Namespace: "default", Name: name}
}

func volumeKey(name string) object.Key {
	return object.Key{GroupKind: control.PersistentVolume, Name: name}
}

func podKey(name string) object.Key {
	return object.Key{GroupKind: control.Pod, Namespace: "default", Name: name}
}

func (c *cluster) claim(name string) *corev1.PersistentVolumeClaim {
	return control.Get[corev1.PersistentVolumeClaim](c.store, claimKey(name))
}

func (c *cluster) volume(name string) *corev1.PersistentVolume {
	return control.Get[corev1.PersistentVolume](c.store, volumeKey(name))
}

func (c *cluster) pod(name string) *corev1.Pod {
	return control.Get[corev1.Pod](c.store, podKey(name))
}

func newClaim(name, size string, edit ...func(*corev1.PersistentVolumeClaimSpec)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse(size)}},
	}}
	for _, e := range edit {
		e(&c.Spec)
	}
	return c
}

// newVolume is a volume on the disks of all nodes, of no class.
func newVolume(name, size string, edit ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Capacity:               corev1.ResourceList{"storage": resource.MustParse(size)},
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv/" + name}},
	}}
	for _, e := range edit {
		e(v)
	}
	return v
}

// claiming is a pod with a claim.
func claiming(name, claim string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "main", Image: "example/web:1", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}}},
	}}
}

func ofClass(name string) func(*corev1.PersistentVolumeClaimSpec) {
	return func(s *corev1.PersistentVolumeClaimSpec) { s.StorageClassName = &name }
}

func (c *cluster) create(objs ...object.Object) {
	c.t.Helper()
	for _, obj := range objs {
		c.commit(change.Create(obj, time.Now()))
	}
}

func (c *cluster) remove(key object.Key) {
	c.t.Helper()
	c.commit(change.Delete(key, metav1.DeleteOptions{}, time.Now()))
}

// bound waits until a claim is bound, and returns its volume.
func (c *cluster) bound(claim string) *corev1.PersistentVolume {
	c.t.Helper()
	var pv *corev1.PersistentVolume
	c.eventually("claim "+claim+" to be bound", func() bool {
		got := c.claim(claim)
		if got == nil || got.Status.Phase != corev1.ClaimBound {
			return false
		}
		pv = c.volume(got.Spec.VolumeName)
		return pv != nil && pv.Status.Phase == corev1.VolumeBound
	})
	return pv
}

// unscheduled waits until a pod is pending for a reason.
func (c *cluster) unscheduled(pod, message string) {
	c.t.Helper()
	c.eventually(pod+" to be pending: "+message, func() bool {
		p := c.pod(pod)
		if p == nil {
			return false
		}
		cond := control.PodCondition(p, corev1.PodScheduled)
		return cond != nil && cond.Status == corev1.ConditionFalse && strings.Contains(cond.Message, message)
	})
}

// A claim of the default class gets a volume on the node of its first pod; it stays as
// long as the pod uses it, and its volume until the node has removed the data.
func TestDefaultClass(t *testing.T) {
	c := start(t, 2)
	c.eventually("the default class", func() bool {
		return c.store.Get(object.Key{GroupKind: control.StorageClass, Name: storage.LocalClass}) != nil
	})
	c.create(claiming("early", "data"))
	c.unscheduled("early", `0/2 nodes are available: persistentvolumeclaim "data" not found.`)
	c.remove(podKey("early"))
	c.create(newClaim("data", "1Gi"))
	c.told("PersistentVolumeClaim", "data", "WaitForFirstConsumer: waiting for first consumer to be created before binding")
	claim := c.claim("data")
	if got := claim.Spec.StorageClassName; got == nil || *got != storage.LocalClass || claim.Status.Phase != corev1.ClaimPending ||
		!slices.Contains(claim.Finalizers, "kubernetes.io/pvc-protection") {
		t.Errorf("claim: class %v, phase %s, finalizers %q", got, claim.Status.Phase, claim.Finalizers)
	}

	c.create(claiming("db", "data"))
	c.eventually("the pod to be ready", func() bool { p := c.pod("db"); return p != nil && control.Ready(p) })
	pv, pod := c.bound("data"), c.pod("db")
	claim = c.claim("data")
	if want := "pvc-" + string(claim.UID); pv.Name != want || pv.Spec.Local == nil || pv.Spec.Local.Path != "/var/lib/headway/volumes/"+want {
		t.Errorf("volume %s with source %+v, want %s", pv.Name, pv.Spec.PersistentVolumeSource, want)
	}
	if got := pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values; !slices.Equal(got, []string{pod.Spec.NodeName}) || pv.Labels[storage.NodeLabel] != pod.Spec.NodeName {
		t.Errorf("the volume is on %q and %q, its pod on %s", got, pv.Labels[storage.NodeLabel], pod.Spec.NodeName)
	}
	for name, want := range map[string]string{
		"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
		"volume.kubernetes.io/selected-node": pod.Spec.NodeName, "volume.kubernetes.io/storage-provisioner": storage.LocalProvisioner,
	} {
		if got := claim.Annotations[name]; got != want {
			t.Errorf("annotation %s of the claim: got %q, want %q", name, got, want)
		}
	}
	if got := claim.Status.Capacity["storage"]; got.String() != "1Gi" || !slices.Equal(claim.Status.AccessModes, claim.Spec.AccessModes) {
		t.Errorf("status: got %+v", claim.Status)
	}
	c.told("PersistentVolumeClaim", "data", "ProvisioningSucceeded: Successfully provisioned volume "+pv.Name)
	unused := func(is corev1.ConditionStatus, reason string) {
		t.Helper()
		c.eventually(reason, func() bool {
			conditions := c.claim("data").Status.Conditions
			return len(conditions) == 1 && conditions[0].Type == corev1.PersistentVolumeClaimUnused && conditions[0].Status == is && conditions[0].Reason == reason
		})
	}
	unused(corev1.ConditionFalse, "PodUsingPVC")

	// The next pod goes where the data are.
	c.remove(podKey("db"))
	c.eventually("the pod to be gone", func() bool { return c.pod("db") == nil })
	unused(corev1.ConditionTrue, "NoPodsUsingPVC")
	c.create(claiming("db2", "data"))
	c.eventually("the next pod to be ready", func() bool { p := c.pod("db2"); return p != nil && control.Ready(p) })
	if got := c.pod("db2").Spec.NodeName; got != pod.Spec.NodeName {
		t.Errorf("the next pod is on %s, its data on %s", got, pod.Spec.NodeName)
	}

	c.remove(claimKey("data"))
	c.create(claiming("late", "data"))
	c.unscheduled("late", `persistentvolumeclaim "data" is being deleted`)
	// A pod that has ended is one, too.
	c.commit(change.PatchStatus(podKey("db2"), func(obj object.Object) bool {
		obj.(*corev1.Pod).Status.Phase = corev1.PodSucceeded
		return true
	}))
	c.create(claiming("latest", "data"))
	c.unscheduled("latest", `persistentvolumeclaim "data" is being deleted`)
	if c.claim("data") == nil {
		t.Error("a claim is gone that a pod uses")
	}
	c.remove(podKey("db2"))
	c.eventually("the claim to be gone, and its volume to wait for the node", func() bool {
		pv := c.volume(pv.Name)
		return c.claim("data") == nil && pv.DeletionTimestamp != nil && pv.Status.Phase == corev1.VolumeReleased && slices.Equal(pv.Finalizers, []string{storage.LocalFinalizer})
	})
	c.commit(change.Patch(volumeKey(pv.Name), func(obj object.Object) bool { obj.SetFinalizers(nil); return true }))
	c.eventually("the volume to be gone", func() bool { return c.volume(pv.Name) == nil })
}

// Who removes the data of a node that is gone for good has nothing to wait for.
func TestVolumeOfNodeThatIsGone(t *testing.T) {
	c := start(t, 1, func(cfg *controllers.Config) { cfg.NodeGone = time.Millisecond })
	c.create(newClaim("data", "1Gi"), claiming("db", "data"))
	pv := c.bound("data")
	c.eventually("the pod to be ready", func() bool { return control.Ready(c.pod("db")) })
	c.remove(object.Key{GroupKind: control.Node, Name: "node-00"})
	c.eventually("the pod to be gone", func() bool { return c.pod("db") == nil })
	if c.volume(pv.Name) == nil || c.claim("data").Status.Phase != corev1.ClaimBound {
		t.Error("the volume did not outlive its node")
	}
	c.remove(claimKey("data"))
	c.eventually("the volume to be gone", func() bool { return c.volume(pv.Name) == nil })
}

// Claims without a class take the smallest volume that has what they ask for, or the
// one that they name.
func TestStaticVolumes(t *testing.T) {
	c := start(t, 1)
	none := ofClass("")
	c.create(newClaim("first", "2Gi", none))
	c.told("PersistentVolumeClaim", "first", "FailedBinding: no persistent volumes available for this claim and no storage class is set")
	c.create(
		newVolume("small", "1Gi"), newVolume("other", "3Gi", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "other" }),
		newVolume("many", "4Gi", func(v *corev1.PersistentVolume) {
			v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		}),
		newVolume("kept", "2Gi", func(v *corev1.PersistentVolume) {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "third"}
		}),
		newVolume("big", "9Gi", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"disk": "fast"} }),
	)
	if got := c.bound("first").Name; got != "big" {
		t.Errorf("the first claim is bound to %s", got)
	}
	c.create(newVolume("fit", "2Gi"))
	c.create(newClaim("second", "2Gi", none), newClaim("third", "1Gi", none))
	if second, third := c.bound("second").Name, c.bound("third").Name; second != "fit" || third != "kept" {
		t.Errorf("the claims are bound to %s and %s, want fit and kept", second, third)
	}
	c.create(newClaim("named", "1Gi", none, func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeName = "many" }))
	c.told("PersistentVolumeClaim", "named", `VolumeMismatch: Cannot bind to requested volume "many": incompatible accessMode`)
	c.create(newClaim("taken", "1Gi", none, func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeName = "fit" }))
	c.told("PersistentVolumeClaim", "taken", `FailedBinding: volume "fit" already bound to a different claim.`)
	c.create(newVolume("fast", "1Gi", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"disk": "fast"} }))
	c.create(newClaim("quick", "1Gi", none, func(s *corev1.PersistentVolumeClaimSpec) {
		s.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "fast"}}
	}))
	if got := c.bound("quick").Name; got != "fast" {
		t.Errorf("the claim with a selector is bound to %s", got)
	}
	// A volume that is retained stays as it is, for somebody to look at its data.
	c.remove(claimKey("first"))
	c.eventually("the volume to be released", func() bool { return c.volume("big").Status.Phase == corev1.VolumeReleased })
	// What somebody says of it stays.
	c.commit(change.PatchStatus(volumeKey("big"), func(obj object.Object) bool {
		obj.(*corev1.PersistentVolume).Status.Message = "look at it"
		return true
	}))
	c.create(newVolume("another", "1Gi", func(v *corev1.PersistentVolume) {
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
	}))
	c.create(newClaim("brief", "1Gi", none, func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeName = "another" }))
	c.bound("brief")
	c.remove(claimKey("brief"))
	c.told("PersistentVolume", "another", `VolumeFailedDelete: error getting deleter volume plugin for volume "another": no deletable volume plugin matched`)
	c.commit(change.Patch(volumeKey("another"), func(obj object.Object) bool {
		obj.(*corev1.PersistentVolume).Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		return true
	}))
	// A volume that is being deleted is nobody's any more.
	c.create(newVolume("leaving", "1Gi", func(v *corev1.PersistentVolume) { v.Finalizers = []string{"example.com/held"} }))
	c.remove(volumeKey("leaving"))
	c.create(newClaim("late", "1Gi", none, func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeName = "leaving" }))
	c.told("PersistentVolumeClaim", "late", `VolumeMismatch: Cannot bind to requested volume "leaving": the volume is marked for deletion "leaving"`)
	if big, another := c.volume("big").Status, c.volume("another").Status; big.Message != "look at it" || another.Phase != corev1.VolumeFailed {
		t.Errorf("statuses: %+v, %+v", big, another)
	}
	// A volume that is gone is told of.
	c.remove(volumeKey("fast"))
	c.eventually("the volume to be held", func() bool { v := c.volume("fast"); return v != nil && v.DeletionTimestamp != nil })
	c.commit(change.Patch(volumeKey("fast"), func(obj object.Object) bool { obj.SetFinalizers(nil); return true }))
	c.told("PersistentVolumeClaim", "quick", "ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	c.create(claiming("pod", "quick"))
	c.unscheduled("pod", `persistentvolumeclaim "quick" bound to non-existent persistentvolume "fast"`)
}

// Volumes that are there and wait for the first pod are chosen with its node.
func TestDelayedStaticVolumes(t *testing.T) {
	c := start(t, 3)
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "disks"}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer)}
	c.create(class, newClaim("data", "1Gi", ofClass("disks")), claiming("db", "data"))
	c.unscheduled("db", "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.")
	c.create(newVolume("disk", "1Gi", func(v *corev1.PersistentVolume) {
		v.Spec.StorageClassName = "disks"
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/mnt/disk"}}
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"node-02"}}},
		}}}}
	}))
	if got := c.bound("data").Name; got != "disk" {
		t.Errorf("the claim is bound to %s", got)
	}
	c.eventually("the pod to have the node of its disk", func() bool { return c.pod("db").Spec.NodeName == "node-02" })
	stray := claiming("stray", "data")
	stray.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "node-01"}
	c.create(stray)
	c.unscheduled("stray", "1 node(s) didn't match PersistentVolume's node affinity, 2 node(s) didn't match Pod's node affinity/selector.")
}

// A claim for one pod at a time has its second wait for the first.
func TestReadWriteOncePod(t *testing.T) {
	c := start(t, 2)
	c.create(newClaim("data", "1Gi", func(s *corev1.PersistentVolumeClaimSpec) {
		s.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	}), claiming("one", "data"))
	c.eventually("the first pod to be ready", func() bool { return control.Ready(c.pod("one")) })
	c.create(claiming("two", "data"))
	c.unscheduled("two", "2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.")
	c.remove(podKey("one"))
	c.eventually("the second pod to be ready", func() bool { return control.Ready(c.pod("two")) })
}

// scratching is a pod with a claim of its own.
func scratching(name string) *corev1.Pod {
	p := claiming(name, "")
	p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"kind": "scratch"}, Annotations: map[string]string{"a": "b"}},
		Spec:       newClaim("", "1Gi", ofClass(storage.LocalClass)).Spec,
	}}}
	return p
}

// A pod's own claim is made for it, belongs to it, and goes with it; somebody else's claim
// of that name is not taken for it.
func TestEphemeralVolumes(t *testing.T) {
	c := start(t, 1)
	c.create(scratching("db"))
	c.eventually("the pod to be ready", func() bool { return control.Ready(c.pod("db")) })
	claim, pod := c.claim("db-data"), c.pod("db")
	if !metav1.IsControlledBy(claim, pod) || claim.Labels["kind"] != "scratch" || claim.Annotations["a"] != "b" || claim.Status.Phase != corev1.ClaimBound {
		t.Errorf("the claim is %+v", claim)
	}
	c.remove(podKey("db"))
	c.eventually("the claim to go", func() bool { return c.claim("db-data") == nil })
	c.eventually("the volume to be given up", func() bool {
		pv := c.volume(claim.Spec.VolumeName)
		return pv == nil || pv.DeletionTimestamp != nil
	})

	// A pod that goes after what belongs to it does not wait for a claim that waits for it.
	c.create(scratching("last"))
	c.eventually("the pod to be ready", func() bool { return control.Ready(c.pod("last")) })
	foreground := metav1.DeletePropagationForeground
	c.commit(change.Delete(podKey("last"), metav1.DeleteOptions{PropagationPolicy: &foreground}, time.Now()))
	c.eventually("both to go", func() bool { return c.pod("last") == nil && c.claim("last-data") == nil })

	c.create(newClaim("web-data", "1Gi"), scratching("web"))
	const foreign = "PVC default/web-data was not created for pod default/web (pod is not owner)"
	c.unscheduled("web", foreign)
	c.told("Pod", "web", "FailedBinding: ephemeral volume data: "+foreign)
	c.remove(claimKey("web-data"))
	c.eventually("the pod to be ready, with its own", func() bool { return control.Ready(c.pod("web")) })
}

// A claim that was there before there was a default class gets it.
func TestLateDefaultClass(t *testing.T) {
	c := start(t, 1)
	key := object.Key{GroupKind: control.StorageClass, Name: storage.LocalClass}
	c.commit(change.Patch(key, func(obj object.Object) bool { obj.SetAnnotations(nil); return true }))
	c.create(newClaim("data", "1Gi"))
	c.told("PersistentVolumeClaim", "data", "FailedBinding: no persistent volumes available for this claim and no storage class is set")
	c.commit(change.Patch(key, func(obj object.Object) bool {
		obj.SetAnnotations(map[string]string{storage.DefaultClassAnnotation: "true"})
		return true
	}))
	c.eventually("the claim to have the class", func() bool {
		name := c.claim("data").Spec.StorageClassName
		return name != nil && *name == storage.LocalClass
	})
	c.create(claiming("db", "data"))
	c.bound("data")
}

// Claims and volumes that come in any order end in the same state: no volume has two
// claims, no claim two volumes, and as many are bound as can be.
func TestBindingInAnyOrder(t *testing.T) {
	c := start(t, 1)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		class := fmt.Sprintf("round-%d", round)
		sizes := rapid.SliceOfN(rapid.IntRange(1, 3), 1, 5)
		var objs []object.Object
		volumes, claims := sizes.Draw(t, "volumes"), sizes.Draw(t, "claims")
		for i, size := range volumes {
			objs = append(objs, newVolume(fmt.Sprintf("%s-v%d", class, i), fmt.Sprintf("%dGi", size), func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = class }))
		}
		for i, size := range claims {
			objs = append(objs, newClaim(fmt.Sprintf("%s-c%d", class, i), fmt.Sprintf("%dGi", size), ofClass(class)))
		}
		for _, obj := range rapid.Permutation(objs).Draw(t, "order") {
			c.create(obj)
		}
		var said string
		c.eventually("claims and volumes to come to rest", func() bool { said = c.unsettled(class, len(volumes), len(claims)); return said == "" })
		// Of those that are bound, half are given up; the volumes stay with them.
		given := map[string]bool{}
		for i := range claims {
			name := fmt.Sprintf("%s-c%d", class, i)
			if got := c.claim(name); got.Status.Phase == corev1.ClaimBound && rapid.Bool().Draw(t, "give up") {
				given[got.Spec.VolumeName] = true
				c.remove(claimKey(name))
			}
		}
		c.eventually("volumes to be released", func() bool {
			for name := range given {
				if pv := c.volume(name); pv == nil || pv.Status.Phase != corev1.VolumeReleased {
					return false
				}
			}
			return true
		})
	})
}

// unsettled tells why what is of a class is not at rest.
func (c *cluster) unsettled(class string, volumes, claims int) string {
	holder := map[string]string{}
	var free, waiting []int64
	for i := range volumes {
		pv := c.volume(fmt.Sprintf("%s-v%d", class, i))
		size := pv.Spec.Capacity["storage"]
		switch pv.Status.Phase {
		case corev1.VolumeBound:
			holder[pv.Name] = pv.Spec.ClaimRef.Name
		case corev1.VolumeAvailable:
			free = append(free, size.Value())
		default:
			return "volume " + pv.Name + " is " + string(pv.Status.Phase)
		}
	}
	for i := range claims {
		claim := c.claim(fmt.Sprintf("%s-c%d", class, i))
		size := claim.Spec.Resources.Requests["storage"]
		switch {
		case claim.Status.Phase == corev1.ClaimPending && claim.Spec.VolumeName == "":
			waiting = append(waiting, size.Value())
		case claim.Status.Phase == corev1.ClaimBound && holder[claim.Spec.VolumeName] == claim.Name:
			delete(holder, claim.Spec.VolumeName)
		default:
			return fmt.Sprintf("claim %s: %s to %q, which %q has", claim.Name, claim.Status.Phase, claim.Spec.VolumeName, holder[claim.Spec.VolumeName])
		}
	}
	for _, size := range waiting {
		if slices.ContainsFunc(free, func(has int64) bool { return has >= size }) {
			return fmt.Sprintf("a claim of %d waits, and volumes of %v are free", size, free)
		}
	}
	if len(holder) > 0 {
		return fmt.Sprintf("volumes without their claims: %v", slices.Collect(maps.Keys(holder)))
	}
	return ""
}
