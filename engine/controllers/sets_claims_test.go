package controllers_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// claimingSet is a stateful set whose pods have claims.
func claimingSet(replicas int32, edit ...func(set *appsv1.StatefulSet)) *appsv1.StatefulSet {
	return newStatefulSet(replicas, append([]func(set *appsv1.StatefulSet){func(set *appsv1.StatefulSet) {
		claim := newClaim("data", "1Gi")
		claim.Namespace, claim.Labels = "", map[string]string{"disk": "local"}
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{*claim}
		set.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	}}, edit...)...)
}

func retention(scaled, deleted appsv1.PersistentVolumeClaimRetentionPolicyType) func(set *appsv1.StatefulSet) {
	return func(set *appsv1.StatefulSet) {
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: scaled, WhenDeleted: deleted}
	}
}

const (
	keep = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	drop = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
)

// claims are the UIDs of those that there are.
func (c *cluster) claims() map[string]types.UID {
	objs, _ := c.store.List(control.PersistentVolumeClaim, "default")
	all := map[string]types.UID{}
	for _, o := range objs {
		all[o.GetName()] = o.GetUID()
	}
	return all
}

func (c *cluster) claimsAre(names string) map[string]types.UID {
	c.t.Helper()
	c.eventually("the claims "+names, func() bool {
		return strings.Join(slices.Sorted(maps.Keys(c.claims())), " ") == names
	})
	return c.claims()
}

func (c *cluster) resize(n int32) {
	c.t.Helper()
	c.patchStatefulSet(func(set *appsv1.StatefulSet) { set.Spec.Replicas = &n })
}

