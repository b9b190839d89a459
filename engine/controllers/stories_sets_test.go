package controllers_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
)

// present does something to an object, if there is one.
func (c *cluster) present(ch change.Change) {
	c.t.Helper()
	c.commit(control.Present(ch))
}

// end deletes an object, if there is one.
func (c *cluster) end(key object.Key) {
	c.t.Helper()
	c.present(change.Delete(key, metav1.DeleteOptions{}, time.Now()))
}

// discard says that data of volumes are gone which nobody claims any more, as nodes do.
func (c *cluster) discard() {
	objs, _ := c.store.List(control.PersistentVolume, "")
	for _, obj := range objs {
		pv := obj.(*corev1.PersistentVolume)
		if pv.DeletionTimestamp != nil && pv.Status.Phase != corev1.VolumeBound && slices.Contains(pv.Finalizers, storage.LocalFinalizer) {
			c.present(change.Patch(volumeKey(pv.Name), func(obj object.Object) bool {
				obj.SetFinalizers(slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool { return f == storage.LocalFinalizer }))
				return true
			}))
		}
	}
}

// volumesFit: no two claims have one volume, and no volume that was made is left over.
func (c *cluster) volumesFit() error {
	objs, _ := c.store.List(control.PersistentVolume, "")
	for _, obj := range objs {
		pv := obj.(*corev1.PersistentVolume)
		if ref := pv.Spec.ClaimRef; slices.Contains(pv.Finalizers, storage.LocalFinalizer) {
			if claim := c.claim(ref.Name); claim == nil || claim.UID != ref.UID || claim.Spec.VolumeName != pv.Name {
				return fmt.Errorf("volume %s is left of claim %s", pv.Name, ref.Name)
			}
		}
	}
	return c.claimedOnce()
}

func (c *cluster) claimedOnce() error {
	claimed := map[string]string{}
	objs, _ := c.store.List(control.PersistentVolumeClaim, "")
	for _, obj := range objs {
		name := obj.(*corev1.PersistentVolumeClaim).Spec.VolumeName
		if other := claimed[name]; name != "" && other != "" {
			return fmt.Errorf("claims %s and %s are both bound to %s", other, obj.GetName(), name)
		}
		claimed[name] = obj.GetName()
	}
	return nil
}

// quiet lets nodes be silent, and forgets at once those that are gone.
func quiet(cfg *controllers.Config) { cfg.NodeGrace, cfg.NodeGone = 24*time.Hour, time.Millisecond }

func deleteOneOf(app string) act {
	return func(c *cluster, t *rapid.T) {
		if pods := c.appPods(app); len(pods) > 0 {
			c.end(object.KeyOf(control.Pod, pods[rapid.IntRange(0, 9).Draw(t, "pod")%len(pods)]))
		}
	}
}

