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

const declaredStorage = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: default}
spec:
  accessModes: [ReadWriteOncePod]
  resources: {requests: {storage: 100Mi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, namespace: default}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      securityContext: {fsGroup: 4711}
      terminationGracePeriodSeconds: 1
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      - name: scratch
        ephemeral: {volumeClaimTemplate: {metadata: {labels: {kind: scratch}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}}}
      containers:
      - name: main
        image: "headway.dev/test/busybox:1"
        command: [sh, -c, "echo first >> /data/log; echo first >> /scratch/log; cat /data/log; trap exit TERM; while :; do sleep 1; done"]
        securityContext: {runAsUser: 4712}
        volumeMounts:
        - {name: data, mountPath: /data}
        - {name: data, mountPath: /part, subPath: some/part}
        - {name: scratch, mountPath: /scratch}
`

// A commit with a claim and its pods runs on a fresh machine with nothing installed: the
// data are on the node's disk, survive rollouts and restarts of everything, and go with
// the claim; those of a class that retains them stay.
func TestClaims(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	want := func(what, got string, wanted ...string) {
		t.Helper()
		for _, w := range wanted {
			if !strings.Contains(got, w) {
				t.Errorf("%s has no %q:\n%s", what, w, got)
			}
		}
	}
	want("classes", c.Kubectl("get", "sc"), "headway-local (default)", "headway.dev/local", "Delete", "WaitForFirstConsumer", "false")
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("storage.yaml", declaredStorage)
	c.Deployed(c.Clone.Push("a database"))
	want("claims", c.Kubectl("get", "pvc"), "data", "Bound", "100Mi", "RWOP", "headway-local", "<unset>")
	name := c.Kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
	want("volumes", c.Kubectl("get", "pv"), name, "100Mi", "RWOP", "Delete", "Bound", "default/data", "headway-local")
	want("describe", c.Kubectl("describe", "pvc", "data"), "Successfully provisioned volume "+name, "Used By:       db-")
	want("explain", c.Kubectl("explain", "pvc.spec.volumeName"), "<string>")
	dir := filepath.Join(c.DataDir, "volumes", name)
	holds := func(file, content string) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || string(got) != content {
			t.Errorf("%s has %q, %v; want %q", file, got, err, content)
		}
	}
	holds("log", "first\n")
	scratch := func(content string) (volume string) {
		t.Helper()
		pod := c.Kubectl("get", "pods", "-l", "app=db", "-o", "jsonpath={.items[0].metadata.name}")
		volume = c.Kubectl("get", "pvc", pod+"-scratch", "-o", "jsonpath={.spec.volumeName}")
		got, err := os.ReadFile(filepath.Join(c.DataDir, "volumes", volume, "log"))
		if err != nil || string(got) != content {
			t.Errorf("the volume of %s has %q, %v; want %q", pod, got, err, content)
		}
		return volume
	}
	if info, err := os.Stat(filepath.Join(dir, "some", "part")); err != nil || !info.IsDir() {
		t.Errorf("subPath: %v", err)
	}
	if got := c.Kubectl("exec", "deploy/db", "--", "stat", "-c", "%g %A", "/data"); !strings.Contains(got, "4711 drwxrwsrwx") {
		t.Errorf("the volume belongs to %s", got)
	}

	// A rollout keeps the data.
	c.Clone.Replace("storage.yaml", "echo first", "echo second")
	old := scratch("first\n")
	c.Deployed(c.Clone.Push("the next program"))
	holds("log", "first\nsecond\n")

	// What a pod has of its own goes with it.
	if own := scratch("second\n"); own == old {
		t.Errorf("the next pod has the volume %s of the one before", own)
	}
	c.Eventually(time.Minute, "the data of the pod before to be gone", func() error {
		if _, err := os.Stat(filepath.Join(c.DataDir, "volumes", old)); !os.IsNotExist(err) {
			return fmt.Errorf("they are there: %w", err)
		}
		return nil
	})

	// A claim that a pod uses stays until the pod is gone, and its data with it.
	c.Kubectl("delete", "pvc", "data", "--wait=false")
	want("the deleted claim", c.Kubectl("get", "pvc"), "Terminating")
	holds("log", "first\nsecond\n")
	c.Clone.Git("rm", "-q", "storage.yaml")
	c.Clone.Write("config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: left, namespace: default}\n")
	c.Deployed(c.Clone.Push("no database"))
	gone := func(what ...string) {
		t.Helper()
		c.Eventually(time.Minute, strings.Join(what, ", ")+" to be gone", func() error {
			if left := c.Kubectl("get", strings.Join(what, ","), "-n", "default", "-o", "name"); left != "" {
				return fmt.Errorf("there are %s", left)
			}
			return nil
		})
	}
	gone("pods", "pvc", "pv")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data of a deleted claim are left: %v", err)
	}

	// A class of one's own keeps them.
	c.Clone.Write("class.yaml", "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: kept}\n"+
		"provisioner: headway.dev/local\nreclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer\n")
	c.Clone.Write("storage.yaml", strings.Replace(declaredStorage, "  accessModes", "  storageClassName: kept\n  accessModes", 1))
	c.Deployed(c.Clone.Push("a database to keep"))
	name = c.Kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
	dir = filepath.Join(c.DataDir, "volumes", name)
	c.Clone.Git("rm", "-q", "storage.yaml")
	c.Deployed(c.Clone.Push("no database, but its data"))
	gone("pods", "pvc")
	c.Kubectl("wait", "--for=jsonpath={.status.phase}=Released", "pv/"+name, "--timeout=60s")
	holds("log", "first\n")
	c.Kubectl("delete", "pv", name, "--timeout=60s")
	holds("log", "first\n")
}
