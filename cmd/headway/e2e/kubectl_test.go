package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// shell is a Deployment that no Git repository declares, for kubectl to work
// with.
const shell = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: web
        image: headway.dev/examples/web:1.0.0
        env: [{name: MESSAGE, value: one}]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`

// The machine's own kubectl works against the cluster: every command of the
// tour that a person knows.
func TestKubectl(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	k := func(args ...string) string { t.Helper(); return c.Kubectl(args...) }

	contains(t, "get nodes", k("get", "nodes"), "NAME", "STATUS", "ROLES", "AGE", "VERSION", "node-1", "Ready")
	contains(t, "get pods", k("get", "pods", "-n", "hello", "-o", "wide"), "NAME", "READY", "1/1", "Running", "RESTARTS", "IP", "NODE")
	contains(t, "get all", k("get", "all", "-n", "hello"), "deployment.apps/hello", "3/3", "replicaset.apps/hello-", "service/hello")
	contains(t, "api-resources", k("api-resources"), "deployments", "deploy", "apps/v1", "kustomizations", "gitrepositories")
	contains(t, "explain", k("explain", "deployment.spec.replicas"), "FIELD: replicas <integer>", "Number of desired pods")
	contains(t, "version", k("version"), "Server Version: v1.37")

	contains(t, "apply", c.KubectlIn(shell, "apply", "-f", "-"), "deployment.apps/web created")
	contains(t, "apply again", c.KubectlIn(shell, "apply", "-f", "-"), "deployment.apps/web unchanged")
	contains(t, "rollout status", k("rollout", "status", "deploy/web", "--timeout=60s"), `deployment "web" successfully rolled out`)
	contains(t, "wait", k("wait", "--for=condition=Available", "deploy/web", "--timeout=30s"), "condition met")
	contains(t, "describe deployment", k("describe", "deploy/web"), "Replicas:", "2 desired", "Available", "MinimumReplicasAvailable", "ScalingReplicaSet", "Scaled up replica set")
	contains(t, "describe pod", k("describe", "pods", "-l", "app=web"), "Successfully assigned default/web-", "Container started", "Readiness:")
	contains(t, "describe node", k("describe", "node", "node-1"), "KubeletReady", "Allocatable:", "Non-terminated Pods:", "Starting kubelet.", "NodeHasSufficientMemory", "Node node-1 status is now: NodeReady")
	contains(t, "describe service", k("describe", "service", "hello", "-n", "hello"), "Endpoints:", ":8080")

	changed := strings.Replace(shell, "value: one", "value: two", 1)
	diff := c.Run(changed, "kubectl", "diff", "-f", "-")
	if diff.Code != 1 || !strings.Contains(diff.Stdout, "-          value: one") || !strings.Contains(diff.Stdout, "+          value: two") {
		t.Errorf("kubectl diff: exit code %d\n%s%s", diff.Code, diff.Stdout, diff.Stderr)
	}
	contains(t, "apply --server-side", c.KubectlIn(changed, "apply", "--server-side", "--force-conflicts", "-f", "-"), "deployment.apps/web serverside-applied")
	k("rollout", "status", "deploy/web", "--timeout=60s")

	contains(t, "rollout history", k("rollout", "history", "deploy/web"), "REVISION", "1", "2")
	contains(t, "rollout undo", k("rollout", "undo", "deploy/web"), "rolled back")
	k("rollout", "status", "deploy/web", "--timeout=60s")
	contains(t, "the template after undo", k("get", "deploy/web", "-o", "yaml"), "value: one")

	contains(t, "scale", k("scale", "deploy/web", "--replicas=1"), "scaled")
	k("rollout", "status", "deploy/web", "--timeout=60s")
	contains(t, "patch", k("patch", "deploy/web", "-p", `{"metadata":{"labels":{"team":"a"}}}`), "patched")
	contains(t, "patch json", k("patch", "deploy/web", "--type=json", "-p", `[{"op":"add","path":"/metadata/labels/json","value":"b"}]`), "patched")
	contains(t, "labels", k("get", "deploy/web", "--show-labels"), "team=a", "json=b")

	editor := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nexec sed -i 's/team: a/team: c/' \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := c.Run("", "env", "KUBE_EDITOR="+editor, "kubectl", "edit", "deploy/web"); r.Code != 0 || !strings.Contains(r.Stdout, "edited") {
		t.Errorf("edit: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	contains(t, "edited label", k("get", "deploy/web", "-o", "jsonpath={.metadata.labels.team}"), "c")

	var pod string
	c.Eventually(time.Minute, "one pod is left", func() error {
		pods := strings.Fields(k("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"))
		if len(pods) != 1 {
			return fmt.Errorf("there are %v", pods)
		}
		pod = pods[0]
		return nil
	})
	contains(t, "logs", k("logs", pod), "INFO serving")
	contains(t, "logs --tail", k("logs", "deploy/web", "--tail=1"), "serving")
	contains(t, "events", k("events", "-n", "hello"), "LAST SEEN", "Started", "Pod/hello-")
	contains(t, "top-level raw", k("get", "--raw", "/readyz"), "ok")

	contains(t, "delete", k("delete", "deploy/web", "--timeout=60s"), `deployment.apps "web" deleted`)
	c.Eventually(time.Minute, "the pods are collected", func() error {
		if out := k("get", "pods", "-l", "app=web", "-o", "name"); out != "" {
			return fmt.Errorf("still there: %s", out)
		}
		return nil
	})
}

// exec runs commands in containers, with and without a terminal, and logs
// follow, end and remember the previous container.
func TestKubectlExecAndLogs(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.KubectlIn(`apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: box
    image: headway.dev/test/busybox:1
    command: [sh, -c, "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done; sleep 3600"]
  - name: crash
    image: headway.dev/test/busybox:1
    command: [sh, -c, "echo crash number $(date +%s); sleep 1; exit 3"]
