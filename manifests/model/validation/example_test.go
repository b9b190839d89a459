package validation_test

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/validation"
)

func ExampleCreate() {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	d.Spec.Template.Labels = map[string]string{"app": "wbe"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web"}}
	defaults.Apply(d)
	for _, err := range validation.Create(d) {
		fmt.Println(err)
	}
	// Output:
	// spec.template.metadata.labels: Invalid value: {"app":"wbe"}: `selector` does not match template `labels`
	// spec.template.spec.containers[0].image: Required value
}
