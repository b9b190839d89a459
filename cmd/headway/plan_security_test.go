package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/manifests/model/object"
)

const (
	lockedNamespace  = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: {pod-security.kubernetes.io/enforce: baseline}\n"
	privilegedDeploy = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n      containers: [{name: c, image: x, securityContext: {privileged: true}}]\n"
	privilegedPod    = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nspec:\n  containers: [{name: c, image: x, securityContext: {privileged: true}}]\n"
	violatesBaseline = `violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`
)

// PodSecurity is told before it bites: a plan and validate refuse a Pod with the
// words and the line that sync has, and say of a workload that its pods would be
// refused, also where the commit itself makes the namespace.
func TestPlanTellsPodSecurity(t *testing.T) {
	s := newStory(t, map[string]string{"keep.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keep, namespace: default}\n"}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	s.repo.Push("workload", map[string]string{"ns.yaml": lockedNamespace, "web.yaml": privilegedDeploy})
	out := s.must(cli.ExitChanges, "plan", "workload")
	headwaytest.Shows(t, "the plan of a workload", out, "+ create Deployment/web in shop", "! pod-security: Deployment/shop/web: its pods would be refused: "+violatesBaseline)

	const refused = `pod.yaml:1: Pod shop/p: pods "p" is forbidden: ` + violatesBaseline
	s.repo.Push("pod", map[string]string{"ns.yaml": lockedNamespace, "pod.yaml": privilegedPod})
	code, out, errOut := s.headway("plan", "pod")
	if code != cli.ExitFailed || !strings.Contains(errOut, "error: "+refused) || !strings.Contains(out, "refused, nothing would be applied (1 fault)") {
		t.Errorf("the plan of a Pod: exit code %d\n%s%s", code, out, errOut)
	}
	s.repo.Git(s.repo.Work, "push", "-q", "origin", "HEAD:main")
	if code, out, errOut := s.headway("sync"); code != cli.ExitFailed || !strings.Contains(out+errOut, refused) {
		t.Errorf("the sync of a Pod: exit code %d\n%s%s", code, out, errOut)
	}

	dir := t.TempDir()
	for name, text := range map[string]string{"ns.yaml": lockedNamespace, "web.yaml": privilegedDeploy, "pod.yaml": privilegedPod} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errOut = headway(t, "validate", dir)
	if code != cli.ExitFailed || !strings.Contains(errOut, `pod.yaml:1: Pod/p: pods "p" is forbidden: `+violatesBaseline) || !strings.Contains(errOut, "warning: web.yaml:1: Deployment/web: its pods would be refused: "+violatesBaseline) {
		t.Errorf("validate: exit code %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut = headway(t, "validate", filepath.Join(dir, "pod.yaml")); code != cli.ExitOK {
		t.Errorf("validate without the namespace: exit code %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut = headway(t, "validate", "--pod-security", "baseline", filepath.Join(dir, "pod.yaml")); code != cli.ExitFailed || !strings.Contains(errOut, violatesBaseline) {
		t.Errorf("validate with a level: exit code %d\n%s%s", code, out, errOut)
	}
}

// Where --default-service-account has a Kustomization act as an account, its
// namespace is held to baseline as if it named one; the command line's own
// Kustomization, which has all rights, is not.
func TestDefaultAccountIsHeldToBaseline(t *testing.T) {
	s := newStory(t, map[string]string{
		"platform/team.yaml": `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: default, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: default, namespace: shop}]
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: team, namespace: shop}
spec: {interval: 1h, path: ./team, prune: true, sourceRef: {kind: GitRepository, name: cluster, namespace: headway-system}}
`,
		"platform/own.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: own}\n---\n" + strings.ReplaceAll(privilegedPod, "namespace: shop", "namespace: own"),
		"team/pod.yaml":     privilegedPod,
	}, func(_ *story, up *up.Options) { up.Path, up.DefaultServiceAccount = "platform", "default" })
	const refused = `team/pod.yaml:1: Pod shop/p: pods "p" is forbidden: ` + violatesBaseline
	s.eventually("the tenant's pod is refused", func() bool {
		_, out, errOut := s.headway("status")
		return strings.Contains(out+errOut, refused)
	})
	pod := func(namespace string) object.Object {
		return s.Cluster.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: namespace, Name: "p"})
	}
	if pod("shop") != nil || pod("own") == nil {
		t.Errorf("the tenant's pod: %v, the pod of the command line's Kustomization: %v; want this one alone", pod("shop"), pod("own"))
	}
}

// A namespace is a tenant's, with baseline, if the commit itself has a
// Kustomization with an account deploy to it, or makes the Namespace with such a
// level: the plan judges by what the commit makes, and so does the sync.
func TestPlanOfPodsOfNewTenants(t *testing.T) {
	w := landlord(t)
	deploy := func(ns string) string { return strings.ReplaceAll(privilegedDeploy, "shop", ns) }
	pod := func(ns string) string { return strings.ReplaceAll(privilegedPod, "shop", ns) }
	tenant := func(ns string) string {
		return documents(space(ns), account(ns), bindTo(ns, "deployer", "ClusterRole", "edit"), follow(ns, "app", ns, as("deployer")))
	}
	warning := func(ns string) string {
		return "Create Deployment/web\npod-security: Deployment/" + ns + "/web: its pods would be refused: " + violatesBaseline
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
		says  string // of the sync
	}{
		{name: "workload", files: map[string]string{"cluster/workload.yaml": tenant("workload"), "workload/web.yaml": deploy("workload")}, want: warning("workload"), says: "True Applied revision"},
		{
			name: "pod", files: map[string]string{"cluster/pod.yaml": tenant("pod"), "pod/p.yaml": pod("pod")},
			want: "Create Pod/p\n" + `pod/p.yaml:1: Pod pod/p: pods "p" is forbidden: ` + violatesBaseline, says: `False pod/p.yaml:1: Pod pod/p: pods "p" is forbidden: ` + violatesBaseline,
		},
		// Another Kustomization is the tenant's.
		{name: "other", files: map[string]string{
			"cluster/other.yaml": documents(space("other"), account("other"), bindTo("other", "deployer", "ClusterRole", "edit"), follow("other", "tenant", "other-tenant", as("deployer")), follow("other", "app", "other", "")),
			"other/web.yaml":     deploy("other"), "other-tenant/cm.yaml": settings("other", "first", "one"),
		}, want: warning("other"), says: "True Applied revision"},
		// The Namespace is another Kustomization's, and says so itself.
		{name: "labelled", files: map[string]string{
			"cluster/labelled.yaml": documents(strings.ReplaceAll(lockedNamespace, "shop", "labelled"), follow("labelled", "app", "labelled", "")), "labelled/web.yaml": deploy("labelled"),
		}, want: warning("labelled"), says: "True Applied revision"},
		{name: "privileged", files: map[string]string{
			"cluster/privileged.yaml": documents(space("privileged"), follow("privileged", "app", "privileged", "")), "privileged/web.yaml": deploy("privileged"),
		}, want: "Create Deployment/web", says: "True Applied revision"},
		// A commit that makes a stored namespace stricter.
		{name: "stricter", files: map[string]string{
			"cluster/privileged.yaml": documents(strings.Replace(space("privileged"), "name: privileged", "name: privileged, labels: {pod-security.kubernetes.io/enforce: baseline}", 1), follow("privileged", "app", "privileged", "")),
			"privileged/web.yaml":     strings.ReplaceAll(deploy("privileged"), "name: web", "name: web2"),
		}, want: "Create Deployment/web2\nDelete Deployment/web\npod-security: Deployment/privileged/web2: its pods would be refused: " + violatesBaseline, says: "True Applied revision"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			ns := c.name
			if ns == "stricter" {
				ns = "privileged"
			}
			if got := w.branch(c.name, c.files)[ns+"/app"]; got != c.want {
				t.Errorf("planned: %q, want %q", got, c.want)
			}
			w.condition(ns, w.merge(c.name), c.says)
		})
	}
}
