package authz_test

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

// A node may read Ingresses and their classes, and of Secrets the certificates that
// Ingresses of Headway's own controller name.
func TestNodesReadCertificates(t *testing.T) {
	s, a := open(t, filepath.Join(t.TempDir(), "db"))
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	store := func(kind schema.GroupKind, obj object.Object) {
		t.Helper()
		key := object.KeyOf(kind, obj)
		if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{{Key: key, Mutate: func(object.Object) (object.Object, error) { return obj, nil }}}}); err != nil {
			t.Fatal(err)
		}
	}
	drop := func(kind schema.GroupKind, namespace, name string) {
		t.Helper()
		key := object.Key{GroupKind: kind, Namespace: namespace, Name: name}
		if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{{Key: key, Mutate: func(object.Object) (object.Object, error) { return nil, nil }}}}); err != nil {
			t.Fatal(err)
		}
	}
	ingressKind, classKind := schema.GroupKind{Group: networkingv1.GroupName, Kind: "Ingress"}, schema.GroupKind{Group: networkingv1.GroupName, Kind: "IngressClass"}
	class := func(name, controller string) *networkingv1.IngressClass {
		return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
	}
	ingress := func(name, class string, secrets ...string) *networkingv1.Ingress {
		i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: networkingv1.IngressSpec{IngressClassName: &class}}
		for _, secret := range secrets {
			i.Spec.TLS = append(i.Spec.TLS, networkingv1.IngressTLS{SecretName: secret})
		}
		return i
	}
	expect := func(what, name string, want bool) {
		t.Helper()
		for _, verb := range []string{"get", "list", "watch"} {
			for kind, want := range map[corev1.SecretType]bool{corev1.SecretTypeTLS: want && verb != "get", corev1.SecretTypeOpaque: false, "": false} {
				attributes := authorizer.AttributesRecord{
					User: &user.DefaultInfo{Name: "system:node:n1", Groups: []string{user.NodesGroup}},
					Verb: verb, APIVersion: "v1", Resource: "secrets", Namespace: "shop", Name: name, ResourceRequest: true,
				}
				if kind != "" {
					attributes.FieldSelectorRequirements = fields.Requirements{{Field: "type", Operator: selection.Equals, Value: string(kind)}, {Field: "metadata.name", Operator: selection.Equals, Value: name}}
				}
				decision, _, err := a.Authorize(t.Context(), attributes)
				if got := decision == authorizer.DecisionAllow; got != want || err != nil {
					t.Errorf("%s: %s of the Secret %s as of type %q: %t, %v; want %t", what, verb, name, kind, got, err, want)
				}
			}
		}
	}
	store(ingressKind, ingress("web", "own", "cert", "opaque", "cert"))
	store(ingressKind, ingress("foreign", "other", "theirs"))
	store(schema.GroupKind{Kind: "Secret"}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cert"}, Type: corev1.SecretTypeTLS})
	store(schema.GroupKind{Kind: "Secret"}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "opaque"}, Type: corev1.SecretTypeOpaque})
	expect("before there is a class", "cert", false)
	store(classKind, class("own", networking.HeadwayController))
	store(classKind, class("other", "example.com/proxy"))
	expect("a certificate", "cert", true)
	expect("a name that has no certificate at present", "opaque", true) // nothing but a certificate is told
	expect("another controller's", "theirs", false)
	expect("what nothing names", "password", false)
	if may(t, a, "n1", "get", "secrets", "other", "cert") || may(t, a, "n1", "list", "secrets", "shop", "") || may(t, a, "n1", "update", "secrets", "shop", "cert") {
		t.Error("a node may do more than read the certificate")
	}
	store(ingressKind, ingress("web", "own", "next"))
	expect("a name that was", "cert", false)
	expect("one that does not exist yet", "next", true)
	old := ingress("web", "", "cert")
	old.Spec.IngressClassName, old.Annotations = nil, map[string]string{networking.ClassAnnotation: "own"}
	store(ingressKind, old)
	expect("by the old annotation", "cert", true)
	drop(classKind, "", "own")
	expect("after the class", "cert", false)
	store(classKind, class("own", networking.HeadwayController))
	drop(ingressKind, "shop", "web")
	expect("after the Ingress", "cert", false)

	for resource, verbs := range map[string]map[string]bool{
		"ingresses": {"get": true, "list": true, "watch": true, "update": false, "delete": false}, "ingressclasses": {"list": true, "create": false}, "networkpolicies/status": {"update": false},
	} {
		for verb, want := range verbs {
			decision, _, err := a.Authorize(t.Context(), authorizer.AttributesRecord{
				User: &user.DefaultInfo{Name: "system:node:n1", Groups: []string{user.NodesGroup}},
				Verb: verb, APIGroup: networkingv1.GroupName, APIVersion: "v1", Resource: resource, ResourceRequest: true,
			})
			if got := decision == authorizer.DecisionAllow; err != nil || got != want {
				t.Errorf("%s of %s: %t, %v", verb, resource, got, err)
			}
		}
	}
}
