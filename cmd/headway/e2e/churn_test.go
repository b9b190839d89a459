package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/podutils"

	"headway.dev/cmd/headway/e2e"
)

// churnEnv is how long TestPodChurn churns 400 pods; make soak sets it.
const churnEnv = "HEADWAY_SOAK_CHURN"

// churners are the threads that change pods at the same time, a Deployment each.
const churners = 8

// Pods are created, scaled, deleted and deleted by force at random by several
// threads at once. The program lives and nothing in it panics, its node is Ready
// all the time, what is wanted at the end runs once and is Ready, and of what is
// not wanted nothing is left on the machine.
func TestPodChurn(t *testing.T) {
	t.Parallel()
	length, pods := 10*time.Second, 40
	flags := []string{"--images-dir", e2e.AllImages(t)}
	if v := os.Getenv(churnEnv); v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatalf("%s: %v", churnEnv, err)
		}
		pods = 400
		flags = append(flags, "--verbose") // nobody is there when it fails
	}
	c := e2e.Start(t, flags...)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	c.Kubectl("create", "namespace", "churn")
	c.KubectlIn(churnObjects(), "apply", "-f", "-")
	node := readySince(t, c)
	var before []string
	c.Eventually(time.Minute, "the cluster is at rest", func() error {
		last := before
		before = c.Traces.List()
		return sameLines(last, before)
	})
	goroutines, descriptors := metric(t, c, "go_goroutines"), c.Program.Descriptors()

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var group sync.WaitGroup
	counts := make([]map[string]int, churners)
	for i := range churners {
		one := &churner{
			client: c.Client(), random: rand.New(rand.NewPCG(seed, uint64(i))),
			name: fmt.Sprintf("churn-%d", i), most: pods / churners, did: map[string]int{},
		}
		counts[i] = one.did
		group.Go(func() {
			if err := one.run(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", one.name, err)
			}
		})
	}
	group.Wait()
	did := map[string]int{}
	for _, count := range counts {
		for op, n := range count {
			did[op] += n
		}
	}
	t.Logf("did %v", did)
	if err := c.Program.Running(); err != nil {
		t.Fatalf("%v\n%s", err, c.Program.Output())
	}

	// What is wanted now is there, once.
	c.Kubectl("delete", "pods", "-n", "churn", "-l", "bare", "--wait=false")
	for i := range churners {
		c.Kubectl("scale", "deploy", "-n", "churn", fmt.Sprintf("churn-%d", i), "--replicas=2")
	}
	c.Eventually(5*time.Minute, "two pods of each Deployment are Ready and no other is left", func() error { return settled(c, 2*churners) })

	c.Kubectl("scale", "deploy", "-n", "churn", "--all", "--replicas=0")
	c.Eventually(5*time.Minute, "no pod is left", func() error { return settled(c, 0) })
	c.Eventually(time.Minute, "nothing is left on the machine, and all of before is there", func() error {
		return sameLines(before, c.Traces.List())
	})
	c.Eventually(time.Minute, "no goroutine and no file is left in the program", func() error {
		now, err := c.Metric("go_goroutines")
		if err != nil {
			return err
		}
		// Connections of clients come and go.
		if open := c.Program.Descriptors(); now > goroutines+40 || open > descriptors+20 {
			return fmt.Errorf("%v goroutines and %d open files, before were %v and %d", now, open, goroutines, descriptors)
		}
		return nil
	})
	if n := metric(t, c, "headway_panics_total"); n != 0 {
		t.Errorf("%v panics were caught:\n%s", n, c.Program.Output())
	}
	if now := readySince(t, c); now != node {
		t.Errorf("the node was not Ready all the time: %s, before %s", now, node)
	}
	for _, e := range events(t, c) {
		if e.Reason == "NodeNotReady" || e.Reason == "TaintManagerEviction" || e.Reason == "Evicted" {
			t.Errorf("event %s: %s", e.Reason, e.Message)
		}
	}
}

