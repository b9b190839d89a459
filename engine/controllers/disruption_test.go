package controllers_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func budgetKey(name string) object.Key {
	return object.Key{GroupKind: control.PodDisruptionBudget, Namespace: "default", Name: name}
}

func newBudget(name, app string, edit func(s *policyv1.PodDisruptionBudgetSpec)) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	b.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	edit(&b.Spec)
	return b
}

// allows waits until a budget says this: allowed, healthy, desired, expected.
func (c *cluster) allows(name string, want [4]int32) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("the budget %s to say %v", name, want), func() bool {
		b := control.Get[policyv1.PodDisruptionBudget](c.store, budgetKey(name))
		s := &b.Status
		status, reason := metav1.ConditionFalse, policyv1.InsufficientPodsReason
		if s.DisruptionsAllowed > 0 {
			status, reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
		}
		cond := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition)
		return s.ObservedGeneration == b.Generation && cond != nil && cond.Status == status && cond.Reason == reason &&
			[4]int32{s.DisruptionsAllowed, s.CurrentHealthy, s.DesiredHealthy, s.ExpectedPods} == want
	})
}

// told waits for an event about an object of a kind.
func (c *cluster) told(kind, name, event string) {
	c.t.Helper()
	c.eventually("the event "+event, func() bool { return slices.Contains(c.events(kind, name), event) })
}

// A budget follows its pods, what scales them, and its own spec.
func TestBudgetOfDeployment(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Create(newBudget("few", "web", func(s *policyv1.PodDisruptionBudgetSpec) { s.MaxUnavailable = new(intstr.FromString("34%")) }), time.Now()))
	c.allows("few", [4]int32{0, 0, 0, 0})
	c.told("PodDisruptionBudget", "few", "NoPods: No matching pods found")
	c.commit(change.Create(newDeployment("web", 3), time.Now()))
	c.allows("few", [4]int32{2, 3, 1, 3})
	c.commit(change.Patch(budgetKey("few"), func(obj object.Object) bool {
		obj.(*policyv1.PodDisruptionBudget).Spec.MaxUnavailable = new(intstr.FromInt32(1))
		return true
	}))
	c.allows("few", [4]int32{1, 3, 2, 3})
	// The pods of the Deployment are more than it asks for while it rolls: what counts
	// is what it asks for.
	c.patch(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "example/web:2" })
	c.eventually("the rollout", func() bool { return c.rolledOut("web") })
	c.allows("few", [4]int32{1, 3, 2, 3})
	c.patch(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(5)) })
	c.allows("few", [4]int32{1, 5, 4, 5})
	// A quota keeps pods from coming: it is the scale that says how many there should be.
	c.commit(change.Create(newQuota(map[corev1.ResourceName]string{"pods": "5"}), time.Now()))
	c.patch(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(9)) })
	c.allows("few", [4]int32{0, 5, 8, 9})
	// A second budget for the same pods is one too many.
	c.commit(change.Create(newBudget("more", "web", func(s *policyv1.PodDisruptionBudgetSpec) { s.MinAvailable = new(intstr.FromInt32(2)) }), time.Now()))
	c.allows("more", [4]int32{3, 5, 2, 5})
	pod := c.pods()[0]
	c.commit(change.PatchStatus(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
		obj.(*corev1.Pod).Status.Conditions = slices.DeleteFunc(obj.(*corev1.Pod).Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
		return true
	}))
	c.told("Pod", pod.Name, fmt.Sprintf(`MultiplePodDisruptionBudgets: Pod "default"/%q matches multiple PodDisruptionBudgets.  Chose "few" arbitrarily.`, pod.Name))
}

