package controllers_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"go.uber.org/goleak"

	"headway.dev/engine/admission"
	"headway.dev/engine/admission/admissiontest"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// One object that cannot be reconciled stops no other.
func TestPoison(t *testing.T) {
	c := start(t, 1)
	poison := newDeployment("poison", 1)
	poison.Spec.Selector = nil
	c.commit(change.Create(poison, time.Now()))
	for i := range 5 {
		c.commit(change.Create(newDeployment(fmt.Sprintf("web-%d", i), 1), time.Now()))
	}
	for i := range 5 {
		c.eventually("rollout", func() bool { return c.rolledOut(fmt.Sprintf("web-%d", i)) })
	}
}

// Controllers that fall behind the store's history list again and miss
// nothing, deletions included.
func TestFallBehind(t *testing.T) {
	c := startOn(t, store.Options{Path: filepath.Join(t.TempDir(), "db"), History: 3}, 2)
	for i := range 20 {
		c.commit(change.Create(newDeployment(fmt.Sprintf("web-%d", i), 2), time.Now()))
	}
	for i := range 20 {
		c.eventually("rollout", func() bool { return c.rolledOut(fmt.Sprintf("web-%d", i)) })
	}
	for i := range 20 {
		c.delete(deploymentKey(fmt.Sprintf("web-%d", i)), "Background")
	}
	c.eventually("collection", func() bool { return c.count("rs") == 0 && c.count("pod") == 0 })
}

// A second start on the same file goes on where the first one stopped, and
// makes nothing twice.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var pods []*corev1.Pod
	t.Run("first", func(t *testing.T) {
		c := startOn(t, store.Options{Path: path}, 2)
		c.commit(change.Create(newDeployment("web", 5), time.Now()))
		c.eventually("rollout", func() bool { return c.rolledOut("web") })
		pods = c.pods()
	})
	c := startOn(t, store.Options{Path: path}, 0)
	c.commit(change.Create(newDeployment("other", 1), time.Now()))
	c.eventually("work after the restart", func() bool { return c.rolledOut("other") })
	uids := func(pods []*corev1.Pod) (u []string) {
		for _, p := range pods {
			u = append(u, string(p.UID))
		}
		return u
	}
	if got, want := uids(c.pods()), uids(pods); !slices.Equal(got, want) {
		t.Errorf("pods after the restart = %v, want %v", got, want)
	}
}

// Pods that are refused are told about, in the condition and the event.
func TestQuotaOfOne(t *testing.T) {
	c := startOn(t, store.Options{
		Path: filepath.Join(t.TempDir(), "db"),
		Admit: []store.Admit{func(_ object.Reader, next, old object.Object) (object.Object, error) {
			if _, ok := next.(*corev1.Pod); ok && old == nil {
				return nil, fmt.Errorf("pods are not allowed here")
			}
			return next, nil
		}},
	}, 1)
	c.commit(change.Create(newDeployment("web", 2), time.Now()))
	c.eventually("the condition", func() bool {
		cond := condition(c.deployment("web"), appsv1.DeploymentReplicaFailure)
		return cond.Reason == "FailedCreate" && cond.Message == "pods are not allowed here"
	})
	rs := c.newest(c.deployment("web"))
	c.eventually("the event", func() bool {
		return slices.Contains(c.events("ReplicaSet", rs.Name), "FailedCreate: Error creating: pods are not allowed here")
	})
}

// A replica set whose pods its namespace's PodSecurity refuses says so in
// Kubernetes' words, in its events and its condition.
func TestPodSecurityRefusesReplicas(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Patch(object.Key{GroupKind: control.Namespace, Name: "default"}, func(obj object.Object) bool {
		obj.SetLabels(map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
		return true
	}))
	d := newDeployment("web", 2)
	d.Spec.Template.Spec.HostNetwork = true
	c.commit(change.Create(d, time.Now()))
	const violation = `is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`
	c.eventually("the Deployment's condition", func() bool {
		cond := condition(c.deployment("web"), appsv1.DeploymentReplicaFailure)
		return cond.Reason == "FailedCreate" && strings.HasPrefix(cond.Message, `pods "web-`) && strings.Contains(cond.Message, violation)
	})
	rs := c.newest(c.deployment("web"))
	if !slices.ContainsFunc(rs.Status.Conditions, func(cond appsv1.ReplicaSetCondition) bool {
		return cond.Type == appsv1.ReplicaSetReplicaFailure && cond.Status == corev1.ConditionTrue && cond.Reason == "FailedCreate" && strings.Contains(cond.Message, violation)
	}) {
		t.Errorf("the replica set's conditions: %+v", rs.Status.Conditions)
	}
	c.eventually("the event", func() bool {
		return slices.ContainsFunc(c.events("ReplicaSet", rs.Name), func(e string) bool {
			return strings.HasPrefix(e, `FailedCreate: Error creating: pods "`+rs.Name+"-") && strings.Contains(e, violation)
		})
	})
	if pods := c.pods(); len(pods) > 0 {
		t.Errorf("%d pods were created", len(pods))
	}
}

