package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// planWorld is a cluster with nodes of one CPU each, on which nothing runs.
func planWorld(t *testing.T, r *headwaytest.Repository, nodes ...string) *uptest.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(file, []byte("token-of-ada,ada,1,system:masters\ntoken-of-bob,bob,2\ntoken-of-ci,ci,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return uptest.Start(t, r.Bare, uptest.Options{Flags: func(up *up.Options) {
		up.TokenAuthFile, up.Controllers = file, []string{"namespace-controller"}
	}, Before: func(s *uptest.Server) { populate(t, s, nodes) }})
}

// populate stores the nodes, and who may plan.
func populate(t *testing.T, s *uptest.Server, nodes []string) {
	t.Helper()
	create := func(obj object.Object) {
		t.Helper()
		if _, err := s.Engine.Store().Commit(t.Context(), change.Tx{Changes: []change.Change{change.Create(obj, time.Now())}}); err != nil {
			t.Fatal(err)
		}
	}
	create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ci"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "headway:plan"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "ci"}},
	})
	for _, name := range nodes {
		create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"), "pods": resource.MustParse("10"),
		}}})
	}
}

const shop = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: default}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - {name: shop, image: "shop:1", resources: {requests: {cpu: 300m}}}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: default}
stringData: {password: canary-one}
`

// The program plans a pull request on a real server by a token: the scheduler
// tells in its own words what would not fit, in every format, and no value of
// a Secret is in any.
func TestPlanOnServer(t *testing.T) {
	r := headwaytest.NewRepository(t, map[string]string{"shop.yaml": shop})
	srv := planWorld(t, r, "a", "b")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, srv.Engine.PKI().CACert, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", "/nonexistent")
	t.Setenv("HEADWAY_TOKEN", "token-of-ada")
	plan := func(args ...string) (int, string, string) {
		t.Helper()
		return headway(t, append([]string{"plan", "--server", srv.URL(), "--certificate-authority", ca}, args...)...)
	}
	headwaytest.Eventually(t, "the first commit is applied", func() bool {
		code, out, _ := plan()
		return code == cli.ExitOK && strings.Contains(out, "no change")
	}, func() string {
		code, out, errOut := plan()
		return fmt.Sprintf("exit code %d\n%s%s", code, out, errOut)
	})
	r.Push("refs/pull/12/head", map[string]string{"shop.yaml": strings.NewReplacer("replicas: 3", "replicas: 9", "canary-one", "canary-two").Replace(shop)})
	const words = "0/2 nodes are available: 2 Insufficient cpu."
	var all bytes.Buffer
	code, out, errOut := plan("pull/12")
	all.WriteString(out + errOut)
	for _, want := range []string{"~ update Deployment/shop in default", "spec.replicas: 3 → 9", "starts 9 pods", "! scheduling: Deployment/default/shop: 3 of 9 new pods would stay pending: " + words, "data.password: (hidden) → (changed)", "0 to create, 2 to update"} {
		if code != cli.ExitChanges || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want %q in\n%s%s", code, want, out, errOut)
		}
	}
	code, out, errOut = plan("refs/pull/12/head", "-o", "json")
	all.WriteString(out + errOut)
	var plans wire.Plans
	if err := json.Unmarshal([]byte(out), &plans); err != nil || code != cli.ExitChanges {
		t.Fatalf("%d %v\n%s%s", code, err, out, errOut)
	}
	if got := plans.Rollouts; len(got) != 1 || got[0].Schedule != wire.ScheduleUnschedulable || got[0].New != 9 || got[0].Pending != 3 || !strings.HasPrefix(got[0].Message, words) {
		t.Errorf("rollouts = %+v", got)
	}
	code, out, errOut = plan("pull/12/head", "-o", "markdown")
	all.WriteString(out + errOut)
	if code != cli.ExitChanges || !strings.Contains(out, "**3 do not fit**") || !strings.Contains(out, words) {
		t.Errorf("markdown: %d\n%s%s", code, out, errOut)
	}
	t.Setenv("HEADWAY_TOKEN", "token-of-bob")
	if code, out, errOut = plan("pull/12"); code != cli.ExitFailed || out != "" || !strings.Contains(errOut, `User "bob" cannot post path "/headway/v1/plan"`) {
		t.Errorf("without the right: %d\n%s%s", code, out, errOut)
	}
	// With the role headway:plan a token can do that and nothing more.
	t.Setenv("HEADWAY_TOKEN", "token-of-ci")
	code, out, errOut = plan("pull/12")
	all.WriteString(out + errOut)
	if code != cli.ExitChanges || !strings.Contains(out, "3 of 9 new pods would stay pending: "+words) || !strings.Contains(out, "spec.replicas: (hidden) → 9") {
		t.Errorf("with the role headway:plan: %d\n%s%s", code, out, errOut)
	}
	onlyPlans(t, srv, r)
	t.Setenv("HEADWAY_TOKEN", "token-of-ada")
	// Faults have their file and line, and show no value either.
	r.Push("refs/pull/13/head", map[string]string{"shop.yaml": strings.NewReplacer("stringData: {password: canary-one}", "stringData: {password: canary-three}\nimmutable: canary-four\ndata: {other: canary-five!}").Replace(shop)})
	code, out, errOut = plan("pull/13")
	all.WriteString(out + errOut)
	if code != cli.ExitFailed || !strings.Contains(errOut, "shop.yaml:1") {
		t.Errorf("a fault: %d\n%s%s", code, out, errOut)
	}
	if strings.Contains(all.String(), "canary") || strings.Contains(all.String(), "Y2FuYXJ5") {
		t.Errorf("a secret value shows:\n%s", all.String())
	}
}

// onlyPlans tries what the token of a CI job must not do.
func onlyPlans(t *testing.T, srv *uptest.Server, r *headwaytest.Repository) {
	t.Helper()
	ci, err := cli.NewClient(&rest.Config{Host: srv.URL(), BearerToken: "token-of-ci", TLSClientConfig: rest.TLSClientConfig{CAData: srv.Engine.PKI().CACert}})
	if err != nil {
		t.Fatal(err)
	}
	head := r.Git(r.Bare, "rev-parse", "main")
	const apps, core = "/apis/apps/v1/namespaces/default/", "/api/v1/namespaces/default/"
	object := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x"}}
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPost, "/headway/v1/sync", wire.SyncRequest{}},
		{http.MethodPost, "/headway/v1/rollback", wire.RollbackRequest{}},
		{http.MethodPost, core + "configmaps", object},
		{http.MethodDelete, apps + "deployments/shop", nil},
		{http.MethodPut, apps + "deployments/shop", object},
		{http.MethodGet, core + "secrets/key", nil},
		{http.MethodGet, core + "secrets", nil},
		{http.MethodDelete, "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/headway-system/kustomizations/cluster", nil},
	} {
		if err := ci.Call(t.Context(), c.method, c.path, c.body, nil); !apierrors.IsForbidden(err) {
			t.Errorf("%s %s: %v, want it forbidden", c.method, c.path, err)
		}
	}
	if got := r.Git(r.Bare, "rev-parse", "main"); got != head {
		t.Errorf("main moved to %s", got)
	}
}
