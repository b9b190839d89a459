package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// boxed is a pod NAME with RULES in its spec; it says so when it is told to end.
const boxed = `apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: apart}}
spec:
  terminationGracePeriodSeconds: 20
  RULES
  containers:
  - name: box
    image: headway.dev/test/busybox:1
    command: [sh, -c, "trap 'echo NAME >> /out/ended; exit 0' TERM; while true; do sleep 0.1; done"]
    resources: {requests: {cpu: CPU}}
    volumeMounts: [{name: out, mountPath: /out}]
  volumes: [{name: out, hostPath: {path: OUT}}]
`

// On a node with containers: of two pods that keep away from each other one waits
// until the other is gone, so does one that would make the spread uneven, and an
// important one of Git's has a lesser one end in good order, which the plan says before.
func TestScheduling(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	create := func(name, cpu, rules string) {
		c.KubectlIn(strings.NewReplacer("NAME", name, "CPU", cpu, "RULES", rules, "OUT", dir).Replace(boxed), "create", "-f", "-")
	}
	ready := func(name string) { c.Kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s") }
	waits := func(name, why string) {
		t.Helper()
		c.Eventually(time.Minute, name+" waits", func() error {
			return holds(c.Kubectl("describe", "pod", name), "Warning  FailedScheduling", "0/1 nodes are available: 1 "+why+". preemption: 0/1 nodes are available: 1 ")
		})
	}

	const apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: apart}}}]}}"
	create("first", "1m", apart)
	ready("first")
	create("second", "1m", apart)
	waits("second", "node(s) didn't match pod anti-affinity rules")
	c.Kubectl("delete", "pod", "first", "--timeout=60s")
	ready("second")

	create("spread", "1m", "topologySpreadConstraints: [{maxSkew: 1, minDomains: 2, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: apart}}}]")
	waits("spread", "node(s) didn't match pod topology spread constraints")
	c.Kubectl("delete", "pod", "second", "--timeout=60s")
	ready("spread")
	c.Kubectl("delete", "pod", "spread", "--timeout=60s")

	node, err := c.Client().CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	most := fmt.Sprintf("%dm", node.Status.Allocatable.Cpu().MilliValue()*3/5)
	create("lesser", most, "priority: 0")
	ready("lesser")
	// The plan names whom a commit preempts, and the commit does.
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("important.yaml", "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: urgent}\nvalue: 1000\n---\n"+
		strings.NewReplacer("NAME", "important, namespace: default", "CPU", most, "RULES", "priorityClassName: urgent", "OUT", dir).Replace(boxed))
	contains(t, "plan", c.Headway("plan", "--path", c.Clone.Dir).Stdout, "would preempt pod default/lesser (priority 0), which nobody makes again")
	c.Deployed(c.Clone.Push("Something important"))
	c.Kubectl("wait", "--for=delete", "pod/lesser", "--timeout=60s")
	if ended, err := os.ReadFile(filepath.Join(dir, "ended")); err != nil || string(ended) != "first\nsecond\nspread\nlesser\n" {
		t.Errorf("%q ended in good order (%v)", ended, err)
	}
	c.Eventually(time.Minute, "an event says why", func() error {
		return holds(c.Kubectl("get", "events", "--field-selector", "involvedObject.name=lesser"), "Preempted", "Preempted by pod ", " on node node-1")
	})
}