// Pods of ReplicationControllers and of custom resources that scale are counted, and
// why a count fails is told.
func TestBudgetOfOtherControllers(t *testing.T) {
	c := start(t, 1)
	c.commit(change.Create(newController("old", 2), time.Now()))
	c.commit(change.Create(newBudget("old", "old", func(s *policyv1.PodDisruptionBudgetSpec) { s.MinAvailable = new(intstr.FromString("50%")) }), time.Now()))
	c.allows("old", [4]int32{1, 2, 1, 2})

	owned := func(kind string) {
		name := strings.ToLower(kind)
		c.commit(change.Create(newBudget(name, name, func(s *policyv1.PodDisruptionBudgetSpec) { s.MaxUnavailable = new(intstr.FromInt32(1)) }), time.Now()))
		c.commit(change.Create(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: name, Labels: map[string]string{"app": name},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: kind, Name: "w", UID: "w", Controller: new(true)}},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example/web:1"}}},
		}, time.Now()))
	}
	failed := func(name, message string) {
		t.Helper()
		c.eventually("the failure "+message, func() bool {
			b := control.Get[policyv1.PodDisruptionBudget](c.store, budgetKey(name))
			cond := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
			return cond != nil && cond.Status == metav1.ConditionFalse && cond.Reason == policyv1.SyncFailedReason && cond.Message == message && b.Status.DisruptionsAllowed == 0
		})
		c.told("PodDisruptionBudget", name, "CalculateExpectedPodCountFailed: Failed to calculate the number of expected pods: "+message)
	}
	owned("Gadget")
	failed("gadget", `no matches for kind "Gadget" in version "example.com/v1"`)

	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	crd.Spec.Group, crd.Spec.Scope = "example.com", apiextensionsv1.NamespaceScoped
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Kind: "Widget"}
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{
		Name: "v1", Served: true, Storage: true,
		Subresources: &apiextensionsv1.CustomResourceSubresources{Scale: &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.size", StatusReplicasPath: ".status.size"}},
		Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer"}}},
		}}},
	}}
	widget := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"size": int64(4)}}}
	widget.SetAPIVersion("example.com/v1")
	widget.SetKind("Widget")
	widget.SetNamespace("default")
	widget.SetName("w")
	widget.SetUID("w")
	c.commit(change.Create(crd, time.Now()))
	c.commit(change.PatchStatus(object.Key{GroupKind: apiextensionsv1.Kind("CustomResourceDefinition"), Name: crd.Name}, func(obj object.Object) bool {
		obj.(*apiextensionsv1.CustomResourceDefinition).Status.AcceptedNames = crd.Spec.Names
		return true
	}))
	c.commit(change.Create(widget, time.Now()))
	owned("Widget")
	c.allows("widget", [4]int32{0, 1, 3, 4})
	c.commit(change.Patch(object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Widget"}, Namespace: "default", Name: "w"}, func(obj object.Object) bool {
		u, ok := obj.(*unstructured.Unstructured)
		return ok && unstructured.SetNestedField(u.Object, int64(1), "spec", "size") == nil
	}))
	c.allows("widget", [4]int32{1, 1, 0, 1})
}

// A pod that was evicted and stays is healthy again after two minutes, and no longer
// says that it will be disrupted.
func TestBudgetForgetsWhatStays(t *testing.T) {
	var later atomic.Int64
	c := start(t, 1, func(cfg *controllers.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		cfg.NodeGrace = 24 * time.Hour
	})
	c.commit(change.Create(newDeployment("web", 2), time.Now()))
	c.commit(change.Create(newBudget("few", "web", func(s *policyv1.PodDisruptionBudgetSpec) { s.MinAvailable = new(intstr.FromInt32(1)) }), time.Now()))
	c.allows("few", [4]int32{1, 2, 1, 2})
	pod := c.pods()[0]
	evicted := metav1.Now()
	c.commit(change.PatchStatus(budgetKey("few"), func(obj object.Object) bool {
		s := &obj.(*policyv1.PodDisruptionBudget).Status
		s.DisruptionsAllowed, s.DisruptedPods = 0, map[string]metav1.Time{pod.Name: evicted, "never": evicted}
		return true
	}), change.PatchStatus(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
		s := &obj.(*corev1.Pod).Status
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", LastTransitionTime: evicted})
		return true
	}))
	c.allows("few", [4]int32{0, 1, 1, 2})
	c.eventually("the pod that is none to be forgotten", func() bool {
		b := control.Get[policyv1.PodDisruptionBudget](c.store, budgetKey("few"))
		_, kept := b.Status.DisruptedPods[pod.Name]
		return kept && len(b.Status.DisruptedPods) == 1
	})
	later.Store(int64(3 * time.Minute))
	// The clock is set, not waited for: something has to make the controller look.
	c.commit(change.Patch(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
		obj.SetLabels(map[string]string{"app": "web", "pod-template-hash": obj.GetLabels()["pod-template-hash"], "look": "now"})
		return true
	}))
	c.allows("few", [4]int32{1, 2, 1, 2})
	c.told("Pod", pod.Name, "NotDeleted: Pod was expected by PDB default/default to be deleted but it wasn't")
	c.eventually("the condition to be taken back", func() bool {
		cond := control.PodCondition(control.Get[corev1.Pod](c.store, object.KeyOf(control.Pod, pod)), corev1.DisruptionTarget)
		return cond != nil && cond.Status == corev1.ConditionFalse && cond.Reason == ""
	})
}

