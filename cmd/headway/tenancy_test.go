package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// tenants is a server with a syncer, without nodes, and a repository for each
// of two tenants, a and b: the account deployer of the tenant's namespace has
// the ClusterRole edit there, and the tenant's Kustomization acts as it.
type tenants struct {
	*uptest.Server
	t    *testing.T
	dirs map[string]string // work trees, by tenant
}

func startTenants(t *testing.T) *tenants {
	t.Helper()
	w := &tenants{t: t, dirs: map[string]string{}}
	local := map[string]string{}
	for _, tenant := range []string{"a", "b"} {
		w.dirs[tenant] = t.TempDir()
		w.git(tenant, "init", "-q", "-b", "main")
		w.git(tenant, "commit", "-q", "--allow-empty", "-m", "begin")
		local[tenant+"/app"] = w.dirs[tenant]
	}
	own := headwaytest.NewRepository(t, map[string]string{"empty.yaml": "# Nothing yet.\n"})
	w.Server = uptest.Start(t, own.Bare, uptest.Options{Local: local})
	for _, tenant := range []string{"a", "b"} {
		w.onboard(tenant)
	}
	w.settle()
	return w
}

// settle waits until the controllers have made what they make at the start and
// in new namespaces: it must not be taken for what a tenant has written.
func (w *tenants) settle() {
	w.t.Helper()
	w.eventually("every namespace has its account", func() bool {
		namespaces, _ := w.Engine.Store().List(schema.GroupKind{Kind: "Namespace"}, "")
		return !slices.ContainsFunc(namespaces, func(ns object.Object) bool {
			return w.get("ServiceAccount", ns.GetName(), "default") == nil
		})
	})
	w.eventually("every flow schema has its condition", func() bool {
		schemas, _ := w.Engine.Store().List(flowcontrolv1.SchemeGroupVersion.WithKind("FlowSchema").GroupKind(), "")
		return len(schemas) > 0 && !slices.ContainsFunc(schemas, func(obj object.Object) bool {
			s, ok := obj.(*flowcontrolv1.FlowSchema)
			return !ok || len(s.Status.Conditions) == 0
		})
	})
	// The last that a new cluster is given; before it, the kinds of the Gateway API.
	w.eventually("the cluster has its GatewayClass", func() bool {
		ns := w.get("Namespace", "", wire.SystemNamespace)
		return ns != nil && ns.GetAnnotations()["headway.dev/made-gateway-class"] != ""
	})
	headwaytest.Quiet(w.t, "the controllers do not write any more", func() string { return fmt.Sprint(w.snapshot()) })
}

// onboard makes what an administrator makes for a tenant.
func (w *tenants) onboard(tenant string) {
	w.t.Helper()
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: tenant, Name: name} }
	w.commit(change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant}}, time.Now()))
	w.commit(
		change.Create(&corev1.ServiceAccount{ObjectMeta: in("deployer")}, time.Now()),
		change.Create(&rbacv1.RoleBinding{
			ObjectMeta: in("deployer"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: tenant, Name: "deployer"}},
		}, time.Now()),
		change.Create(&sourcev1.GitRepository{ObjectMeta: in("app"), Spec: sourcev1.GitRepositorySpec{
			URL: "file://" + w.dirs[tenant], Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		}}, time.Now()),
		change.Create(&kustomizev1.Kustomization{
			ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "app", Annotations: map[string]string{flux.MaxDeletes: "100"}},
			Spec: kustomizev1.KustomizationSpec{
				Interval: metav1.Duration{Duration: time.Hour}, Path: "./", Prune: true, ServiceAccountName: "deployer",
				SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"},
			},
		}, time.Now()),
	)
}

func (w *tenants) commit(changes ...change.Change) {
	w.t.Helper()
	if _, err := w.Engine.Store().Commit(w.t.Context(), change.Tx{Changes: changes}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tenants) git(tenant string, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	cmd.Dir = w.dirs[tenant]
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// push makes the tenant's repository hold exactly one file, and returns the
// commit.
func (w *tenants) push(tenant string, manifests ...string) string {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dirs[tenant], "all.yaml"), []byte(strings.Join(manifests, "---\n")), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.git(tenant, "add", "-A")
	w.git(tenant, "commit", "-q", "--allow-empty", "-m", "change")
	return w.git(tenant, "rev-parse", "HEAD")
}

// condition waits until the tenant's Kustomization says what is wanted of a
// commit (empty: of any).
func (w *tenants) condition(tenant, commit, want string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("Kustomization %s/app says %q", tenant, want), func() bool {
		ks := w.app(tenant)
		return strings.Contains(readyText(ks), want) && (commit == "" || strings.HasSuffix(ks.Status.LastAttemptedRevision, commit))
	})
}

