package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// grant binds rules to the account deployer of a tenant: in a namespace, or in
// the cluster (empty).
func (w *tenants) grant(tenant, namespace, name string, rules ...rbacv1.PolicyRule) {
	w.t.Helper()
	who := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: tenant, Name: "deployer"}}
	in := metav1.ObjectMeta{Namespace: namespace, Name: name}
	if namespace == "" {
		w.commit(
			change.Create(&rbacv1.ClusterRole{ObjectMeta: in, Rules: rules}, time.Now()),
			change.Create(&rbacv1.ClusterRoleBinding{ObjectMeta: in, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: name}, Subjects: who}, time.Now()),
		)
		return
	}
	w.commit(
		change.Create(&rbacv1.Role{ObjectMeta: in, Rules: rules}, time.Now()),
		change.Create(&rbacv1.RoleBinding{ObjectMeta: in, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: name}, Subjects: who}, time.Now()),
	)
}

func core(verbs string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: []string{""}, Resources: resources}
}

func space(name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", name)
}

func (w *tenants) eventually(what string, ok func() bool) {
	w.t.Helper()
	headwaytest.Eventually(w.t, what, ok, func() string {
		all := ""
		for _, tenant := range []string{"a", "b"} {
			all += fmt.Sprintf("Kustomization %s/app says %q\n", tenant, readyText(w.app(tenant)))
		}
		return all
	})
}

// A tenant deletes a Namespace, by a commit or with its Kustomization, only
// with the right to delete that Namespace; then it goes with all that is in it,
// whoever may delete that.
func TestTenantDeletesNamespace(t *testing.T) {
	w := startTenants(t)
	w.grant("a", "", "spaces", core("get patch create", "namespaces", "configmaps"))
	w.condition("a", w.push("a", space("extra"), settings("extra", "own", "one"), settings("a", "own", "one")), "True Applied revision")
	// Of others, in it.
	w.grant("a", "extra", "configmaps", core("delete", "configmaps"))
	w.settle()
	before := w.snapshot()
	const denied = `namespaces "extra" is forbidden: User "system:serviceaccount:a:deployer" cannot delete resource "namespaces" in API group "" in the namespace "extra"`
	sha := w.push("a", settings("a", "own", "two"))
	w.condition("a", sha, denied)
	w.unchanged(before, "a commit without the Namespace")

	app := object.Key{GroupKind: schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: "Kustomization"}, Namespace: "b", Name: "app"}
	w.grant("b", "", "spaces-too", core("get patch create", "namespaces"))
	w.condition("b", w.push("b", space("more")), "True Applied revision")
	w.settle()
	before = w.snapshot()
	w.commit(change.Delete(app, metav1.DeleteOptions{}, time.Now()))
	w.eventually("an event tells that the deletion is refused", func() bool {
		return w.hasEvent("b", "PruneFailed", `namespaces "more" is forbidden: User "system:serviceaccount:b:deployer" cannot delete resource "namespaces"`)
	})
	w.unchanged(before, "a deletion of the Kustomization")

	// The right may come from the Namespace itself, as for requests to the API.
	w.grant("a", "extra", "itself", core("delete", "namespaces"))
	w.condition("a", sha, "True Applied revision")
	w.eventually("the Namespace is gone", func() bool { return w.get("Namespace", "", "extra") == nil })
	for name := range w.snapshot() {
		if strings.Contains(name, " extra/") {
			t.Errorf("%s outlives its Namespace", name)
		}
	}
	w.grant("b", "more", "itself", core("delete", "namespaces"))
	w.eventually("the other Namespace is gone", func() bool { return w.get("Namespace", "", "more") == nil && w.Engine.Store().Get(app) == nil })
}

// What a commit wants in a Namespace that it deletes refuses it: stored, it
// would be gone at once.
func TestTenantMovesIntoDeletedNamespace(t *testing.T) {
	w := startTenants(t)
	w.grant("a", "", "spaces", core("get patch create delete", "namespaces", "configmaps"))
	w.condition("a", w.push("a", space("old"), space("new"), settings("old", "kept", "one"), settings("a", "moved", "one")), "True Applied revision")
	w.settle()
	before := w.snapshot()
	for what, manifests := range map[string][]string{
		"moved": {space("new"), settings("old", "moved", "one")},
		"kept":  {space("new"), settings("old", "kept", "one"), settings("a", "moved", "one")},
	} {
		sha := w.push("a", manifests...)
		w.condition("a", sha, "ConfigMap old/"+what+": the Namespace old is no longer declared, and would be deleted with all that is in it: declare it, or move the object")
		w.unchanged(before, what)
	}
	// Out of it they may.
	w.condition("a", w.push("a", space("new"), settings("new", "kept", "one"), settings("new", "moved", "one")), "True Applied revision")
	w.eventually("the Namespace is gone", func() bool { return w.get("Namespace", "", "old") == nil })
	for _, name := range []string{"kept", "moved"} {
		if w.get("ConfigMap", "new", name) == nil {
			t.Errorf("%s did not move", name)
		}
		if w.get("ConfigMap", "old", name) != nil || w.get("ConfigMap", "a", name) != nil {
			t.Errorf("%s is where it was", name)
		}
	}
}