// A refusal names the pod, which has another name at each attempt. The status of
// the ReplicaSet stays as it is nevertheless: each change of it would be a reason
// to try again at once, without end.
func TestRefusedReplicasWait(t *testing.T) {
	c := startOn(t, store.Options{
		Path: filepath.Join(t.TempDir(), "db"),
		Admit: []store.Admit{func(_ object.Reader, next, old object.Object) (object.Object, error) {
			if _, ok := next.(*corev1.Pod); ok && old == nil {
				return nil, fmt.Errorf("pod %s is not allowed here", next.GetName())
			}
			return next, nil
		}},
	}, 1)
	c.commit(change.Create(newDeployment("web", 1), time.Now()))
	attempts := func(rs *appsv1.ReplicaSet) (n int) {
		for _, e := range c.events("ReplicaSet", rs.Name) {
			if strings.HasPrefix(e, "FailedCreate: ") {
				n++
			}
		}
		return n
	}
	c.eventually("the condition of the Deployment", func() bool {
		return condition(c.deployment("web"), appsv1.DeploymentReplicaFailure).Reason == "FailedCreate"
	})
	refused := c.newest(c.deployment("web"))
	before := attempts(refused)
	c.eventually("more attempts", func() bool { return attempts(refused) > before+3 })
	if now := c.newest(c.deployment("web")); now.ResourceVersion != refused.ResourceVersion {
		t.Errorf("after more attempts the status is %+v, before it was %+v", now.Status, refused.Status)
	}
}

// Of a batch of pods of which some are refused, the others are created.
func TestQuotaOfSome(t *testing.T) {
	const limit = 37
	c := startOn(t, store.Options{
		Path: filepath.Join(t.TempDir(), "db"),
		Admit: []store.Admit{func(view object.Reader, next, old object.Object) (object.Object, error) {
			if pod, ok := next.(*corev1.Pod); ok && old == nil {
				if pods, _ := view.List(control.Pod, pod.Namespace); len(pods) >= limit {
					return nil, fmt.Errorf("exceeded quota: used: %d", len(pods))
				}
			}
			return next, nil
		}},
	}, 1)
	c.commit(change.Create(newDeployment("web", 500), time.Now()))
	c.eventually("as many pods as there may be", func() bool { return len(c.pods()) == limit })
	rs := c.newest(c.deployment("web"))
	c.eventually("the status", func() bool {
		cond := condition(c.deployment("web"), appsv1.DeploymentReplicaFailure)
		return cond.Reason == "FailedCreate" && cond.Message == fmt.Sprintf("exceeded quota: used: %d", limit) && c.deployment("web").Status.Replicas == limit
	})
	c.eventually("an event of the pods that were created", func() bool {
		return slices.ContainsFunc(c.events("ReplicaSet", rs.Name), func(e string) bool { return strings.HasPrefix(e, "SuccessfulCreate: ") })
	})
}

// BenchmarkDeployments100 takes 100 Deployments of 10 pods, each with a
// Service, from their creation to all pods ready and in the endpoints.
func BenchmarkDeployments100(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := start(b, 20)
		var changes []change.Change
		for i := range 100 {
			name := fmt.Sprintf("web-%d", i)
			svc := &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}}}
			svc.Namespace, svc.Name = "default", name
			changes = append(changes, change.Create(newDeployment(name, 10), time.Now()), change.Create(svc, time.Now()))
		}
		b.StartTimer()
		c.commit(changes...)
		for i := range 100 {
			name := fmt.Sprintf("web-%d", i)
			c.eventually(name, func() bool { return c.rolledOut(name) && c.ready(name) == 10 })
		}
		if objs, _ := c.store.List(control.Pod, ""); len(objs) != 1000 {
			b.Errorf("%d pods, want 1000", len(objs))
		}
	}
}

