package e2e_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/cmd/headway/e2e"
)

// helm is one version of Helm, at work on the chart in testdata in a namespace
// of its own.
type helm struct {
	t         *testing.T
	c         *e2e.Cluster
	binary    string
	namespace string
	onFailure string // the flag that takes a failed release back
}

func helm3(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	helm{t: t, c: c, binary: e2e.Helm(t, "v3"), namespace: "helm3", onFailure: "--atomic"}.story()
}

func helm4(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	helm{t: t, c: c, binary: e2e.Helm(t, "v4"), namespace: "helm4", onFailure: "--rollback-on-failure"}.story()
}

// run runs Helm, and fails unless it prints all of want.
func (h helm) run(line string, want ...string) string {
	h.t.Helper()
	r := h.try(line)
	if r.Code != 0 {
		h.t.Fatalf("helm %s: exit code %d\n%s%s", line, r.Code, r.Stdout, r.Stderr)
	}
	contains(h.t, "helm "+line, r.Stdout, want...)
	return r.Stdout
}

func (h helm) try(line string) e2e.Result {
	h.t.Helper()
	return h.c.Run("", append([]string{h.binary, "--namespace", h.namespace}, strings.Fields(line)...)...)
}

// refused runs Helm, which has to fail with want.
func (h helm) refused(line, want string) {
	h.t.Helper()
	if r := h.try(line); r.Code == 0 || !strings.Contains(r.Stderr, want) {
		h.t.Fatalf("helm %s: exit code %d, want it refused with %q\n%s%s", line, r.Code, want, r.Stdout, r.Stderr)
	}
}

// data fails unless the release's ConfigMap says so.
func (h helm) data(name, key, want string) {
	h.t.Helper()
	if got := h.c.Kubectl("get", "cm", "-n", h.namespace, name, "-o", "jsonpath={.data."+key+"}"); got != want {
		h.t.Errorf("%s of %s: %q, want %q", key, name, got, want)
	}
}

// story takes a release from its installation to its end.
func (h helm) story() {
	h.t.Helper()
	chart := h.chartOf()
	h.run("lint "+chart, "0 chart(s) failed")
	h.run("install shop "+chart+" --create-namespace --wait --timeout 90s", "STATUS: deployed", "shop says one.")
	h.data("shop", "before", "nothing")
	h.data("shop", "orders", "true")
	contains(h.t, "the pod of the hook", h.c.Kubectl("logs", "-n", h.namespace, "shop-before"), "prepared")
	contains(h.t, "the custom resource", h.c.Kubectl("get", "-n", h.namespace, order, "shop", "-o", "jsonpath={.spec}"), `"amount":1`, `"currency":"EUR"`)
	h.refused("install shop "+chart, "a name that is still in use")
	h.run("test shop --logs", "Phase:          Succeeded", "one")

	h.run("upgrade --install shop "+chart+" --set message=two,replicas=2 --dry-run=server", "message: two", "before: one")
	h.data("shop", "message", "one")
	h.run("upgrade --install shop "+chart+" --set message=two,replicas=2 --wait --timeout 90s", "STATUS: deployed", "REVISION: 2")
	h.data("shop", "before", "one")
	h.data("shop-upgraded", "revision", "2")
	h.run("test shop", "Succeeded")
	h.run("get values shop", "message: two", "replicas: 2")
	h.run("get manifest shop", "kind: Deployment", "kind: Order", "value: two")
	h.run("get hooks shop", "helm.sh/hook: pre-install")
	h.run("get notes shop", "shop says two.")

	h.run("rollback shop 1 --wait --timeout 90s", "Rollback was a success")
	h.data("shop", "message", "one")
	if got := h.c.Kubectl("get", "deploy", "-n", h.namespace, "shop", "-o", "jsonpath={.spec.replicas}"); got != "1" {
		h.t.Errorf("%s replicas after the rollback, want 1", got)
	}
	h.run("status shop", "STATUS: deployed", "REVISION: 3")

	// A release that does not get well is taken back.
	h.refused("upgrade shop "+chart+" --set message=bad,healthy=false "+h.onFailure+" --wait --timeout 20s", "shop")
	h.data("shop", "message", "one")
	var history []struct{ Status string }
	if err := json.Unmarshal([]byte(h.run("history shop -o json")), &history); err != nil {
		h.t.Fatal(err)
	}
	var states []string
	for _, revision := range history {
		states = append(states, revision.Status)
	}
	if got, want := fmt.Sprint(states), "[superseded superseded superseded failed deployed]"; got != want {
		h.t.Errorf("the history is %s, want %s", got, want)
	}
	h.refused("upgrade shop "+chart+" --set replicas=-1", "spec.replicas")
	h.run("list -o json", `"name":"shop"`, `"status":"failed"`)

	h.run("uninstall shop --wait --timeout 60s", `release "shop" uninstalled`)
	if got := h.c.Kubectl("get", "deploy,svc,"+order, "-n", h.namespace, "-o", "name"); got != "" {
		h.t.Errorf("left after uninstall:\n%s", got)
	}
	h.refused("status shop", "release: not found")

	// What a template makes is for kubectl, too.
	manifests := h.run("template other " + chart + " --no-hooks --skip-tests --api-versions shop.example.com/v1")
	h.c.KubectlIn(manifests, "apply", "-n", h.namespace, "-f", "-")
	h.c.Kubectl("wait", "-n", h.namespace, "--for=condition=Available", "deploy/other", "--timeout=60s")
	h.c.KubectlIn(manifests, "delete", "-n", h.namespace, "-f", "-")
}

// order is the chart's custom resource.
const order = "orders.shop.example.com"

func (h helm) chartOf() string {
	h.t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", "chart"))
	if err != nil {
		h.t.Fatal(err)
	}
	return path
}