// app is the tenant's Kustomization, empty if there is none.
func (w *tenants) app(tenant string) *kustomizev1.Kustomization {
	if ks, ok := w.get("Kustomization", tenant, "app").(*kustomizev1.Kustomization); ok {
		return ks
	}
	return &kustomizev1.Kustomization{}
}

// readyText is the Ready condition of a Kustomization.
func readyText(ks *kustomizev1.Kustomization) string {
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, "Ready"); c != nil {
		return fmt.Sprintf("%s %s", c.Status, c.Message)
	}
	return "no condition"
}

func (w *tenants) get(kind, namespace, name string) object.Object {
	for _, k := range scheme.Kinds() {
		if k.Kind == kind {
			return w.Engine.Store().Get(object.Key{GroupKind: k.GroupKind(), Namespace: namespace, Name: name})
		}
	}
	w.t.Fatalf("no kind %s", kind)
	return nil
}

// snapshot are the versions of everything that a tenant might want to reach:
// all objects but those of the tenants' own Kustomizations, and Events.
func (w *tenants) snapshot() map[string]string {
	all := map[string]string{}
	for _, k := range scheme.Kinds() {
		switch k.Kind {
		case "Event", "Kustomization", "GitRepository", "Lease":
			continue
		}
		list, _ := w.Engine.Store().List(k.GroupKind(), "")
		for _, obj := range list {
			all[k.Kind+" "+obj.GetNamespace()+"/"+obj.GetName()] = obj.GetResourceVersion()
		}
	}
	return all
}

