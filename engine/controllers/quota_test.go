package controllers_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/scheduling"
	"headway.dev/manifests/model/object"
)

var quotaKey = object.Key{GroupKind: control.ResourceQuota, Namespace: "default", Name: "few"}

func newQuota(hard map[corev1.ResourceName]string) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: quotaKey.Namespace, Name: quotaKey.Name}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	for name, value := range hard {
		q.Spec.Hard[name] = resource.MustParse(value)
	}
	return q
}

// used is what the quota says of a resource.
func (c *cluster) used(name corev1.ResourceName) string {
	q := control.Get[corev1.ResourceQuota](c.store, quotaKey)
	if q == nil {
		return "no quota"
	}
	used := q.Status.Used[name]
	return used.String()
}

// Of a Deployment that is larger than its namespace's quota, as many replicas run
// as fit; the others are told of in Kubernetes' words, and come when there is room.
func TestQuotaOfDeployment(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Create(newQuota(map[corev1.ResourceName]string{"pods": "2", "requests.cpu": "1"}), time.Now()))
	c.commit(change.Create(newDeployment("web", 5), time.Now()))
	const exceeded = `is forbidden: exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2`
	c.eventually("the Deployment's condition", func() bool {
		cond := condition(c.deployment("web"), appsv1.DeploymentReplicaFailure)
		return cond.Status == corev1.ConditionTrue && cond.Reason == "FailedCreate" && strings.HasPrefix(cond.Message, `pods "web-`) && strings.HasSuffix(cond.Message, exceeded)
	})
	rs := c.newest(c.deployment("web"))
	c.eventually("the event", func() bool {
		return slices.ContainsFunc(c.events("ReplicaSet", rs.Name), func(e string) bool {
			return strings.HasPrefix(e, `FailedCreate: Error creating: pods "`+rs.Name+"-") && strings.HasSuffix(e, exceeded)
		})
	})
	if n, pods, cpu := len(c.pods()), c.used("pods"), c.used("requests.cpu"); n != 2 || pods != "2" || cpu != "20m" {
		t.Errorf("%d pods, the quota says %s pods and %s of CPU; want 2, 2, 20m", n, pods, cpu)
	}
	c.commit(change.Patch(quotaKey, func(obj object.Object) bool {
		obj.(*corev1.ResourceQuota).Spec.Hard["pods"] = resource.MustParse("5")
		return true
	}))
	c.eventually("the others", func() bool { return len(c.pods()) == 5 && c.used("pods") == "5" })
	c.patch(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(1)) })
	c.eventually("fewer", func() bool { return c.used("pods") == "1" && c.used("requests.cpu") == "10m" })
}

// What a quota says is true again after somebody wrote something else, and a pod
// that does not end counts no longer when its time is over.
func TestQuotaIsRecalculated(t *testing.T) {
	c := start(t, 0)
	c.commit(change.Create(newQuota(map[corev1.ResourceName]string{"pods": "5", "count/pods": "5"}), time.Now()))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "stays", Finalizers: []string{"example.com/stays"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example/web:1"}}},
	}
	c.commit(change.Create(pod, time.Now()))
	if got := c.used("pods"); got != "1" {
		t.Errorf("the quota says %s pods as soon as there is one", got)
	}
	c.commit(change.PatchStatus(quotaKey, func(obj object.Object) bool {
		s := &obj.(*corev1.ResourceQuota).Status
		s.Hard["pods"], s.Used["pods"] = resource.MustParse("9"), resource.MustParse("4")
		return true
	}))
	c.eventually("the truth", func() bool {
		hard := control.Get[corev1.ResourceQuota](c.store, quotaKey).Status.Hard["pods"]
		return c.used("pods") == "1" && hard.String() == "5"
	})
	c.commit(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, time.Now()))
	c.eventually("no pod that lives", func() bool { return c.used("pods") == "0" && c.used("count/pods") == "1" })
	for _, class := range scheduling.SystemClasses() {
		if c.store.Get(object.KeyOf(control.PriorityClass, class)) == nil {
			t.Errorf("there is no priority class %s", class.Name)
		}
	}
}
