package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

const declaredDaemonSet = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log, namespace: default}
spec:
  selector: {matchLabels: {app: log}}
  template:
    metadata: {labels: {app: log}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "3600"]}]
`

// A DaemonSet from Git has a pod on the node, is rolled by a commit, which a plan tells
// before, fails and is rolled back, and is pruned with its pods; kubectl shows its
// history, goes back in it and restarts it, and drains the node around it.
func TestDaemonSet(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("log.yaml", declaredDaemonSet)
	c.Deployed(c.Clone.Push("a DaemonSet"))
	contains(t, "get ds", c.Kubectl("get", "ds", "-o", "wide"),
		"NAME   DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE", "log    1         1         1       1            1           <none>", "app=log")
	contains(t, "describe ds", c.Kubectl("describe", "ds", "log"), "Desired Number of Nodes Scheduled: 1", "Number of Nodes Misscheduled: 0", "SuccessfulCreate", "Created pod: log-")
	contains(t, "revisions", c.Kubectl("get", "controllerrevisions"), "NAME", "CONTROLLER           REVISION   AGE", "daemonset.apps/log   1")
	contains(t, "explain", c.Kubectl("explain", "ds.spec.updateStrategy.rollingUpdate.maxSurge"), "<IntOrString>")
	image := func() string {
		return c.Kubectl("get", "pods", "-l", "app=log", "-o", `jsonpath={.items[*].spec.containers[0].command[1]}`)
	}

	c.Clone.Replace("log.yaml", `"3600"`, `"7200"`)
	contains(t, "plan", c.Headway("plan", "--path", c.Clone.Dir).Stdout, "update DaemonSet/log in default (replaces its pods)", "DaemonSet/log in default: replaces 1 pod by 1: log-", "at most 0 more and 1 less meanwhile")
	c.Deployed(c.Clone.Push("for longer"))
	if got := image(); got != "7200" {
		t.Errorf("the pods sleep for %s", got)
	}
	contains(t, "rollout status", c.Kubectl("rollout", "status", "ds/log", "--timeout=60s"), `daemon set "log" successfully rolled out`)
	contains(t, "rollout history", c.Kubectl("rollout", "history", "ds/log"), "1         <none>", "2         <none>")
	contains(t, "one revision", c.Kubectl("rollout", "history", "ds/log", "--revision=1"), "sleep", "3600")

	c.Clone.Replace("log.yaml", "headway.dev/test/busybox:1", "127.0.0.1:1/none:1")
	c.Clone.Push("an image that is not there")
	statusHas(t, c, "DaemonSet/log in default InProgress: ", "ErrImagePull")
	rollback(t, c)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	if got := image(); got != "7200" {
		t.Errorf("after the rollback the pods sleep for %s", got)
	}

	// What is not in Git is kubectl's.
	byhand := strings.ReplaceAll(declaredDaemonSet, "log", "byhand")
	c.KubectlIn(byhand, "apply", "-f", "-")
	c.Kubectl("rollout", "status", "ds/byhand", "--timeout=60s")
	c.KubectlIn(strings.ReplaceAll(byhand, "3600", "100"), "apply", "-f", "-")
	c.Kubectl("rollout", "status", "ds/byhand", "--timeout=60s")
	contains(t, "undo", c.Kubectl("rollout", "undo", "ds/byhand"), "daemonset.apps/byhand rolled back")
	c.Kubectl("rollout", "status", "ds/byhand", "--timeout=60s")
	contains(t, "what undo brought back", c.Kubectl("get", "ds", "byhand", "-o", "yaml"), `"3600"`)
	pod := func() string {
		return c.Kubectl("get", "pods", "-l", "app=byhand", "-o", "jsonpath={.items[*].metadata.name}")
	}
	before := pod()
	contains(t, "restart", c.Kubectl("rollout", "restart", "ds/byhand"), "daemonset.apps/byhand restarted")
	c.Kubectl("rollout", "status", "ds/byhand", "--timeout=60s")
	if pod() == before {
		t.Errorf("the pod %s was not restarted", before)
	}

	drained := c.Run("", "kubectl", "drain", "node-1", "--timeout=60s")
	contains(t, "drain", drained.Stderr, "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)", "default/log-")
	before = pod()
	contains(t, "drain around them", c.Kubectl("drain", "node-1", "--ignore-daemonsets", "--timeout=60s"), "node/node-1 drained")
	if got := pod(); got != before {
		t.Errorf("after the drain the pod is %s, want %s", got, before)
	}
	c.Kubectl("uncordon", "node-1")

	c.Clone.Write("none.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none, namespace: default}\n")
	c.Clone.Git("rm", "-q", "log.yaml")
	c.Deployed(c.Clone.Push("no DaemonSet"))
	c.Eventually(time.Minute, "its pods and revisions go with it", func() error {
		if left := c.Kubectl("get", "pods,controllerrevisions", "-l", "app=log", "-o", "name"); left != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
}

const declaredStatefulSet = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "3600"]}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
`