func (w *tenants) unchanged(before map[string]string, what string) {
	w.t.Helper()
	after := w.snapshot()
	for name, version := range after {
		if before[name] != version {
			w.t.Errorf("%s: %s was written", what, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			w.t.Errorf("%s: %s was deleted", what, name)
		}
	}
}

func settings(namespace, name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {key: %s}\n", name, namespace, value)
}

// What a tenant commits is written only as far as its account may: one object
// too much refuses the whole commit.
func TestTenantsStayInTheirNamespaces(t *testing.T) {
	w := startTenants(t)
	w.condition("a", w.push("a", settings("a", "own", "one")), "True Applied revision")
	w.condition("b", w.push("b", settings("b", "own", "one")), "True Applied revision")
	const user = `User "system:serviceaccount:a:deployer" cannot `
	rbac := "apiVersion: rbac.authorization.k8s.io/v1\n"
	for name, c := range map[string]struct{ manifest, want string }{
		"another's namespace":   {settings("b", "planted", "x"), `configmaps "planted" is forbidden: ` + user + `get resource "configmaps" in API group "" in the namespace "b"`},
		"another's object":      {settings("b", "own", "stolen"), `configmaps "own" is forbidden: ` + user + `get resource "configmaps" in API group "" in the namespace "b"`},
		"the cluster":           {"apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n", `namespaces "mine" is forbidden: ` + user + `get resource "namespaces" in API group "" in the namespace "mine"`},
		"a binding to all":      {rbac + "kind: RoleBinding\nmetadata: {name: up, namespace: a}\nroleRef: {kind: ClusterRole, name: cluster-admin, apiGroup: rbac.authorization.k8s.io}\nsubjects: [{kind: ServiceAccount, name: deployer, namespace: a}]\n", `rolebindings.rbac.authorization.k8s.io "up" is forbidden: ` + user},
		"a cluster-wide one":    {rbac + "kind: ClusterRoleBinding\nmetadata: {name: up}\nroleRef: {kind: ClusterRole, name: cluster-admin, apiGroup: rbac.authorization.k8s.io}\nsubjects: [{kind: ServiceAccount, name: deployer, namespace: a}]\n", `clusterrolebindings.rbac.authorization.k8s.io "up" is forbidden: ` + user},
		"a Kustomization":       {"apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: up, namespace: a}\nspec: {interval: 1h, prune: true, path: ./, sourceRef: {kind: GitRepository, name: app}}\n", `kustomizations.kustomize.toolkit.fluxcd.io "up" is forbidden: ` + user + `patch`},
		"the system":            {settings("headway-system", "x", "x"), `is forbidden: ` + user},
		"with its own binding":  {settings("b", "planted", "x") + "---\n" + rbac + "kind: RoleBinding\nmetadata: {name: up, namespace: b}\nroleRef: {kind: ClusterRole, name: edit, apiGroup: rbac.authorization.k8s.io}\nsubjects: [{kind: ServiceAccount, name: deployer, namespace: a}]\n", `rolebindings.rbac.authorization.k8s.io "up" is forbidden: ` + user},
		"an immutable conflict": {"apiVersion: v1\nkind: Secret\nmetadata: {name: deployer, namespace: b}\ntype: x\n", `secrets "deployer" is forbidden: ` + user},
	} {
		before := w.snapshot()
		sha := w.push("a", settings("a", "own", "two"), c.manifest)
		w.condition("a", sha, c.want)
		w.condition("a", sha, "all.yaml:")
		w.unchanged(before, name)
	}
	// The tenant within its bounds is not held up by what it tried.
	w.condition("a", w.push("a", settings("a", "own", "three")), "True Applied revision")
	if cm, _ := w.get("ConfigMap", "a", "own").(*corev1.ConfigMap); cm == nil || cm.Data["key"] != "three" {
		t.Errorf("a's own ConfigMap: %v", cm)
	}
}

// With the right to write roles a tenant grants no more than it has itself.
func TestTenantDoesNotEscalate(t *testing.T) {
	w := startTenants(t)
	w.commit(change.Create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "deployer-admin"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "a", Name: "deployer"}},
	}, time.Now()))
	role := func(name, rules string) string {
		return fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: %s, namespace: a}\nrules: [%s]\n", name, rules)
	}
	bind := func(name, kind, to string) string {
		return fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: %s, namespace: a}\nroleRef: {kind: %s, name: %s, apiGroup: rbac.authorization.k8s.io}\nsubjects: [{kind: User, name: eve, apiGroup: rbac.authorization.k8s.io}]\n", name, kind, to)
	}
	pods, all := `{verbs: [get], apiGroups: [""], resources: [pods]}`, `{verbs: ["*"], apiGroups: ["*"], resources: ["*"]}`
	for name, c := range map[string]struct{ manifest, want string }{
		"a role beyond":            {role("up", all), `roles.rbac.authorization.k8s.io "up" is forbidden: user "system:serviceaccount:a:deployer" (groups=["system:serviceaccounts" "system:serviceaccounts:a" "system:authenticated"]) is attempting to grant RBAC permissions not currently held`},
		"a binding beyond":         {bind("up", "ClusterRole", "cluster-admin"), `rolebindings.rbac.authorization.k8s.io "up" is forbidden: user "system:serviceaccount:a:deployer"`},
		"a binding of its role":    {role("up", all) + "---\n" + bind("up", "Role", "up"), `rolebindings.rbac.authorization.k8s.io "up" is forbidden`},
		"a binding of what is not": {bind("up", "Role", "none"), `roles.rbac.authorization.k8s.io "none" not found`},
	} {
		before := w.snapshot()
		w.condition("a", w.push("a", c.manifest), c.want)
		w.unchanged(before, name)
	}
	// Role and binding may come together, within what the account has.
	w.condition("a", w.push("a", role("pods", pods), bind("pods", "Role", "pods"), bind("edit", "ClusterRole", "edit")), "True Applied revision")
}