func statefulSetStory() story {
	policies := rapid.SampledFrom([]appsv1.PersistentVolumeClaimRetentionPolicyType{keep, drop})
	// A pod that is gone before it is too many leaves its claim, as in Kubernetes: nothing
	// tells then whose it was.
	leaves := false
	return story{
		edit: quiet,
		begin: func(c *cluster, t *rapid.T) {
			leaves = false
			create(claimingSet(3, retention(policies.Draw(t, "when scaled"), keep), func(set *appsv1.StatefulSet) {
				if rapid.Bool().Draw(t, "parallel") {
					set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
				}
			}))(c, t)
		},
		acts: map[string]act{
			"scale": func(c *cluster, t *rapid.T) {
				n := rapid.Int32Range(0, 4).Draw(t, "replicas")
				edit(c, statefulSetKey, func(set *appsv1.StatefulSet) { set.Spec.Replicas = &n })
			},
			"roll": func(c *cluster, t *rapid.T) {
				image := "example/web:" + strconv.Itoa(rapid.IntRange(1, 3).Draw(t, "image"))
				leaves = true
				edit(c, statefulSetKey, func(set *appsv1.StatefulSet) { set.Spec.Template.Spec.Containers[0].Image = image })
			},
			"change the policy": func(c *cluster, t *rapid.T) {
				policy := policies.Draw(t, "when deleted")
				edit(c, statefulSetKey, func(set *appsv1.StatefulSet) {
					set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted = policy
				})
			},
			"delete a pod": func(c *cluster, t *rapid.T) {
				leaves = true
				deleteOneOf("db")(c, t)
			},
		},
		always: func(c *cluster) error { return c.claimedOnce() },
		settled: func(c *cluster) error {
			c.discard()
			set := c.statefulSet()
			n, s := *set.Spec.Replicas, set.Status
			if s.ObservedGeneration != set.Generation || s.Replicas != n || s.AvailableReplicas != n || s.UpdatedReplicas != n || s.CurrentRevision != s.UpdateRevision || *s.CollisionCount != 0 {
				return fmt.Errorf("db asks for %d and has the status %+v", n, s)
			}
			policy := set.Spec.PersistentVolumeClaimRetentionPolicy
			want, claims := map[string]bool{}, map[string]bool{}
			for i := range n {
				want[fmt.Sprint("db-", i)], claims[fmt.Sprint("data-db-", i)] = true, true
				claim := c.claim(fmt.Sprint("data-db-", i))
				if claim == nil || claim.Status.Phase != corev1.ClaimBound {
					return fmt.Errorf("claim %d is %+v", i, claim)
				}
				if owned := metav1.IsControlledBy(claim, set); owned != (policy.WhenDeleted == drop) || len(claim.OwnerReferences) > 1 {
					return fmt.Errorf("claim %d has the owners %v", i, claim.OwnerReferences)
				}
			}
			for _, pod := range c.appPods("db") {
				if !want[pod.Name] || pod.Spec.Containers[0].Image != set.Spec.Template.Spec.Containers[0].Image {
					return fmt.Errorf("there is pod %s of %s", pod.Name, pod.Spec.Containers[0].Image)
				}
				delete(want, pod.Name)
			}
			if len(want) > 0 {
				return fmt.Errorf("there are no pods %v", slices.Collect(maps.Keys(want)))
			}
			for name := range c.claims() {
				if owned := len(c.claim(name).OwnerReferences); !claims[name] && policy.WhenScaled == drop && (!leaves || owned > 0 && policy.WhenDeleted == keep) {
					return fmt.Errorf("claim %s is left", name)
				}
			}
			return c.volumesFit()
		},
	}
}

func daemonSetStory() story {
	taint := func(taints ...corev1.Taint) act {
		return func(c *cluster, _ *rapid.T) {
			edit(c, object.Key{GroupKind: control.Node, Name: "node-00"}, func(n *corev1.Node) {
				n.Spec.Taints = append(slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Key == "example.com/no" }), taints...)
			})
		}
	}
	return story{
		edit:  quiet,
		begin: create(newDaemonSet()),
		acts: map[string]act{
			"add a node": func(c *cluster, t *rapid.T) {
				name := fmt.Sprint("more-", rapid.IntRange(0, 2).Draw(t, "node"))
				if c.store.Get(object.Key{GroupKind: control.Node, Name: name}) == nil {
					c.node(name)
				}
			},
			"remove a node": func(c *cluster, t *rapid.T) {
				c.end(object.Key{GroupKind: control.Node, Name: fmt.Sprint("more-", rapid.IntRange(0, 2).Draw(t, "node"))})
			},
			"taint a node": taint(corev1.Taint{Key: "example.com/no", Effect: corev1.TaintEffectNoExecute}), "let it be": taint(),
			"roll": func(c *cluster, t *rapid.T) {
				image := "example/web:" + strconv.Itoa(rapid.IntRange(1, 3).Draw(t, "image"))
				edit(c, daemonSetKey, func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Image = image })
			},
			"delete a pod": deleteOneOf("log"),
		},
		settled: func(c *cluster) error {
			ds := c.daemonSet()
			image := strings.TrimPrefix(ds.Spec.Template.Spec.Containers[0].Image, "example/")
			var want []string
			objs, _ := c.store.List(control.Node, "")
			for _, obj := range objs {
				if !slices.ContainsFunc(obj.(*corev1.Node).Spec.Taints, func(t corev1.Taint) bool { return t.Key == "example.com/no" }) {
					want = append(want, obj.GetName()+"="+image)
				}
			}
			n, s := int32(len(want)), ds.Status
			if got := c.onNodes(); got != strings.Join(want, " ") {
				return fmt.Errorf("pods are on %s, want %v", got, want)
			}
			if s.ObservedGeneration != ds.Generation || s.DesiredNumberScheduled != n || s.CurrentNumberScheduled != n || s.UpdatedNumberScheduled != n || s.NumberAvailable != n || s.NumberMisscheduled != 0 || s.CollisionCount != nil && *s.CollisionCount != 0 {
				return fmt.Errorf("log is for %d nodes and has the status %+v", n, s)
			}
			return nil
		},
	}
}