// A StatefulSet from Git has pods with names, is rolled by a commit, which a plan tells
// before, fails and is rolled back, which frees the pod that was stuck, and is pruned;
// kubectl scales one, shows its history, goes back in it and restarts it.
func TestStatefulSet(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("db.yaml", declaredStatefulSet)
	c.Deployed(c.Clone.Push("a StatefulSet"))
	contains(t, "get sts", c.Kubectl("get", "sts", "-o", "wide"), "NAME   READY   AGE", "CONTAINERS   IMAGES", "db     2/2")
	contains(t, "describe sts", c.Kubectl("describe", "sts", "db"), "Replicas:           2 desired | 2 total", "Pods Status:        2 Running / 0 Waiting / 0 Succeeded / 0 Failed", "Create Pod db-1 in StatefulSet db successful")
	contains(t, "hostname", c.Kubectl("exec", "db-1", "--", "hostname"), "db-1")
	c.Eventually(time.Minute, "endpoints with the pods' names", func() error {
		if got := c.Kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=db", "-o", "jsonpath={.items[*].endpoints[*].hostname}"); !strings.Contains(got, "db-0") || !strings.Contains(got, "db-1") {
			return fmt.Errorf("hostnames: %q", got)
		}
		return nil
	})
	sleeps := func(app string) string {
		return c.Kubectl("get", "pods", "-l", "app="+app, "-o", `jsonpath={range .items[*]}{.metadata.name}={.spec.containers[0].command[1]} {end}`)
	}

	c.Clone.Replace("db.yaml", `"3600"`, `"7200"`)
	contains(t, "plan", c.Headway("plan", "--path", c.Clone.Dir).Stdout, "update StatefulSet/db in default (replaces its pods)", "StatefulSet/db in default: replaces 2 pods by 2: db-0, db-1; at most 0 more and 1 less meanwhile")
	c.Deployed(c.Clone.Push("for longer"))
	if got := sleeps("db"); got != "db-0=7200 db-1=7200 " && got != "db-0=7200 db-1=7200" {
		t.Errorf("the pods sleep for %q", got)
	}
	contains(t, "rollout history", c.Kubectl("rollout", "history", "sts/db"), "1         <none>", "2         <none>")

	c.Clone.Replace("db.yaml", "headway.dev/test/busybox:1", "127.0.0.1:1/none:1")
	c.Clone.Push("an image that is not there")
	statusHas(t, c, "StatefulSet/db in default InProgress: Ready: 1/2", "pod db-1: ", "ErrImagePull")
	rollback(t, c)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))

	// What is not in Git is kubectl's.
	byhand, _, _ := strings.Cut(strings.ReplaceAll(declaredStatefulSet, "db", "byhand"), "---")
	c.KubectlIn(byhand, "apply", "-f", "-")
	contains(t, "rollout status", c.Kubectl("rollout", "status", "sts/byhand", "--timeout=60s"), "partitioned roll out complete: 2 new pods have been updated")
	contains(t, "scale", c.Kubectl("scale", "sts/byhand", "--replicas=3"), "statefulset.apps/byhand scaled")
	c.Kubectl("wait", "sts/byhand", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=60s")
	c.Kubectl("scale", "sts/byhand", "--replicas=1")
	c.Kubectl("wait", "sts/byhand", "--for=jsonpath={.status.replicas}=1", "--timeout=60s")
	c.KubectlIn(strings.Replace(strings.ReplaceAll(byhand, "3600", "100"), "replicas: 2", "replicas: 1", 1), "apply", "-f", "-")
	c.Kubectl("rollout", "status", "sts/byhand", "--timeout=60s")
	contains(t, "undo", c.Kubectl("rollout", "undo", "sts/byhand"), "statefulset.apps/byhand rolled back")
	c.Kubectl("rollout", "status", "sts/byhand", "--timeout=60s")
	contains(t, "what undo brought back", sleeps("byhand"), "byhand-0=3600")
	uid := func() string { return c.Kubectl("get", "pod", "byhand-0", "-o", "jsonpath={.metadata.uid}") }
	before := uid()
	contains(t, "restart", c.Kubectl("rollout", "restart", "sts/byhand"), "statefulset.apps/byhand restarted")
	c.Kubectl("rollout", "status", "sts/byhand", "--timeout=60s")
	if uid() == before {
		t.Error("byhand-0 was not restarted")
	}

	c.Clone.Write("none.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none, namespace: default}\n")
	c.Clone.Git("rm", "-q", "db.yaml")
	c.Deployed(c.Clone.Push("no StatefulSet"))
	c.Eventually(time.Minute, "its pods and revisions go with it", func() error {
		if left := c.Kubectl("get", "pods,controllerrevisions", "-l", "app=db", "-o", "name"); left != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})

	statefulSetWithTakenPort(t, c)
	statefulSetWithClaims(t, c)
}