`, "apply", "-f", "-")
	c.Eventually(time.Minute, "the pod runs", func() error {
		phase := c.Kubectl("get", "pod", "box", "-o", "jsonpath={.status.phase}")
		if phase != "Running" {
			return fmt.Errorf("phase %s", phase)
		}
		return nil
	})
	contains(t, "exec", c.Kubectl("exec", "box", "-c", "box", "--", "sh", "-c", "echo out; hostname"), "out", "box")
	contains(t, "exec -i", c.KubectlIn("through stdin\n", "exec", "-i", "box", "-c", "box", "--", "cat"), "through stdin")
	failing := c.Run("", "kubectl", "exec", "box", "-c", "box", "--", "sh", "-c", "echo problem >&2; exit 7")
	if failing.Code != 7 || !strings.Contains(failing.Stderr, "problem") {
		t.Errorf("exec of a failing command: exit code %d, want 7\n%s%s", failing.Code, failing.Stdout, failing.Stderr)
	}
	// script gives kubectl a terminal, so that -t is what a person sees.
	tty := c.Run("", "script", "-qec", "kubectl exec -it box -c box -- sh -c 'test -t 0 && echo a terminal; exit 4'", os.DevNull)
	if tty.Code != 4 || !strings.Contains(tty.Stdout, "a terminal") {
		t.Errorf("exec -it: exit code %d, want 4 and a terminal\n%s%s", tty.Code, tty.Stdout, tty.Stderr)
	}

	if got := strings.Count(c.Kubectl("logs", "box", "-c", "box"), "line "); got != 50 {
		t.Errorf("logs hold %d lines, want 50", got)
	}
	if got := c.Kubectl("logs", "box", "-c", "box", "--tail=2"); got != "line 49\nline 50\n" {
		t.Errorf("logs --tail=2: %q", got)
	}
	c.Eventually(time.Minute, "the previous container's log is there", func() error {
		r := c.Run("", "kubectl", "logs", "box", "-c", "crash", "--previous")
		if r.Code != 0 || !strings.Contains(r.Stdout, "crash number") {
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	follow := c.Run("", "timeout", "3", "kubectl", "logs", "-f", "box", "-c", "box", "--tail=1")
	if follow.Code != 124 || follow.Stdout != "line 50\n" {
		t.Errorf("logs -f: exit code %d, want to be ended by timeout (124)\n%s%s", follow.Code, follow.Stdout, follow.Stderr)
	}
	c.Eventually(time.Minute, "the crashing container backs off", func() error {
		out := c.Kubectl("get", "pod", "box")
		if !strings.Contains(out, "CrashLoopBackOff") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	c.Kubectl("delete", "pod", "box", "--timeout=60s")
}

func contains(t *testing.T, what, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%s", what, want, got)
		}
	}
}