var webController = object.Key{GroupKind: control.ReplicationController, Namespace: "default", Name: "web"}

func newController(name string, replicas int32) *corev1.ReplicationController {
	template := newDeployment(name, replicas).Spec.Template
	return &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ReplicationControllerSpec{Replicas: new(replicas), Template: &template},
	}
}

// A ReplicationController keeps its pods, adopts and releases, and tells in its status
// and events what a ReplicaSet tells.
func TestReplicationController(t *testing.T) {
	c := start(t, 1)
	orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: map[string]string{"app": "web"}}, Spec: newDeployment("web", 1).Spec.Template.Spec}
	c.commit(change.Create(orphan, time.Now()))
	c.commit(change.Create(newController("web", 3), time.Now()))
	status := func() corev1.ReplicationControllerStatus {
		return control.Get[corev1.ReplicationController](c.store, webController).Status
	}
	ready := func(n int32) func() bool {
		return func() bool {
			s := status()
			return s.Replicas == n && s.ReadyReplicas == n && s.AvailableReplicas == n && s.FullyLabeledReplicas == n && int32(len(c.pods())) == n
		}
	}
	c.eventually("three pods", ready(3))
	rc := control.Get[corev1.ReplicationController](c.store, webController)
	for _, pod := range c.pods() {
		ref := metav1.GetControllerOf(pod)
		want := metav1.OwnerReference{APIVersion: "v1", Kind: "ReplicationController", Name: "web", UID: rc.UID, Controller: new(true), BlockOwnerDeletion: new(true)}
		if got, _ := json.Marshal(ref); ref == nil || ref.UID != want.UID || ref.Kind != want.Kind || ref.APIVersion != want.APIVersion {
			t.Errorf("%s is controlled by %s, want %v", pod.Name, got, want)
		}
	}
	c.eventually("events of creation", func() bool {
		n := 0
		for _, e := range c.events("ReplicationController", "web") {
			if strings.HasPrefix(e, "SuccessfulCreate: Created pod: web-") {
				n++
			}
		}
		return n == 2 // the third was there
	})
	scale := func(n int32) {
		c.commit(change.Patch(webController, func(obj object.Object) bool {
			obj.(*corev1.ReplicationController).Spec.Replicas = new(n)
			return true
		}))
	}
	scale(1)
	c.eventually("one pod", ready(1))
	left := c.pods()[0]
	c.commit(change.Patch(object.KeyOf(control.Pod, left), func(obj object.Object) bool { obj.SetLabels(map[string]string{"app": "other"}); return true }))
	c.eventually("another pod in the place of the one that was let go", func() bool {
		pod := control.Get[corev1.Pod](c.store, object.KeyOf(control.Pod, left))
		return pod != nil && metav1.GetControllerOf(pod) == nil && ready(1)()
	})
	// Why there are no more is a condition.
	c.commit(change.Create(newQuota(map[corev1.ResourceName]string{"pods": "2"}), time.Now()))
	scale(4)
	c.eventually("the failure", func() bool {
		s := status()
		return len(s.Conditions) == 1 && s.Conditions[0].Type == corev1.ReplicationControllerReplicaFailure && s.Conditions[0].Reason == "FailedCreate" &&
			strings.Contains(s.Conditions[0].Message, "exceeded quota: few")
	})
	scale(1)
	c.eventually("no failure", func() bool { return len(status().Conditions) == 0 && ready(1)() })
	// Its pods stay when it goes, unless they are asked for, too.
	c.commit(change.Delete(webController, metav1.DeleteOptions{}, time.Now()))
	c.eventually("the pod to be an orphan", func() bool {
		pods := c.pods()
		return c.store.Get(webController) == nil && len(pods) == 1 && len(pods[0].OwnerReferences) == 0
	})
	c.commit(change.Create(newController("web", 1), time.Now()))
	c.eventually("the pod to be adopted", func() bool { return len(c.pods()) == 1 && metav1.GetControllerOf(c.pods()[0]) != nil })
	background := metav1.DeletePropagationBackground
	c.commit(change.Delete(webController, metav1.DeleteOptions{PropagationPolicy: &background}, time.Now()))
	c.eventually("no pods", func() bool { return len(c.pods()) == 0 })
}
