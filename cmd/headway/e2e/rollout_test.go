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

// A commit with an image that does not exist fails: the old pods go on
// serving, and status, log and kubectl tell why. Reverting it recovers.
func TestBadImageKeepsServing(t *testing.T) {
	c := e2e.Start(t)
	c.Clone.Replace(deployFile, "  replicas: 1\n", "  replicas: 1\n  progressDeadlineSeconds: 3\n")
	c.Deployed(c.Clone.Push("Fail soon"))
	before := readyPods(t, c, 3)
	load := startLoad(c, "http://"+serviceIP(t, c))

	c.Clone.Replace(deployFile, "headway.dev/examples/web:1.0.0", "127.0.0.1:1/none:1")
	bad := c.Clone.Push("Use an image that is not there")
	c.Eventually(30*time.Second, "the new pod cannot pull", func() error {
		return holds(c.Kubectl("get", "pods", "-n", "hello"), "ImagePullBackOff")
	})
	r := c.Run("", "kubectl", "rollout", "status", "deploy/hello", "-n", "hello", "--timeout=60s")
	if r.Code != 1 || !strings.Contains(r.Stderr, `deployment "hello" exceeded its progress deadline`) {
		t.Errorf("rollout status: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	statusHas(t, c, "not healthy", "Deployment/hello in hello Failed: Progress deadline exceeded", "ErrImagePull", bad[:7])
	c.Eventually(30*time.Second, "the log of the Deployment tells the failure", func() error {
		return holds(c.Headway("log", "deploy/hello").Stdout, bad[:7], "Use an image that is not there", "Progress deadline exceeded")
	})
	for name := range before {
		if got := c.Kubectl("get", "pod", name, "-n", "hello"); !strings.Contains(got, "1/1") {
			t.Errorf("an old pod no longer serves:\n%s", got)
		}
	}
	rollback(t, c)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	c.Eventually(30*time.Second, "only the pods of before are left", func() error { return podsAre(c, before) })
	if strings.Contains(c.Program.Output(), "level=info") {
		t.Errorf("a library's log among headway's output:\n%s", c.Program.Output())
	}
	if requests, failures := load.stop(); requests < 50 || len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(failures), requests, failures)
	}
}

// Recreate ends the old pod, which takes its time, before the new one starts.
func TestRecreate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	manifest := func(round string) string {
		return strings.NewReplacer("DIR", dir, "ROUND", round).Replace(`apiVersion: apps/v1
kind: Deployment
metadata: {name: alone}
spec:
  strategy: {type: Recreate}
  selector: {matchLabels: {app: alone}}
  template:
    metadata: {labels: {app: alone}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: alone
        image: headway.dev/test/busybox:1
        command: [sh, -c, "mkdir /out/lock && echo ROUND begins >> /out/said || echo ROUND overlaps >> /out/said; trap 'sleep 1; echo ROUND ends >> /out/said; rmdir /out/lock; exit 0' TERM; while true; do sleep 0.1; done"]
        volumeMounts: [{name: out, mountPath: /out}]
      volumes: [{name: out, hostPath: {path: DIR}}]
`)
	}
	for i, round := range []string{"first", "second", "third"} {
		c.KubectlIn(manifest(round), "apply", "-f", "-")
		contains(t, "rollout status", c.Kubectl("rollout", "status", "deploy/alone", "--timeout=60s"), "successfully rolled out")
		want := "first begins\nfirst ends\nsecond begins\nsecond ends\nthird begins\n"
		want = strings.Join(strings.SplitAfter(want, "\n")[:2*i+1], "")
		c.Eventually(20*time.Second, "the pods said that they follow each other", func() error {
			if said, err := os.ReadFile(filepath.Join(dir, "said")); err != nil || string(said) != want {
				return fmt.Errorf("said %q, %w; want %q", said, err, want)
			}
			return nil
		})
	}
}
