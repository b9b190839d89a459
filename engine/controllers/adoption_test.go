package controllers_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// TestAdoption: whose pod is left without an owner takes it back, and whose pod is no
// longer meant by the selector lets it go, and has another one in its place.
func TestAdoption(t *testing.T) {
	c := start(t, 1)
	template := newDeployment("x", 1).Spec.Template
	labelled := func(name string) (*metav1.LabelSelector, corev1.PodTemplateSpec) {
		own := *template.DeepCopy()
		own.Labels = map[string]string{"app": name}
		return &metav1.LabelSelector{MatchLabels: own.Labels}, own
	}
	own := func(name string) []*corev1.Pod {
		return slices.DeleteFunc(c.appPods(name), func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	}
	edit := func(pod *corev1.Pod, edit func(*corev1.Pod)) {
		t.Helper()
		c.commit(change.Patch(object.KeyOf(control.Pod, pod), func(obj object.Object) bool { edit(obj.(*corev1.Pod)); return true }))
	}
	for _, owner := range []object.Object{
		func() object.Object {
			rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "replicaset"}}
			rs.Spec.Replicas = new(int32(2))
			rs.Spec.Selector, rs.Spec.Template = labelled(rs.Name)
			return rs
		}(),
		func() object.Object {
			set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "statefulset"}}
			set.Spec.Replicas, set.Spec.PodManagementPolicy = new(int32(2)), appsv1.ParallelPodManagement
			set.Spec.Selector, set.Spec.Template = labelled(set.Name)
			return set
		}(),
		func() object.Object {
			j := newJob("job", 2, 2)
			_, j.Spec.Template = labelled(j.Name)
			j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
			return j
		}(),
		func() object.Object {
			ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "daemonset"}}
			ds.Spec.Selector, ds.Spec.Template = labelled(ds.Name)
			return ds
		}(),
	} {
		t.Run(owner.GetName(), func(t *testing.T) {
			name := owner.GetName()
			n := 2
			if name == "daemonset" {
				n = 1
			}
			if name == "replicaset" { // one is there already
				_, own := labelled(name)
				c.commit(change.Create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: own.Labels}, Spec: own.Spec}, time.Now()))
			}
			c.commit(change.Create(owner, time.Now()))
			whole := func() bool {
				pods := own(name)
				return len(pods) == n && !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !metav1.IsControlledBy(p, owner) || !control.Ready(p) })
			}
			c.eventually("its pods", whole)
			if name == "replicaset" && !slices.ContainsFunc(own(name), func(p *corev1.Pod) bool { return p.Name == "orphan" }) {
				t.Error("the pod that was there was not adopted")
			}
			orphan := own(name)[0]
			edit(orphan, func(p *corev1.Pod) { p.OwnerReferences = nil })
			c.eventually("the orphan to be adopted", func() bool {
				p := control.Get[corev1.Pod](c.store, object.KeyOf(control.Pod, orphan))
				return p != nil && p.UID == orphan.UID && metav1.IsControlledBy(p, owner) && whole()
			})
			edit(orphan, func(p *corev1.Pod) { p.Labels = map[string]string{"app": "free"} })
			c.eventually("the pod to be let go", func() bool {
				p := control.Get[corev1.Pod](c.store, object.KeyOf(control.Pod, orphan))
				if p == nil || p.UID != orphan.UID || len(p.OwnerReferences) > 0 || slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
					return false
				}
				return name == "statefulset" || whole()
			})
			c.commit(change.Delete(object.KeyOf(control.Pod, orphan), metav1.DeleteOptions{}, time.Now()))
			c.eventually("another one in its place", whole) // a StatefulSet's has its name
		})
	}
}

// TestDeleteForegroundOfTwoOwners: a dependent that another owner has, too, stays when one
// is deleted in the foreground, and does not keep that from going.
func TestDeleteForegroundOfTwoOwners(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Create(newController("web", 4), time.Now()), change.Create(newController("other", 0), time.Now()))
	c.eventually("its pods", func() bool {
		pods := c.pods()
		return len(pods) == 4 && !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !control.Ready(p) })
	})
	other := control.Get[corev1.ReplicationController](c.store, object.Key{GroupKind: webController.GroupKind, Namespace: "default", Name: "other"})
	var shared []string
	for _, pod := range c.pods()[:2] {
		c.commit(change.Patch(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
			obj.SetOwnerReferences(append(obj.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ReplicationController", Name: other.Name, UID: other.UID}))
			return true
		}))
		shared = append(shared, pod.Name)
	}
	c.delete(webController, metav1.DeletePropagationForeground)
	c.eventually("the end of the owner", func() bool { return c.store.Get(webController) == nil })
	var left []string
	for _, pod := range c.pods() {
		left = append(left, pod.Name)
		if refs := pod.OwnerReferences; pod.DeletionTimestamp != nil || len(refs) != 1 || refs[0].UID != other.UID {
			t.Errorf("%s is deleted at %v, and of %v; want it to be of the other owner alone", pod.Name, pod.DeletionTimestamp, refs)
		}
	}
	slices.Sort(shared)
	if slices.Sort(left); !slices.Equal(left, shared) {
		t.Errorf("left are %s, want those of two owners, %s", strings.Join(left, " "), strings.Join(shared, " "))
	}
}
