package kind_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

func TestSet(t *testing.T) {
	define := func(name string) *kind.Kind {
		return kind.Define[corev1.Pod, corev1.PodList](kind.Definition[*corev1.Pod]{
			Names: kind.Names{GroupVersionKind: corev1.SchemeGroupVersion.WithKind(name)},
		})
	}
	pod := define("Pod")
	set, err := kind.NewSet(kind.Group{Kinds: []*kind.Kind{pod}})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := set.ForKind(pod.GroupKind()); !ok || got != pod {
		t.Errorf("ForKind: %v, %v", got, ok)
	}
	if got, ok := set.ForObject(&corev1.Pod{}); !ok || got != pod {
		t.Errorf("ForObject: %v, %v", got, ok)
	}
	if _, ok := set.ForObject(&corev1.Secret{}); ok {
		t.Error("ForObject finds a kind that is not in the set")
	}
	for _, twice := range []*kind.Kind{pod, define("Other")} {
		if _, err := kind.NewSet(kind.Group{Kinds: []*kind.Kind{pod, twice}}); err == nil {
			t.Errorf("%s is taken twice", twice.Kind)
		}
	}
}