func volumesStory() story {
	const most = 3
	number := func(t *rapid.T) int { return rapid.IntRange(1, most).Draw(t, "number") }
	data, db := func(i int) string { return fmt.Sprint("data-", i) }, func(i int) string { return fmt.Sprint("db-", i) }
	missing := func(c *cluster, key object.Key, obj object.Object) {
		if c.store.Get(key) == nil {
			c.create(obj)
		}
	}
	made := 0
	return story{
		edit:  quiet,
		begin: func(*cluster, *rapid.T) {},
		acts: map[string]act{
			"claim": func(c *cluster, t *rapid.T) {
				i := number(t)
				// The class is there before anybody asks for it.
				missing(c, claimKey(data(i)), newClaim(data(i), "1Gi", ofClass(storage.LocalClass)))
			},
			"use it":         func(c *cluster, t *rapid.T) { i := number(t); missing(c, podKey(db(i)), claiming(db(i), data(i))) },
			"use it no more": func(c *cluster, t *rapid.T) { c.end(podKey(db(number(t)))) },
			"claim no more":  func(c *cluster, t *rapid.T) { c.end(claimKey(data(number(t)))) },
			"have one of its own": func(c *cluster, t *rapid.T) {
				name := fmt.Sprint("own-", number(t))
				missing(c, podKey(name), scratching(name))
			},
			"have none": func(c *cluster, t *rapid.T) { c.end(podKey(fmt.Sprint("own-", number(t)))) },
			"claim a disk": func(c *cluster, t *rapid.T) {
				i := number(t)
				missing(c, claimKey(fmt.Sprint("disk-", i)), newClaim(fmt.Sprint("disk-", i), "1Gi", ofClass("disks")))
			},
			"give a disk back": func(c *cluster, t *rapid.T) { c.end(claimKey(fmt.Sprint("disk-", number(t)))) },
			"bring a disk": func(c *cluster, _ *rapid.T) {
				made++
				c.create(newVolume(fmt.Sprint("disk-", made), "1Gi", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "disks" }))
			},
		},
		always: func(c *cluster) error { return c.claimedOnce() },
		settled: func(c *cluster) error {
			c.discard()
			free, waiting := 0, 0
			for i := 1; i <= most; i++ {
				claim, pod := c.claim(data(i)), c.pod(db(i))
				switch {
				case claim != nil && claim.DeletionTimestamp != nil && pod != nil:
					c.end(podKey(db(i)))
					return fmt.Errorf("claim %d waits for its pod", i)
				case claim != nil && pod != nil && (claim.Status.Phase != corev1.ClaimBound || !control.Ready(pod)):
					return fmt.Errorf("claim %d is %s, its pod %+v", i, claim.Status.Phase, pod.Status)
				}
				own := fmt.Sprint("own-", i)
				switch claim, pod := c.claim(own+"-data"), c.pod(own); {
				case pod == nil && claim != nil:
					return fmt.Errorf("the claim of %s is left", own)
				case pod != nil && (claim == nil || !metav1.IsControlledBy(claim, pod) || claim.Status.Phase != corev1.ClaimBound || !control.Ready(pod)):
					return fmt.Errorf("%s is %+v, its claim %+v", own, pod.Status, claim)
				}
				if disk := c.claim(fmt.Sprint("disk-", i)); disk != nil && disk.Status.Phase == corev1.ClaimPending {
					waiting++
				}
			}
			objs, _ := c.store.List(control.PersistentVolume, "")
			for _, obj := range objs {
				pv := obj.(*corev1.PersistentVolume)
				claim := (*corev1.PersistentVolumeClaim)(nil)
				if ref := pv.Spec.ClaimRef; ref != nil {
					claim = c.claim(ref.Name)
				}
				switch pv.Status.Phase {
				case corev1.VolumeAvailable:
					free++
				case corev1.VolumeBound:
					if claim == nil || claim.UID != pv.Spec.ClaimRef.UID || claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName != pv.Name {
						return fmt.Errorf("volume %s is bound, the claim is %+v", pv.Name, claim)
					}
				case corev1.VolumeReleased:
					if claim != nil && claim.UID == pv.Spec.ClaimRef.UID {
						return fmt.Errorf("volume %s is released, and its claim is there", pv.Name)
					}
				default:
					return fmt.Errorf("volume %s is %s", pv.Name, pv.Status.Phase)
				}
			}
			if free > 0 && waiting > 0 {
				return fmt.Errorf("%d claims wait, and %d volumes are free", waiting, free)
			}
			return c.volumesFit()
		},
	}
}
