package diff_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/yaml/diff"
)

// Items of a list are named by the merge key of their type, not by their place.
func ExampleObjects() {
	pod := func(containers ...corev1.Container) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{Containers: containers}}
	}
	web, proxy := corev1.Container{Name: "web", Image: "web:1"}, corev1.Container{Name: "proxy", Image: "proxy:1"}
	newer := web
	newer.Image = "web:2"
	for _, f := range diff.Objects(pod(proxy, web), pod(proxy, newer)) {
		fmt.Printf("%s: %v → %v\n", f.Path, f.Old, f.New)
	}
	// Output:
	// spec.containers[name=web].image: web:1 → web:2
}
