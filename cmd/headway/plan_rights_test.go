package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// landlord makes the Kustomization of tenant a an administrator's, which
// onboards others from the directory cluster of its repository.
func landlord(t *testing.T) *tenants {
	t.Helper()
	w := startTenants(t)
	w.grant("a", "", "all", rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}})
	w.commit(change.Patch(object.Key{GroupKind: schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: "Kustomization"}, Namespace: "a", Name: "app"}, func(o object.Object) bool {
		o.(*kustomizev1.Kustomization).Spec.Path = "./cluster"
		return true
	}))
	w.edit(map[string]string{"cluster/own.yaml": settings("a", "own", "one")})
	w.condition("a", w.commitFiles(), "True Applied revision")
	return w
}

// edit writes files of the landlord's repository; empty contents remove one.
func (w *tenants) edit(files map[string]string) {
	w.t.Helper()
	headwaytest.WriteFiles(w.t, w.dirs["a"], files)
}

func (w *tenants) commitFiles() string {
	w.t.Helper()
	w.git("a", "add", "-A")
	w.git("a", "commit", "-q", "-m", "change")
	return w.git("a", "rev-parse", "HEAD")
}

// branch commits files on a branch of their own, and returns how a plan of it
// has them by Kustomization: what it does, its errors, and its warnings, but that
// there is no node.
func (w *tenants) branch(name string, files map[string]string) map[string]string {
	w.t.Helper()
	w.git("a", "checkout", "-q", "-b", name)
	w.edit(files)
	w.commitFiles()
	w.git("a", "checkout", "-q", "main")
	all, err := w.Syncer.Plan(w.t.Context(), wire.PlanRequest{Source: "a/app", Rev: name})
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range append(all.Plans, all.Plan) {
		var lines []string
		for _, a := range p.Actions {
			lines = append(lines, fmt.Sprintf("%s %s/%s", a.Action, a.Kind, a.Name))
		}
		for _, e := range p.Errors {
			lines = append(lines, e.Message)
		}
		for _, c := range p.Checks {
			if c.Result == wire.CheckWarning && c.Name != "scheduling" {
				lines = append(lines, c.Name+": "+c.Message)
			}
		}
		got[p.Kustomization] = strings.Join(lines, "\n")
	}
	return got
}

// merge brings a branch to main, and returns the commit.
func (w *tenants) merge(name string) string {
	w.t.Helper()
	w.git("a", "merge", "-q", "--no-edit", name)
	return w.git("a", "rev-parse", "HEAD")
}

// account is the ServiceAccount deployer.
func account(namespace string) string {
	return "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: deployer, namespace: " + namespace + "}\n"
}

func bindTo(namespace, name, kind, role string) string {
	return fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[2]s-%[4]s, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: %[3]s, name: %[4]s}
subjects: [{kind: ServiceAccount, name: %[2]s, namespace: %[1]s}]
`, namespace, name, kind, role)
}

func follow(namespace, name, path, more string) string {
	return fmt.Sprintf(`apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: %s, namespace: %s}