// Admission sees the pods that controllers make, in the controllers' names. Of a
// batch of pods of which it refuses one, others are made, and then one in its
// place.
func TestAdmissionSeesPodsOfControllers(t *testing.T) {
	var refused atomic.Pointer[string]
	var users sync.Map
	plugin := admissiontest.Refuse("pods", func(w admissiontest.Write) error {
		if w.Op != "CREATE" {
			return nil
		}
		users.Store(w.User, true)
		name := w.Object.GetName()
		refused.CompareAndSwap(nil, &name)
		if *refused.Load() == name {
			return errors.New("not this one")
		}
		return nil
	})
	c := startWith(t, store.Options{Path: filepath.Join(t.TempDir(), "db")}, []admission.Plugin{plugin}, 1)
	c.commit(change.Create(newDeployment("web", 100), time.Now()))
	c.eventually("all pods", func() bool { return len(c.pods()) == 100 })
	rs := c.newest(c.deployment("web"))
	c.eventually("the event of the refusal", func() bool {
		return slices.ContainsFunc(c.events("ReplicaSet", rs.Name), func(e string) bool {
			return strings.HasPrefix(e, `FailedCreate: Error creating: pods "`+rs.Name) && strings.HasSuffix(e, "is forbidden: not this one")
		})
	})
	users.Range(func(name, _ any) bool {
		if name != "system:serviceaccount:kube-system:replicaset-controller" {
			t.Errorf("pods were made by %v", name)
		}
		return true
	})
	for _, pod := range c.pods() {
		if pod.Spec.ServiceAccountName != "default" || len(pod.Spec.Volumes) != 1 || !strings.HasPrefix(pod.Spec.Volumes[0].Name, "kube-api-access-") {
			t.Fatalf("pod %s runs as %q with volumes %+v", pod.Name, pod.Spec.ServiceAccountName, pod.Spec.Volumes)
		}
	}
}

// A deletion that a plugin refuses holds up no other: neither in a namespace that is
// deleted, nor on a node that pods have to leave.
func TestRefusedDeletion(t *testing.T) {
	var kept atomic.Pointer[string]
	kept.Store(new("kept"))
	refuse := func(w admissiontest.Write) error {
		if w.Op == "DELETE" && w.Name == *kept.Load() {
			return errors.New("not this one")
		}
		return nil
	}
	c := startWith(t, store.Options{Path: filepath.Join(t.TempDir(), "db")}, []admission.Plugin{admissiontest.Refuse("configmaps", refuse), admissiontest.Refuse("pods", refuse)}, 1)
	configMaps := schema.GroupKind{Kind: "ConfigMap"}
	left := func() int {
		list, _ := c.store.List(configMaps, "old")
		return len(list)
	}
	namespace := object.Key{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: "old"}
	c.commit(change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "old"}}, time.Now()))
	for _, name := range []string{"a", "kept", "z"} {
		c.commit(change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "old", Name: name}}, time.Now()))
	}
	c.commit(change.Delete(namespace, metav1.DeleteOptions{}, time.Now()))
	c.eventually("all but one are deleted", func() bool { return left() == 1 })
	c.eventually("the reason", func() bool {
		return slices.ContainsFunc(control.Get[corev1.Namespace](c.store, namespace).Status.Conditions, func(cond corev1.NamespaceCondition) bool {
			return cond.Type == corev1.NamespaceDeletionContentFailure && cond.Status == corev1.ConditionTrue && cond.Reason == "ContentDeletionFailed" &&
				strings.HasPrefix(cond.Message, "Failed to delete all resource types, 1 remaining: ") && strings.Contains(cond.Message, "not this one")
		})
	})

	c.commit(change.Create(newDeployment("web", 5), time.Now()))
	c.eventually("all pods run", func() bool { return c.deployment("web").Status.ReadyReplicas == 5 })
	before := c.pods()
	kept.Store(&before[2].Name)
	c.commit(change.Patch(object.Key{GroupKind: control.Node, Name: before[2].Spec.NodeName}, func(obj object.Object) bool {
		n := obj.(*corev1.Node)
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "example.com/drain", Effect: corev1.TaintEffectNoExecute})
		return true
	}))
	c.eventually("all but one of the pods are evicted", func() bool {
		n := 0
		for _, pod := range before {
			now, _ := c.store.Get(object.KeyOf(control.Pod, pod)).(*corev1.Pod)
			if now == nil || now.UID != pod.UID || now.DeletionTimestamp != nil {
				n++
			}
		}
		return n == len(before)-1
	})
	// Nobody is asked to let the last ones go any more.
	kept.Store(new("nothing"))
	c.eventually("the namespace is gone", func() bool { return c.store.Get(namespace) == nil })
}

// BenchmarkCreatePods makes 10,000 pods by the replica sets of 20 Deployments.
func BenchmarkCreatePods(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := start(b, 0)
		var changes []change.Change
		for i := range 20 {
			changes = append(changes, change.Create(newDeployment(fmt.Sprintf("web-%d", i), 500), time.Now()))
		}
		b.StartTimer()
		c.commit(changes...)
		c.eventually("all pods", func() bool {
			objs, _ := c.store.List(control.Pod, "")
			return len(objs) == 10000
		})
	}
}
