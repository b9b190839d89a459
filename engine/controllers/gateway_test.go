package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/controllers/bootstrap"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/gateway"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/apiextensions"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

// Each cluster gets the definitions of the Gateway API and a class; the statuses of Gateways
// and routes say what is served, and what is not, by the reasons of the specification.
func TestGatewayStatus(t *testing.T) {
	c := start(t, 0)
	definition := func(name string) object.Key {
		return object.Key{GroupKind: apiextensionsv1.Kind("CustomResourceDefinition"), Name: name + ".gateway.networking.k8s.io"}
	}
	names := []string{"gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"}
	for _, name := range names {
		c.eventually("the definition of "+name, func() bool { return c.store.Get(definition(name)) != nil })
		// What the API server does.
		c.commit(change.PatchStatus(definition(name), func(obj object.Object) bool {
			crd := obj.(*apiextensionsv1.CustomResourceDefinition)
			crd.Status.AcceptedNames = crd.Spec.Names
			return true
		}))
	}
	class := object.Key{GroupKind: gateway.ClassKind, Name: gateway.Class}
	conditions := func(key object.Key, path ...string) string {
		u, _ := c.store.Get(key).(*unstructured.Unstructured)
		if u == nil {
			return "none"
		}
		at := u.Object["status"]
		for _, p := range path {
			if list, ok := at.([]any); ok {
				n := 0
				_, _ = fmt.Sscan(p, &n)
				if at = nil; n < len(list) {
					at = list[n]
				}
				continue
			}
			m, _ := at.(map[string]any)
			at = m[p]
		}
		m, _ := at.(map[string]any)
		list, _ := m["conditions"].([]any)
		var out []string
		for _, one := range list {
			cond := one.(map[string]any)
			if cond["lastTransitionTime"] == nil || cond["observedGeneration"] == nil {
				out = append(out, "incomplete")
			}
			out = append(out, fmt.Sprintf("%v=%v/%v", cond["type"], cond["status"], cond["reason"]))
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	become := func(want string, key object.Key, path ...string) {
		t.Helper()
		for over := time.Now().Add(30 * time.Second); conditions(key, path...) != want; <-time.After(10 * time.Millisecond) {
			if time.Now().After(over) {
				t.Fatalf("%s has the conditions %s, want %s", key.Name, conditions(key, path...), want)
			}
		}
	}
	become("Accepted=True/Accepted SupportedVersion=True/SupportedVersion", class)
	commit := func(text string) object.Key {
		t.Helper()
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		u.SetAPIVersion("gateway.networking.k8s.io/v1")
		if u.GetKind() == "ReferenceGrant" {
			u.SetAPIVersion("gateway.networking.k8s.io/v1beta1")
		}
		if u.GetNamespace() == "" {
			u.SetNamespace("default")
		}
		crd := c.store.Get(definition(strings.ToLower(u.GetKind()) + "s")).(*apiextensionsv1.CustomResourceDefinition)
		k, _ := apiextensions.Declared(crd)
		c.commit(change.CreateOf(k, u, time.Now()))
		return object.Key{GroupKind: u.GroupVersionKind().GroupKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
	}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}}}}
	c.commit(change.Create(svc, time.Now()))
	web := commit(`{kind: Gateway, metadata: {name: web}, spec: {gatewayClassName: headway, listeners: [
		{name: http, port: 80, protocol: HTTP, hostname: "*.example.com"}, {name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}},
		{name: api, port: 6443, protocol: HTTP}, {name: node, port: 30080, protocol: HTTP}, {name: tcp, port: 9000, protocol: TCP}]}}`)
	become("Accepted=True/ListenersNotValid Programmed=False/AddressNotAssigned", web)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{networking.NodeAnnotation: "true"}}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
	c.commit(change.Create(node, time.Now()))
	become("Accepted=True/ListenersNotValid Programmed=True/Programmed", web)
	for i, want := range []string{
		"Accepted=True/Accepted Conflicted=False/NoConflicts Programmed=True/Programmed ResolvedRefs=True/ResolvedRefs",
		"Accepted=True/Accepted Conflicted=False/NoConflicts Programmed=False/Invalid ResolvedRefs=False/InvalidCertificateRef",
		"Accepted=False/PortUnavailable Conflicted=False/NoConflicts Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs",
		"Accepted=False/PortUnavailable Conflicted=False/NoConflicts Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs",
		"Accepted=False/UnsupportedProtocol Conflicted=False/NoConflicts Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs",
	} {
		become(want, web, "listeners", fmt.Sprint(i))
	}
	late := commit(`{kind: Gateway, metadata: {name: z-late}, spec: {gatewayClassName: headway, listeners: [{name: http, port: 80, protocol: HTTP, hostname: "*.example.com"}]}}`)
	become("Accepted=False/HostnameConflict Conflicted=True/HostnameConflict Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs", late, "listeners", "0")
	route := func(name, namespace, spec string) object.Key {
		t.Helper()
		return commit(fmt.Sprintf("{kind: HTTPRoute, metadata: {name: %s, namespace: %s}, spec: {%s}}", name, namespace, spec))
	}
	c.commit(change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "far"}}, time.Now()))
	const backend = "rules: [{backendRefs: [{name: web, port: 80}]}]"
	for key, want := range map[object.Key]string{
		route("good", "default", `parentRefs: [{name: web, sectionName: http}], hostnames: [a.example.com], `+backend):                              "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs",
		route("hosts", "default", `parentRefs: [{name: web, sectionName: http}], hostnames: [example.com], `+backend):                               "Accepted=False/NoMatchingListenerHostname ResolvedRefs=True/ResolvedRefs",
		route("section", "default", `parentRefs: [{name: web, sectionName: none}], `+backend):                                                       "Accepted=False/NoMatchingParent ResolvedRefs=True/ResolvedRefs",
		route("far", "far", `parentRefs: [{name: web, namespace: default}], `+backend):                                                              "Accepted=False/NotAllowedByListeners ResolvedRefs=False/BackendNotFound",
		route("nobody", "default", `parentRefs: [{name: web, sectionName: http}], rules: [{backendRefs: [{name: nobody, port: 80}]}]`):              "Accepted=True/Accepted ResolvedRefs=False/BackendNotFound",
		route("kind", "default", `parentRefs: [{name: web, sectionName: http}], rules: [{backendRefs: [{kind: Bucket, name: web, port: 80}]}]`):     "Accepted=True/Accepted ResolvedRefs=False/InvalidKind",
		route("grant", "default", `parentRefs: [{name: web, sectionName: http}], rules: [{backendRefs: [{name: x, namespace: far, port: 80}]}]`):    "Accepted=True/Accepted ResolvedRefs=False/RefNotPermitted",
		route("filter", "default", `parentRefs: [{name: web, sectionName: http}], rules: [{filters: [{type: CORS, cors: {allowOrigins: ["*"]}}]}]`): "Accepted=False/UnsupportedValue ResolvedRefs=True/ResolvedRefs",
	} {
		become(want, key, "parents", "0")
	}
	attached := func() any {
		u := c.store.Get(web).(*unstructured.Unstructured)
		list, _, _ := unstructured.NestedSlice(u.Object, "status", "listeners")
		return list[0].(map[string]any)["attachedRoutes"]
	}
	c.eventually("routes are counted", func() bool { return fmt.Sprint(attached()) == "4" })
	commit(`{kind: ReferenceGrant, metadata: {name: g, namespace: far}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}], to: [{group: "", kind: Service}]}}`)
	become("Accepted=True/Accepted ResolvedRefs=False/BackendNotFound", object.Key{GroupKind: gateway.HTTPRouteKind, Namespace: "default", Name: "grant"}, "parents", "0")

	// Who deletes a definition is obeyed.
	c.commit(change.Delete(definition("grpcroutes"), metav1.DeleteOptions{}, time.Now()))
	c.commit(change.Patch(object.Key{GroupKind: control.Namespace, Name: bootstrap.SystemNamespace}, func(obj object.Object) bool {
		obj.SetLabels(map[string]string{"look": "again"})
		return true
	}))
	become("Accepted=True/Accepted SupportedVersion=True/SupportedVersion", class)
	if crd, _ := c.store.Get(definition("grpcroutes")).(*apiextensionsv1.CustomResourceDefinition); crd != nil && crd.DeletionTimestamp == nil {
		t.Error("a definition that was deleted is made again")
	}

	// Without their class Gateways are not served, and say so.
	c.commit(change.Delete(class, metav1.DeleteOptions{}, time.Now()))
	become("Accepted=False/Invalid Programmed=False/Invalid", web)
}
