package progress

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// given is a reader of a few objects.
type given []object.Object

func (g given) Get(key object.Key) object.Object {
	for _, o := range g {
		if o.GetName() == key.Name && o.GetNamespace() == key.Namespace {
			return o
		}
	}
	return nil
}

func (g given) List(kind schema.GroupKind, _ string) ([]object.Object, uint64) {
	var list []object.Object
	for _, o := range g {
		if _, pod := o.(*corev1.Pod); pod && kind == podKind {
			list = append(list, o)
		}
	}
	return list, 1
}

// A Deployment is counted a moment after its pods change: until then they say
// whether it is healthy. Pods that Git does not declare do not matter.
func TestPodsSayBeforeTheirDeployment(t *testing.T) {
	own := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, Controller: new(true)}}
	}
	labels := map[string]string{plan.OwnerNamespaceLabel: wire.SystemNamespace, plan.OwnerNameLabel: wire.RootName}
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "web", Labels: labels}}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "web-1", OwnerReferences: own("Deployment", "web")}}
	pod := func(name string, ready corev1.ConditionStatus, owners []metav1.OwnerReference) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name, OwnerReferences: owners},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		}
	}
	status := wire.Status{Sources: []wire.SourceStatus{
		{Namespace: "other", Name: wire.RootName, Kustomizations: []wire.KustomizationStatus{{Namespace: "other", Name: "sick", Unhealthy: []wire.Object{{Kind: "Pod", Name: "x"}}}}},
		{Namespace: wire.SystemNamespace, Name: wire.RootName, Kustomizations: []wire.KustomizationStatus{{Namespace: wire.SystemNamespace, Name: wire.RootName}}},
	}}
	byHand := pod("by-hand", corev1.ConditionFalse, nil)
	ended := pod("ended", corev1.ConditionFalse, own("ReplicaSet", "web-1"))
	ended.Status.Phase = corev1.PodFailed
	one, two := pod("web-1-a", corev1.ConditionTrue, own("ReplicaSet", "web-1")), pod("web-1-b", corev1.ConditionFalse, own("ReplicaSet", "web-1"))
	if got, want := unhealthy(status, given{web, set, one, two, byHand, ended}), "1 of 2 pods are Ready"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	two.Status.Conditions[0].Status = corev1.ConditionTrue
	if got := unhealthy(status, given{web, set, one, two, byHand, ended}); got != "" {
		t.Errorf("%q, want nothing", got)
	}
}