// Neither an inventory that was tampered with, nor the deletion of the
// Kustomization, nor the healing of drift reaches beyond the account's rights.
func TestTenantsNeitherPruneNorHealBeyondTheirRights(t *testing.T) {
	w := startTenants(t)
	w.condition("a", w.push("a", settings("a", "own", "one")), "True Applied revision")
	w.condition("b", w.push("b", settings("b", "own", "one")), "True Applied revision")

	// The inventory of a lists the object of b, whose labels name a, too: it is
	// b's account that may delete it.
	hijacked := object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "b", Name: "hijacked"}
	w.commit(change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "hijacked", Labels: map[string]string{
		"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": "a",
	}}}, time.Now()))
	app := func(tenant string) object.Key {
		return object.Key{GroupKind: schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: "Kustomization"}, Namespace: tenant, Name: "app"}
	}
	w.commit(change.PatchStatus(app("a"), func(o object.Object) bool {
		inventory := o.(*kustomizev1.Kustomization).Status.Inventory
		inventory.Entries = append(inventory.Entries, kustomizev1.ResourceRef{ID: "b_hijacked__ConfigMap", Version: "v1"})
		return true
	}))
	w.condition("a", w.push("a", settings("a", "own", "two")), `configmaps "hijacked" is forbidden: User "system:serviceaccount:a:deployer" cannot get resource "configmaps" in API group "" in the namespace "b"`)
	if w.Engine.Store().Get(hijacked) == nil {
		t.Fatal("an object of b was pruned by a")
	}

	// Rights that are gone are gone for drift, too.
	w.commit(change.Delete(object.Key{GroupKind: schema.GroupKind{Group: rbacv1.GroupName, Kind: "RoleBinding"}, Namespace: "b", Name: "deployer"}, metav1.DeleteOptions{}, time.Now()))
	own := object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "b", Name: "own"}
	w.commit(change.Patch(own, func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.condition("b", "", `configmaps "own" is forbidden: User "system:serviceaccount:b:deployer" cannot`)
	if cm := w.Engine.Store().Get(own).(*corev1.ConfigMap); cm.Data["key"] != "by hand" {
		t.Errorf("b's ConfigMap was healed without the right to: %v", cm.Data)
	}

	// A Kustomization that is deleted cannot delete what the account may not.
	w.commit(change.Delete(app("b"), metav1.DeleteOptions{}, time.Now()))
	w.eventually("an event tells that the deletion is refused", func() bool {
		return w.hasEvent("b", "PruneFailed", `configmaps "own" is forbidden`)
	})
	if w.Engine.Store().Get(own) == nil || w.Engine.Store().Get(app("b")) == nil {
		t.Error("a deleted Kustomization is gone, or what its account may not delete is")
	}
}

func (w *tenants) hasEvent(namespace, reason, message string) bool {
	list, _ := w.Engine.Store().List(schema.GroupKind{Kind: "Event"}, namespace)
	for _, o := range list {
		if ev, ok := o.(*corev1.Event); ok && ev.Reason == reason && strings.Contains(ev.Message, message) {
			return true
		}
	}
	return false
}

// A token with the ClusterRole headway:plan in one namespace plans, and neither
// sees another tenant nor changes anything.
func TestReadOnlyTokenPlans(t *testing.T) {
	w := startTenants(t)
	w.condition("a", w.push("a", settings("a", "own", "one")), "True Applied revision")
	w.condition("b", w.push("b", settings("b", "own", "one")), "True Applied revision")
	config := w.Engine.Client("ci", "system:authenticated")
	do := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, config.Host+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := config.Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(data)
	}
	if code, body := do("GET", "/headway/v1/status", ""); code != http.StatusForbidden || !strings.Contains(body, `User \"ci\" cannot get path \"/headway/v1/status\"`) {
		t.Errorf("without a role: %d %s", code, body)
	}
	ci := []rbacv1.Subject{{Kind: "User", Name: "ci"}}
	w.commit(
		change.Create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "plan-path"}, Rules: []rbacv1.PolicyRule{
			{Verbs: []string{"get"}, NonResourceURLs: []string{"/headway/v1/*"}}, {Verbs: []string{"post"}, NonResourceURLs: []string{"/headway/v1/plan"}},
		}}, time.Now()),
		change.Create(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "ci"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "plan-path"}, Subjects: ci}, time.Now()),
		change.Create(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "ci"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "headway:plan"}, Subjects: ci}, time.Now()),
	)
	before := w.snapshot()
	for _, c := range []struct {
		method, path, body string
		status             int
		want, not          string
	}{
		{"POST", "/headway/v1/plan", `{"kustomization":"a/app"}`, 200, `"kustomization":"a/app"`, ""},
		{"POST", "/headway/v1/plan", `{"kustomization":"b/app"}`, 403, `kustomizations.kustomize.toolkit.fluxcd.io "app" is forbidden: User "ci" cannot get resource`, "own"},
		{"GET", "/headway/v1/status", "", 200, `"namespace":"a"`, `"namespace":"b"`},
		{"GET", "/headway/v1/log", "", 200, `"kustomization":"a/app"`, `b/app`},
		{"GET", "/headway/v1/blame?kind=ConfigMap&namespace=b&name=own", "", 403, `configmaps "own" is forbidden`, "one"},
		{"POST", "/headway/v1/rollback", `{"source":"a/app"}`, 403, "cannot post path", ""},
		{"POST", "/headway/v1/sync", `{}`, 403, "cannot post path", ""},
	} {
		code, body := do(c.method, c.path, c.body)
		if code != c.status || !strings.Contains(body, c.want) || c.not != "" && strings.Contains(body, c.not) {
			t.Errorf("%s %s %s: %d %s; want %d with %q and without %q", c.method, c.path, c.body, code, body, c.status, c.want, c.not)
		}
	}
	w.unchanged(before, "reading")
}
