package authz_test

import (
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/api/authz"
	"headway.dev/manifests/gateway"
	"headway.dev/manifests/model/object"
)

// A node may watch the certificates that Gateways of Headway's own class name: of their own
// namespace, and of others while a ReferenceGrant permits it.
func TestNodesReadCertificatesOfGateways(t *testing.T) {
	s, a := open(t, filepath.Join(t.TempDir(), "db"))
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var graph authz.Graph
	write := func(key object.Key, obj object.Object) {
		e := object.Event{Type: object.Modified, Key: key, Object: obj}
		if obj == nil {
			e.Type = object.Deleted
		}
		graph.Observe([]object.Event{e})
	}
	store := func(text string) object.Key {
		t.Helper()
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		u.SetAPIVersion("gateway.networking.k8s.io/v1")
		key := object.Key{GroupKind: u.GroupVersionKind().GroupKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
		write(key, u)
		return key
	}
	expect := func(what, namespace, name string, want bool) {
		t.Helper()
		if got := graph.Certificate(namespace, name); got != want {
			t.Errorf("%s: %s/%s: %t, want %t", what, namespace, name, got, want)
		}
	}
	web := store(`{kind: Gateway, metadata: {name: web, namespace: shop}, spec: {gatewayClassName: headway, listeners: [
		{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: own}, {name: far, namespace: certs}]}}]}}`)
	expect("without a class", "shop", "own", false)
	store(`{kind: GatewayClass, metadata: {name: headway}, spec: {controllerName: headway.dev/gateway}}`)
	expect("named", "shop", "own", true)
	expect("not named", "shop", "other", false)
	expect("without a grant", "certs", "far", false)
	grant := store(`{kind: ReferenceGrant, metadata: {name: g, namespace: certs}, spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}], to: [{group: "", kind: Secret, name: far}]}}`)
	expect("granted", "certs", "far", true)
	write(grant, nil)
	expect("no more granted", "certs", "far", false)
	store(`{kind: GatewayClass, metadata: {name: headway}, spec: {controllerName: example.com/other}}`)
	expect("another controller's", "shop", "own", false)
	store(`{kind: GatewayClass, metadata: {name: headway}, spec: {controllerName: headway.dev/gateway}}`)
	write(web, nil)
	expect("gone", "shop", "own", false)
	for _, resource := range []string{"gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"} {
		for verb, want := range map[string]bool{"list": true, "watch": true, "update": false} {
			got, _, err := a.Authorize(t.Context(), authorizer.AttributesRecord{
				User: &user.DefaultInfo{Name: "system:node:n1", Groups: []string{user.NodesGroup}}, Verb: verb, Resource: resource,
				APIGroup: gateway.GatewayKind.Group, APIVersion: "v1", ResourceRequest: true,
			})
			if err != nil || (got == authorizer.DecisionAllow) != want {
				t.Errorf("%s %s: %v, %v", verb, resource, got, err)
			}
		}
	}
}