// statefulSetWithTakenPort: a pod that its node rejects fails, and is made again until the
// node takes it.
func statefulSetWithTakenPort(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	const spec = `
      nodeName: node-1
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "3600"], ports: [{containerPort: 21017, hostPort: 21017}]}]
`
	c.KubectlIn("apiVersion: v1\nkind: Pod\nmetadata: {name: holder, namespace: default}\nspec:"+spec, "create", "-f", "-")
	c.Kubectl("wait", "--for=condition=Ready", "pod/holder", "--timeout=60s")
	c.KubectlIn(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: port, namespace: default}
spec:
  selector: {matchLabels: {app: port}}
  template:
    metadata: {labels: {app: port}}
    spec:`+strings.ReplaceAll(spec, "\n", "\n  "), "create", "-f", "-")
	c.Eventually(time.Minute, "the pod is rejected and made again", func() error {
		return holds(c.Kubectl("get", "events", "-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`),
			"NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports", "SuccessfulDelete: Delete Pod port-0 in StatefulSet port successful")
	})
	c.Kubectl("delete", "pod", "holder", "--force")
	c.Kubectl("rollout", "status", "sts/port", "--timeout=60s")
	c.Kubectl("wait", "--for=condition=Ready", "pod/port-0", "--timeout=60s")
	c.Kubectl("delete", "sts", "port")
}

// statefulSetWithClaims: each pod has a claim of its own, which it finds again after it was
// replaced, or the set was made smaller and larger; the policy says when claims go.
func statefulSetWithClaims(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	const claims = `  serviceName: db
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
`
	disk := strings.Replace(declaredStatefulSet, "  serviceName: db\n", claims, 1)
	disk = strings.Replace(disk, `command: [sleep, "3600"]}`, `command: [sh, -c, "hostname >> /data/log; exec sleep 3600"], volumeMounts: [{name: data, mountPath: /data}]}`, 1)
	c.Clone.Write("db.yaml", disk)
	c.Deployed(c.Clone.Push("claims"))
	contains(t, "get pvc", c.Kubectl("get", "pvc"), "data-db-0   Bound", "data-db-1   Bound", "headway-local")
	contains(t, "describe sts", c.Kubectl("describe", "sts", "db"), "Create Claim data-db-0 Pod db-0 in StatefulSet db success", "Volume Claims:", "Name:          data")
	log := func(pod string) string { return c.Kubectl("exec", pod, "--", "cat", "/data/log") }
	c.Clone.Replace("db.yaml", "exec sleep 3600", "exec sleep 7200")
	c.Deployed(c.Clone.Push("for longer, with the same data"))
	if got := strings.Fields(log("db-1")); len(got) != 2 || got[0] != "db-1" {
		t.Errorf("db-1 finds %q on its disk, want what it wrote twice", got)
	}

	c.Clone.Replace("db.yaml", "replicas: 2", "replicas: 1")
	c.Deployed(c.Clone.Push("smaller"))
	contains(t, "get pvc", c.Kubectl("get", "pvc"), "data-db-1   Bound")
	c.Clone.Replace("db.yaml", "replicas: 1", "replicas: 2")
	c.Deployed(c.Clone.Push("larger"))
	if got := strings.Fields(log("db-1")); len(got) != 3 {
		t.Errorf("db-1 finds %q on its disk, want what it wrote three times", got)
	}

	c.Clone.Replace("db.yaml", "  volumeClaimTemplates:", "  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Delete}\n  volumeClaimTemplates:")
	c.Clone.Replace("db.yaml", "replicas: 2", "replicas: 1")
	c.Deployed(c.Clone.Push("smaller, without its data"))
	left := func(want string) {
		t.Helper()
		c.Eventually(time.Minute, "claims and volumes: "+want, func() error {
			if got := c.Kubectl("get", "pvc", "-o", "jsonpath={.items[*].metadata.name}") + "; " + c.Kubectl("get", "pv", "-o", "jsonpath={.items[*].spec.claimRef.name}"); got != want {
				return fmt.Errorf("there are %s", got)
			}
			return nil
		})
	}
	left("data-db-0; data-db-0")
	c.Clone.Git("rm", "-q", "db.yaml")
	c.Deployed(c.Clone.Push("no StatefulSet, no data"))
	left("; ")
}
