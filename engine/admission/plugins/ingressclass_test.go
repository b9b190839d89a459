package plugins_test

import (
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

// An Ingress that names no class gets the default, if there is one; with two nobody knows
// which is meant.
func TestDefaultIngressClass(t *testing.T) {
	c := start(t)
	class := func(name, isDefault string) change.Change {
		return change.Create(&networkingv1.IngressClass{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: isDefault}},
			Spec:       networkingv1.IngressClassSpec{Controller: "example.com/" + name},
		}, time.Now())
	}
	ingress := func(name string, edit func(*networkingv1.Ingress)) change.Change {
		i := &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec:       networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}},
		}
		edit(i)
		return change.Create(i, time.Now())
	}
	bare := func(*networkingv1.Ingress) {}
	want := func(name, want string) {
		t.Helper()
		i := c.store.Get(object.Key{GroupKind: schema.GroupKind{Group: networkingv1.GroupName, Kind: "Ingress"}, Namespace: "shop", Name: name}).(*networkingv1.Ingress)
		got := "none"
		if i.Spec.IngressClassName != nil {
			got = *i.Spec.IngressClassName
		}
		if got != want {
			t.Errorf("%s has the class %s, want %s", name, got, want)
		}
	}
	c.must(shop(), class("other", "false"), ingress("before", bare))
	want("before", "none")
	// Also if both come together.
	c.must(class("proxy", "true"), ingress("together", bare), ingress("named", func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new("other") }),
		ingress("annotated", func(i *networkingv1.Ingress) { i.Annotations = map[string]string{networking.ClassAnnotation: "old"} }))
	want("together", "proxy")
	want("named", "other")
	want("annotated", "none")
	c.must(class("second", "true"))
	wantError(t, "two defaults", c.commit(ingress("after", bare)), apierrors.IsForbidden, "2 default IngressClasses were found, only 1 allowed")
}
