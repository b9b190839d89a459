package plugins_test

import (
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

// An Ingress that names no class gets the default, if there is one: of several the newest,
// of equally old ones the first by name.
func TestDefaultIngressClass(t *testing.T) {
	c := start(t)
	now := time.Now()
	class := func(name, isDefault string, age time.Duration) change.Change {
		return change.Create(&networkingv1.IngressClass{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: isDefault}},
			Spec:       networkingv1.IngressClassSpec{Controller: "example.com/" + name},
		}, now.Add(-age))
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
	c.must(shop(), class("other", "false", 0), ingress("before", bare))
	want("before", "none")
	// Also if both come together.
	c.must(class("proxy", "true", time.Hour), ingress("together", bare), ingress("named", func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new("other") }),
		ingress("annotated", func(i *networkingv1.Ingress) { i.Annotations = map[string]string{networking.ClassAnnotation: "old"} }))
	want("together", "proxy")
	want("named", "other")
	want("annotated", "none")
	c.must(class("newer", "true", time.Minute), class("a-older", "true", 2*time.Hour), class("z-newer", "true", time.Minute), ingress("several", bare))
	want("several", "newer")
	c.must(class("b-newest", "true", 0), class("c-newest", "true", 0), class("a-newest-no-default", "false", 0), ingress("after", bare))
	want("after", "b-newest")
}
