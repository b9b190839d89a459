package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// guardedWorkload is of pods that end at once, and of a budget for them.
const guardedWorkload = `apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "3600"]}]
`

const guardingBudget = `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded, namespace: default}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: guarded}}
`

const olderWorkload = `apiVersion: v1
kind: ReplicationController
metadata: {name: older, namespace: default}
spec:
  replicas: 1
  selector: {app: older}
  template:
    metadata: {labels: {app: older}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "3600"], ports: [{containerPort: 80}]}]
`

// kubectl drain leaves as many pods as a budget of Git's asks for: one that allows one,
// one that allows none, that again after a rollback, and all when the budget is pruned.
func TestDrainUnderBudget(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("guarded.yaml", guardedWorkload)
	c.Clone.Write("budget.yaml", guardingBudget)
	c.Deployed(c.Clone.Push("a budget"))
	allows := func(least, allowed string) {
		t.Helper()
		c.Eventually(time.Minute, "the budget allows "+allowed, func() error {
			shown := strings.Join(strings.Fields(c.Kubectl("get", "pdb", "guarded")), " ")
			if want := "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE guarded " + least + " N/A " + allowed + " "; !strings.HasPrefix(shown, want) {
				return fmt.Errorf("kubectl shows %q, want %q", shown, want)
			}
			return nil
		})
	}
	pods := func() map[string]bool {
		found := map[string]bool{}
		for name := range strings.FieldsSeq(c.Kubectl("get", "pods", "-l", "app=guarded", "-o", `jsonpath={range .items[?(@.status.phase=="Running")]}{.metadata.name} {end}`)) {
			found[name] = true
		}
		return found
	}
	drain := func(timeout string) e2e.Result {
		return c.Run("", "kubectl", "drain", "node-1", "--pod-selector=app=guarded", "--timeout="+timeout)
	}
	refused := func(evicted int) {
		t.Helper()
		before := pods()
		r := drain("7s")
		if r.Code != 1 || !strings.Contains(r.Stderr, "Cannot evict pod as it would violate the pod's disruption budget.") {
			t.Errorf("drain: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		left := 0
		for name := range pods() {
			if before[name] {
				left++
			}
		}
		if want := len(before) - evicted; left != want {
			t.Errorf("%d of the pods are left, want %d:\n%s", left, want, c.Kubectl("get", "pods", "-l", "app=guarded"))
		}
		c.Kubectl("uncordon", "node-1")
		c.Kubectl("rollout", "status", "deploy/guarded", "--timeout=60s")
	}
	allows("1", "1")
	contains(t, "describe", c.Kubectl("describe", "pdb", "guarded"), "Allowed disruptions:  1", "Current:              2", "Desired:              1", "Total:                2")
	refused(1)
	allows("1", "1")

	c.Clone.Replace("budget.yaml", "minAvailable: 1", "minAvailable: 2")
	c.Deployed(c.Clone.Push("not one less"))
	allows("2", "0")
	refused(0)
	rollback(t, c)
	allows("1", "1")

	c.Clone.Git("rm", "-q", "budget.yaml")
	c.Deployed(c.Clone.Push("no budget"))
	if r := c.Run("", "kubectl", "get", "pdb", "guarded"); r.Code == 0 {
		t.Errorf("the budget was not pruned:\n%s", r.Stdout)
	}
	if r := drain("60s"); r.Code != 0 || !strings.Contains(r.Stdout, "node/node-1 drained") {
		t.Errorf("drain without a budget: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.Kubectl("uncordon", "node-1")
	c.Kubectl("rollout", "status", "deploy/guarded", "--timeout=60s")
}

// A ReplicationController from Git runs, is scaled, exposed and described by kubectl,
// leaves its pods alone when its template changes, which a plan says before, fails and
// is rolled back, and is pruned with its pods.
func TestReplicationController(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("older.yaml", olderWorkload)
	c.Deployed(c.Clone.Push("a ReplicationController"))
	contains(t, "get rc", c.Kubectl("get", "rc", "-o", "wide"), "NAME    DESIRED   CURRENT   READY   AGE", "CONTAINERS   IMAGES", "older   1         1         1", "app=older")
	contains(t, "describe rc", c.Kubectl("describe", "rc", "older"), "Replicas:     1 current / 1 desired", "Pods Status:  1 Running / 0 Waiting / 0 Succeeded / 0 Failed", "SuccessfulCreate", "Created pod: older-")
	contains(t, "get scale", c.Kubectl("get", "--raw", "/api/v1/namespaces/default/replicationcontrollers/older/scale"), `"kind":"Scale"`, `"selector":"app=older"`)
	contains(t, "expose", c.Kubectl("expose", "rc", "older", "--port=80"), "service/older exposed")
	c.Eventually(time.Minute, "the Service has an endpoint", func() error {
		if got := c.Kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=older", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}"); got != "true" {
			return fmt.Errorf("ready: %q", got)
		}
		return nil
	})
	pod := func() string {
		return c.Kubectl("get", "pods", "-l", "app=older", "-o", "jsonpath={.items[*].metadata.name}")
	}
	first := pod()
	c.Clone.Replace("older.yaml", "[sleep, \"3600\"]", "[sleep, \"7200\"]")
	c.Clone.Replace("older.yaml", "replicas: 1", "replicas: 2")
	commit := c.Clone.Push("two, the new one for longer")
	c.Deployed(commit)
	if now := pod(); !strings.Contains(now, first) || len(strings.Fields(now)) != 2 {
		t.Errorf("the pods are %s, want %s and another one", now, first)
	}
	contains(t, "plan", c.Headway("plan", commit+"~1").Stdout, "a ReplicationController leaves its pods as they are")

	// What is not in Git is nobody's but kubectl's.
	c.KubectlIn(strings.ReplaceAll(olderWorkload, "older", "byhand"), "create", "-f", "-")
	contains(t, "scale", c.Kubectl("scale", "rc/byhand", "--replicas=3"), "replicationcontroller/byhand scaled")
	c.Kubectl("wait", "rc/byhand", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=60s")
	c.Kubectl("delete", "rc", "byhand", "--cascade=orphan")
	if left := c.Kubectl("get", "pods", "-l", "app=byhand", "-o", "name"); len(strings.Fields(left)) != 3 {
		t.Errorf("orphans: %s", left)
	}

	c.Clone.Replace("older.yaml", "headway.dev/test/busybox:1", "127.0.0.1:1/none:1")
	c.Clone.Replace("older.yaml", "replicas: 2", "replicas: 3")
	c.Clone.Push("an image that is not there")
	statusHas(t, c, "ReplicationController/older in default InProgress: Available: 2/3", "ErrImagePull")
	rollback(t, c)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	if got := c.Kubectl("get", "rc", "older", "-o", "jsonpath={.status.replicas} {.status.readyReplicas}"); got != "2 2" {
		t.Errorf("after the rollback it has %s", got)
	}
	c.Clone.Write("none.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none, namespace: default}\n")
	c.Clone.Git("rm", "-q", "older.yaml")
	c.Deployed(c.Clone.Push("no ReplicationController"))
	c.Eventually(time.Minute, "its pods go with it", func() error {
		if left := pod(); left != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
}