spec: {interval: 1h, prune: true, path: ./%s, sourceRef: {kind: GitRepository, name: app, namespace: a}%s}
`, name, namespace, path, more)
}

func as(account string) string { return ", serviceAccountName: " + account }

func documents(list ...string) string { return strings.Join(list, "---\n") }

// A plan judges the Kustomizations of a tenant that the commit onboards by the
// rights that they would have, and the sync of the commit does the same.
func TestPlanOfNewTenants(t *testing.T) {
	w := landlord(t)
	const role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: settings, namespace: %s}\nrules: [{verbs: [get, patch, create], apiGroups: [''], resources: [configmaps]}]\n"
	const aggregated = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: edit-roles, labels: {rbac.authorization.k8s.io/aggregate-to-edit: 'true'}}\nrules: [{verbs: [get, patch, create], apiGroups: [rbac.authorization.k8s.io], resources: [roles]}]\n"
	const emptyRole = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: none, namespace: %s}\nrules: []\n"
	const refused = `%s "%s" is forbidden: User "system:serviceaccount:%s:%s" cannot get resource "%[1]s" in API group "" in the namespace "%[3]s"`
	for _, c := range []struct {
		name string
		// cluster is what the landlord declares besides the Namespace, files
		// what else the commit holds.
		cluster func(ns string) string
		files   func(ns string) map[string]string
		want    string // of the plan of the tenant's Kustomization
		applied bool
	}{
		{name: "whole", cluster: func(ns string) string {
			return documents(account(ns), bindTo(ns, "deployer", "ClusterRole", "edit"), follow(ns, "app", ns, as("deployer")))
		}, want: "Create ConfigMap/first", applied: true},
		{name: "own-role", cluster: func(ns string) string {
			return documents(account(ns), fmt.Sprintf(role, ns), bindTo(ns, "deployer", "Role", "settings"), follow(ns, "app", ns, as("deployer")))
		}, want: "Create ConfigMap/first", applied: true},
		{name: "default-account", cluster: func(ns string) string {
			return documents(bindTo(ns, "default", "ClusterRole", "edit"), follow(ns, "app", ns, as("default")))
		}, want: "Create ConfigMap/first", applied: true},
		{name: "unbound", cluster: func(ns string) string {
			return documents(account(ns), follow(ns, "app", ns, as("deployer")))
		}, want: "unbound/cm.yaml:1: ConfigMap unbound/first: " + fmt.Sprintf(refused, "configmaps", "first", "unbound", "deployer")},
		{name: "without-account", cluster: func(ns string) string {
			return documents(bindTo(ns, "deployer", "ClusterRole", "edit"), follow(ns, "app", ns, as("deployer")))
		}, want: "ServiceAccount without-account/deployer not found: create it, or change spec.serviceAccountName of the Kustomization"},
		{name: "too-much", cluster: func(ns string) string {
			return documents(account(ns), fmt.Sprintf(role, ns), bindTo(ns, "deployer", "Role", "settings"), follow(ns, "app", ns, as("deployer")))
		}, files: func(ns string) map[string]string {
			return map[string]string{"secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: " + ns + "}\n"}
		}, want: "too-much/secret.yaml:1: Secret too-much/key: " + fmt.Sprintf(refused, "secrets", "key", "too-much", "deployer")},
		// No commit authorizes itself.
		{name: "by-itself", cluster: func(ns string) string {
			return documents(account(ns), follow(ns, "app", ns, as("deployer")))
		}, files: func(ns string) map[string]string {
			return map[string]string{"binding.yaml": bindTo(ns, "deployer", "ClusterRole", "cluster-admin")}
		}, want: `by-itself/binding.yaml:1: RoleBinding by-itself/deployer-cluster-admin: rolebindings.rbac.authorization.k8s.io "deployer-cluster-admin" is forbidden: ` +
			`User "system:serviceaccount:by-itself:deployer" cannot get resource "rolebindings" in API group "rbac.authorization.k8s.io" in the namespace "by-itself"` +
			"\nby-itself/cm.yaml:1: ConfigMap by-itself/first: " + fmt.Sprintf(refused, "configmaps", "first", "by-itself", "deployer")},
		// Another Kustomization brings the rights: planned later, and applied
		// later, which has the tenant's tried again.
		{name: "from-another", cluster: func(ns string) string {
			return documents(account(ns), follow(ns, "app", ns, as("deployer")), follow(ns, "zz", ns+"-rights", ""))
		}, files: func(ns string) map[string]string {
			return map[string]string{"../" + ns + "-rights/binding.yaml": bindTo(ns, "deployer", "ClusterRole", "edit")}
		}, want: "Create ConfigMap/first", applied: true},
		{name: "from-one-that-waits", cluster: func(ns string) string {
			return documents(account(ns), follow(ns, "app", ns, as("deployer")), follow(ns, "zz", ns+"-rights", ", dependsOn: [{name: app}]"))
		}, files: func(ns string) map[string]string {
			return map[string]string{"../" + ns + "-rights/binding.yaml": bindTo(ns, "deployer", "ClusterRole", "edit")}
		}, want: "from-one-that-waits/cm.yaml:1: ConfigMap from-one-that-waits/first: " + fmt.Sprintf(refused, "configmaps", "first", "from-one-that-waits", "deployer")},
		{name: "aggregated", cluster: func(ns string) string {
			return documents(account(ns), aggregated, bindTo(ns, "deployer", "ClusterRole", "edit"), follow(ns, "app", ns, as("deployer")))
		}, files: func(ns string) map[string]string {
			return map[string]string{"role.yaml": fmt.Sprintf(emptyRole, ns)}
		}, want: "Create Role/none\nCreate ConfigMap/first", applied: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			files := map[string]string{"cluster/" + c.name + ".yaml": documents(space(c.name), c.cluster(c.name)), c.name + "/cm.yaml": settings(c.name, "first", "one")}
			if c.files != nil {
				for name, data := range c.files(c.name) {
					files[filepath.Join(c.name, name)] = data
				}
			}
			got := w.branch(c.name, files)
			if got := got[c.name+"/app"]; got != c.want {
				t.Errorf("planned: %q, want %q", got, c.want)
			}
			if w.get("Namespace", "", c.name) != nil {
				t.Error("the plan was carried out")
			}
			sha, says := w.merge(c.name), "True Applied revision"
			if !c.applied {
				says = "False " + c.want
			}
			w.condition("a", sha, "True Applied revision")
			w.condition(c.name, sha, says)
			if stored := w.get("ConfigMap", c.name, "first") != nil; stored != c.applied {
				t.Errorf("stored: %v, want %v", stored, c.applied)
			}
		})
	}
}

// Rights that a commit takes away are gone in its plan, also for what is
// planned first.
func TestPlanOfTenantsThatLoseRights(t *testing.T) {
	w := landlord(t)
	tenant := func(ns string) string {
		return documents(space(ns), account(ns), follow(ns, "app", ns, as("deployer")))
	}
	binding := func(ns string) string { return bindTo(ns, "deployer", "ClusterRole", "edit") }
	w.edit(map[string]string{
		"cluster/b0.yaml": tenant("b0"), "cluster/b0-rights.yaml": binding("b0"), "b0/cm.yaml": settings("b0", "kept", "one"),
		"cluster/z.yaml": tenant("z"), "cluster/z-rights.yaml": binding("z"), "z/cm.yaml": settings("z", "kept", "one"),
	})
	sha := w.commitFiles()
	for _, ns := range []string{"b0", "z"} {
		w.condition(ns, sha, "True Applied revision")
	}
	const refused = `%[1]s/cm.yaml:1: ConfigMap %[1]s/kept: configmaps "kept" is forbidden: User "system:serviceaccount:%[1]s:deployer" cannot get resource "configmaps" in API group "" in the namespace "%[1]s"`
	got := w.branch("revoke", map[string]string{
		"cluster/b0-rights.yaml": "", "cluster/z-rights.yaml": "", "b0/cm.yaml": settings("b0", "kept", "two"), "z/cm.yaml": settings("z", "kept", "two"),
	})
	for _, ns := range []string{"b0", "z"} {
		if got, want := got[ns+"/app"], fmt.Sprintf(refused, ns); got != want {
			t.Errorf("%s: planned %q, want %q", ns, got, want)
		}
	}
	// Without their account the objects of a Kustomization that is deleted stay,
	// but for those whose Namespace goes.
	got = w.branch("leave", map[string]string{
		"cluster/b0.yaml": space("b0"), "cluster/b0-rights.yaml": "", "cluster/z.yaml": "", "cluster/z-rights.yaml": "",
	})
	if got, want := got["b0/app"], "spec.serviceAccountName: the account that the Kustomization acts as will not exist, which leaves 1 object that nobody else may delete: ConfigMap/b0/kept"; !strings.Contains(got, want) || strings.Contains(got, "Delete") {
		t.Errorf("b0: planned %q, want %q", got, want)
	}
	if got := got["z/app"]; got != "" {
		t.Errorf("z: planned %q, want nothing: its Namespace takes everything along", got)
	}
	sha = w.merge("leave")
	w.condition("a", sha, "True Applied revision")
	w.eventually("both Kustomizations are gone", func() bool {
		return w.get("Kustomization", "b0", "app") == nil && w.get("Kustomization", "z", "app") == nil && w.get("Namespace", "", "z") == nil
	})
	if w.get("ConfigMap", "b0", "kept") == nil {
		t.Error("an object was deleted in the name of an account that is gone")
	}
}