// TestStatefulSetClaims: each pod has its claim, which is there before it, and which it
// finds again after it was replaced and after the set was smaller; so claims outlive the
// set.
func TestStatefulSetClaims(t *testing.T) {
	c := start(t, 2)
	watcher, err := c.store.Watch(0, control.Pod, control.PersistentVolumeClaim)
	if err != nil {
		t.Fatal(err)
	}
	c.create(newClaim("data-db-0", "2Gi"), claimingSet(2))
	c.statefulSetIs("db-0=web:1 db-1=web:1")
	events, err := watcher.Next(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[object.Key]bool{}
	for _, ev := range events {
		if p, ok := ev.Object.(*corev1.Pod); ok && !seen[ev.Key] && !seen[claimKey("data-"+p.Name)] {
			t.Errorf("%s was there before its claim", p.Name)
		}
		seen[ev.Key] = true
	}
	first := c.claimsAre("data-db-0 data-db-1")
	claim := c.claim("data-db-1")
	if !maps.Equal(claim.Labels, map[string]string{"app": "db", "disk": "local"}) || len(claim.OwnerReferences) > 0 || claim.Status.Phase != corev1.ClaimBound {
		t.Errorf("claim: labels %v, owners %v, phase %s", claim.Labels, claim.OwnerReferences, claim.Status.Phase)
	}
	if v := c.pod("db-1").Spec.Volumes; v[0].Name != "data" || v[0].PersistentVolumeClaim == nil || v[0].PersistentVolumeClaim.ClaimName != "data-db-1" {
		t.Errorf("volumes of db-1: %+v", v)
	}
	c.told("StatefulSet", "db", "SuccessfulCreate: Create Claim data-db-1 Pod db-1 in StatefulSet db success")
	if slices.Contains(c.events("StatefulSet", "db"), "SuccessfulCreate: Create Claim data-db-0 Pod db-0 in StatefulSet db success") {
		t.Error("a claim that was there was made")
	}
	c.patchStatefulSet(func(set *appsv1.StatefulSet) { set.Spec.Template.Spec.Containers[0].Image = "example/web:2" })
	c.statefulSetIs("db-0=web:2 db-1=web:2")
	c.resize(0)
	c.statefulSetIs("")
	c.resize(2)
	c.statefulSetIs("db-0=web:2 db-1=web:2")
	if now := c.claimsAre("data-db-0 data-db-1"); !maps.Equal(now, first) {
		t.Errorf("claims are others than before: %v, %v", first, now)
	}

	// A claim that is deleted goes with the pod; the next one waits for it.
	c.remove(claimKey("data-db-1"))
	c.eventually("the claim to be held", func() bool { return c.claim("data-db-1").DeletionTimestamp != nil })
	c.commit(change.Patch(claimKey("data-db-1"), func(obj object.Object) bool {
		obj.SetFinalizers(append(obj.GetFinalizers(), "example.com/held"))
		return true
	}))
	c.remove(podKey("db-1"))
	c.told("StatefulSet", "db", "FailedCreate: Create Pod db-1 in StatefulSet db failed error: pvc data-db-1 is being deleted")
	c.commit(change.Patch(claimKey("data-db-1"), func(obj object.Object) bool { obj.SetFinalizers(nil); return true }))
	c.statefulSetIs("db-0=web:2 db-1=web:2")
	if now := c.claimsAre("data-db-0 data-db-1"); now["data-db-0"] != first["data-db-0"] || now["data-db-1"] == first["data-db-1"] {
		t.Errorf("claims: %v, before %v", now, first)
	}

	background := metav1.DeletePropagationBackground
	c.commit(change.Delete(statefulSetKey, metav1.DeleteOptions{PropagationPolicy: &background}, time.Now()))
	c.eventually("its pods to be gone", func() bool { return c.statefulSet() == nil && len(c.appPods("db")) == 0 })
	c.claimsAre("data-db-0 data-db-1")
}

// TestStatefulSetClaimsGo: the policy says which claims go when the set is made smaller,
// and which with the set; it may change.
func TestStatefulSetClaimsGo(t *testing.T) {
	c := start(t, 1)
	owned := func(name string) string {
		var owners []string
		for _, ref := range c.claim(name).OwnerReferences {
			owners = append(owners, fmt.Sprintf("%s/%s", ref.Kind, ref.Name))
			if ref.Controller == nil || !*ref.Controller {
				t.Errorf("%s does not control %s", ref.Name, name)
			}
		}
		return strings.Join(owners, " ")
	}
	ownedBy := func(name, want string) {
		t.Helper()
		c.eventually(name+" to be owned by "+want, func() bool { return owned(name) == want })
	}
	c.create(claimingSet(3, retention(drop, keep)))
	c.statefulSetIs("db-0=web:1 db-1=web:1 db-2=web:1")
	first := c.claimsAre("data-db-0 data-db-1 data-db-2")
	if got := owned("data-db-2"); got != "" {
		t.Errorf("data-db-2 is owned by %s", got)
	}
	c.resize(1)
	c.statefulSetIs("db-0=web:1")
	c.claimsAre("data-db-0")
	c.resize(2)
	c.statefulSetIs("db-0=web:1 db-1=web:1")
	if now := c.claimsAre("data-db-0 data-db-1"); now["data-db-0"] != first["data-db-0"] || now["data-db-1"] == first["data-db-1"] {
		t.Errorf("claims: %v, before %v", now, first)
	}

	c.patchStatefulSet(retention(keep, drop))
	ownedBy("data-db-0", "StatefulSet/db")
	ownedBy("data-db-1", "StatefulSet/db")
	c.resize(1)
	c.statefulSetIs("db-0=web:1")
	c.claimsAre("data-db-0 data-db-1")
	c.patchStatefulSet(retention(keep, keep))
	ownedBy("data-db-0", "")
	// That of a pod that is not there stays as it is.
	if got := owned("data-db-1"); got != "StatefulSet/db" {
		t.Errorf("data-db-1 is owned by %q", got)
	}
	background := metav1.DeletePropagationBackground
	c.commit(change.Delete(statefulSetKey, metav1.DeleteOptions{PropagationPolicy: &background}, time.Now()))
	c.claimsAre("data-db-0")

	c.create(claimingSet(2, retention(drop, drop)))
	c.statefulSetIs("db-0=web:1 db-1=web:1")
	ownedBy("data-db-0", "StatefulSet/db")
	c.commit(change.Delete(statefulSetKey, metav1.DeleteOptions{PropagationPolicy: &background}, time.Now()))
	c.claimsAre("")
}

// TestStatefulSetClaimRefused: a claim that a quota does not allow is told of, and its pod
// waits until it may be had.
func TestStatefulSetClaimRefused(t *testing.T) {
	c := start(t, 1)
	c.create(newQuota(map[corev1.ResourceName]string{"persistentvolumeclaims": "1"}))
	c.eventually("the quota to be counted", func() bool { return c.used("persistentvolumeclaims") == "0" })
	c.create(claimingSet(2))
	c.statefulSetIs("db-0=web:1")
	for _, want := range []string{"FailedCreate: Create Claim data-db-1 for Pod db-1 in StatefulSet db failed error: ", "FailedCreate: Create Pod db-1 in StatefulSet db failed error: failed to create PVC data-db-1: "} {
		c.eventually("the event "+want, func() bool {
			return slices.ContainsFunc(c.events("StatefulSet", "db"), func(e string) bool { return strings.HasPrefix(e, want) && strings.Contains(e, "exceeded quota") })
		})
	}
	c.remove(quotaKey)
	c.statefulSetIs("db-0=web:1 db-1=web:1")
}
