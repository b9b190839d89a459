package api_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
)

// TestNamespace: what is done to the status and the finalizers of a namespace, as the
// conformance tests of Kubernetes do it.
func TestNamespace(t *testing.T) {
	s := apitest.Start(t)
	s.Namespace(t, "shop")
	client := kubernetes.NewForConfigOrDie(s.Config).CoreV1().Namespaces()
	ns, err := client.Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceActive {
		t.Fatalf("the namespace is %+v, %v", ns, err)
	}
	patch := `{"metadata":{"annotations":{"patched":"true"}},"spec":{"finalizers":["mine.example.com/x"]},"status":{"conditions":[{"type":"StatusPatch","status":"True","reason":"E2E"}]}}`
	if ns, err = client.Patch(t.Context(), "shop", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	ns.Status.Conditions = append(ns.Status.Conditions, corev1.NamespaceCondition{Type: "StatusUpdate", Status: corev1.ConditionTrue, Reason: "E2E"})
	if ns, err = client.UpdateStatus(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := ns.Status.Conditions; len(got) != 2 || got[0].Type != "StatusPatch" || got[1].Type != "StatusUpdate" || ns.Status.Phase != corev1.NamespaceActive {
		t.Errorf("the status is %+v", ns.Status)
	}
	if ns.Annotations["patched"] != "true" || !slices.Equal(ns.Spec.Finalizers, []corev1.FinalizerName{"kubernetes"}) {
		t.Errorf("annotations %v, finalizers %v; want the first of the request, and the others as they were", ns.Annotations, ns.Spec.Finalizers)
	}
	ns.Labels["updated"] = "true"
	ns.Spec.Finalizers = nil // which only finalize changes
	if ns, err = client.Update(t.Context(), ns, metav1.UpdateOptions{}); err != nil || ns.Labels["updated"] != "true" || len(ns.Spec.Finalizers) != 1 {
		t.Fatalf("updated: %+v, %v", ns, err)
	}
	const fake = corev1.FinalizerName("e2e.example.com/fakeFinalizer")
	for _, finalizers := range [][]corev1.FinalizerName{{corev1.FinalizerKubernetes, fake}, {corev1.FinalizerKubernetes}} {
		ns.Spec.Finalizers = finalizers
		if _, err := client.Finalize(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if ns, err = client.Get(t.Context(), "shop", metav1.GetOptions{}); err != nil || !slices.Equal(ns.Spec.Finalizers, finalizers) {
			t.Errorf("finalizers are %v, want %v; %v", ns.Spec.Finalizers, finalizers, err)
		}
	}
}