// churnObjects are a Deployment for each thread, of all kinds that make the
// agent and the proxy work, and what their pods use.
func churnObjects() string {
	var b strings.Builder
	b.WriteString(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: churn}
data: {color: green}
`)
	for i := range churners {
		spec := []string{
			// A Service follows it.
			`containers: [{name: main, image: headway.dev/test/busybox:1, command: [httpd, -f, -p, "8080"], ports: [{name: http, containerPort: 8080}], readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}}]`,
			// Hooks and commands run in it.
			`containers: [{name: main, image: headway.dev/test/busybox:1, command: [sleep, "1000"], readinessProbe: {exec: {command: ["true"]}, periodSeconds: 2}, lifecycle: {postStart: {exec: {command: ["true"]}}, preStop: {exec: {command: [sleep, "0.2"]}}}}]`,
			// Its volumes, and a container that prints all the time.
			`initContainers: [{name: first, image: headway.dev/test/busybox:1, command: [cp, /settings/color, /data/]}]
      containers:
      - {name: main, image: headway.dev/test/busybox:1, command: [sleep, "1000"], volumeMounts: [{name: data, mountPath: /data}]}
      - {name: talker, image: headway.dev/test/busybox:1, command: [sh, -c, "while true; do echo tick; sleep 0.1; done"]}
      volumes: [{name: data, emptyDir: {medium: Memory}}, {name: settings, configMap: {name: settings}}]`,
			// It heeds no SIGTERM.
			`containers: [{name: main, image: headway.dev/test/busybox:1, command: [sh, -c, "trap : TERM; while true; do sleep 0.2; done"]}]`,
		}[i%4]
		spec = strings.Replace(spec, "command: [cp", "volumeMounts: [{name: data, mountPath: /data}, {name: settings, mountPath: /settings}], command: [cp", 1)
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Service
metadata: {name: churn-%[1]d, namespace: churn}
spec: {selector: {app: churn-%[1]d}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: churn-%[1]d, namespace: churn}
spec:
  replicas: 0
  selector: {matchLabels: {app: churn-%[1]d}}
  template:
    metadata: {labels: {app: churn-%[1]d}}
    spec:
      terminationGracePeriodSeconds: 2
      %[2]s
`, i, spec)
	}
	return b.String()
}

// settled fails unless exactly n pods are left of the churn, each of them is
// Ready and each runs once.
func settled(c *e2e.Cluster, n int) error {
	list, err := c.Client().CoreV1().Pods("churn").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := map[string]bool{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && podutils.IsPodReady(&p) {
			ready[p.Name] = true
		}
	}
	if len(ready) != n || len(list.Items) != n {
		return fmt.Errorf("%d of %d pods are Ready, want %d of %d", len(ready), len(list.Items), n, n)
	}
	running := map[string]int{}
	for _, program := range []string{"httpd", "sleep\x001000", "sh\x00-c\x00trap"} {
		for _, hostname := range c.Processes.Hostnames(program) {
			running[hostname]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ready)) {
		if running[name] != 1 {
			return fmt.Errorf("pod %s has %d main processes; running are %v", name, running[name], running)
		}
	}
	if len(running) != n {
		return fmt.Errorf("running are %v, want those of %v", running, ready)
	}
	return nil
}

// sameLines fails if two sorted lists differ, and says in what.
func sameLines(before, after []string) error {
	var diff []string
	for _, line := range before {
		if _, found := slices.BinarySearch(after, line); !found {
			diff = append(diff, "gone: "+line)
		}
	}
	for _, line := range after {
		if _, found := slices.BinarySearch(before, line); !found {
			diff = append(diff, "new: "+line)
		}
	}
	if len(diff) > 0 {
		return fmt.Errorf("%d differences:\n%s", len(diff), strings.Join(diff[:min(len(diff), 50)], "\n"))
	}
	return nil
}

func metric(t *testing.T, c *e2e.Cluster, name string) float64 {
	t.Helper()
	value, err := c.Metric(name)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// readySince is since when the node is Ready, and its taints.
func readySince(t *testing.T, c *e2e.Cluster) string {
	t.Helper()
	node, err := c.Client().CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cond := range node.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			return fmt.Sprint("node ", cond.Status, " since ", cond.LastTransitionTime, " taints ", node.Spec.Taints)
		}
	}
	return "unknown"
}

func events(t *testing.T, c *e2e.Cluster) []corev1.Event {
	t.Helper()
	list, err := c.Client().CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}
