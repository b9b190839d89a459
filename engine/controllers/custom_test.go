package controllers_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Custom resources, whose kind comes while the controllers run, own and are owned,
// are counted, and go with their namespace.
func TestCustomResources(t *testing.T) {
	c := start(t, 0)
	c.commit(change.Create(newQuota(map[corev1.ResourceName]string{"count/widgets.example.com": "5"}), time.Now()))
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	crd.Spec.Group, crd.Spec.Scope = "example.com", apiextensionsv1.NamespaceScoped
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Kind: "Widget"}
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true}}
	c.commit(change.Create(crd, time.Now()))
	key := object.Key{GroupKind: apiextensionsv1.Kind("CustomResourceDefinition"), Name: crd.Name}
	c.commit(change.PatchStatus(key, func(obj object.Object) bool {
		obj.(*apiextensionsv1.CustomResourceDefinition).Status.AcceptedNames = crd.Spec.Names
		return true
	}))
	c.eventually("the quota counts the new kind before there is one", func() bool {
		_, counted := control.Get[corev1.ResourceQuota](c.store, quotaKey).Status.Used["count/widgets.example.com"]
		return counted
	})
	widget := func(namespace, name string, owner object.Object) object.Key {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion("example.com/v1")
		u.SetKind("Widget")
		u.SetNamespace(namespace)
		u.SetName(name)
		if owner != nil {
			u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Widget", Name: owner.GetName(), UID: owner.GetUID()}})
		}
		c.commit(change.Create(u, time.Now()))
		return object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Widget"}, Namespace: namespace, Name: name}
	}
	c.commit(change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, time.Now()))
	owner := widget("default", "owner", nil)
	owned := widget("default", "owned", c.store.Get(owner))
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owned", OwnerReferences: c.store.Get(owned).GetOwnerReferences()}}
	c.commit(change.Create(cm, time.Now()))
	inShop := widget("shop", "a", nil)

	c.commit(change.Delete(owner, metav1.DeleteOptions{}, time.Now()))
	c.eventually("what the widget owned is collected", func() bool {
		return c.store.Get(owned) == nil && c.store.Get(object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: "owned"}) == nil
	})
	shop := object.Key{GroupKind: control.Namespace, Name: "shop"}
	c.commit(change.Delete(shop, metav1.DeleteOptions{}, time.Now()))
	c.eventually("the namespace is gone with its widget", func() bool { return c.store.Get(shop) == nil && c.store.Get(inShop) == nil })
}
