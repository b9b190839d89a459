package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// Twenty times: kill -9 at a random moment of a rollout. It comes back,
// converges, runs the right pods once each, and has every acknowledged write.
func TestKillDuringRollouts(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	message := "Hello from Git!"
	acknowledged := map[string]string{}
	for round := range 20 {
		next := fmt.Sprintf("Hello for the %d. time!", round)
		c.Clone.Replace(baseFile, message, next)
		message = next
		commit := c.Clone.Push(next)

		writes := startWrites(c, round)
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond) //nolint:forbidigo // the random moment
		c.Program.Kill()
		maps.Copy(acknowledged, writes.stop())
		c.Up()
		c.Deployed(commit)
		pods := readyPods(t, c, 3)
		c.Eventually(30*time.Second, "only the new pods are left", func() error { return podsAre(c, pods) })
		c.Eventually(30*time.Second, "each pod runs once", func() error { return runsOnce(c, pods) })
	}
	configMaps, err := c.Client().CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]string{}
	for _, cm := range configMaps.Items {
		stored[cm.Name] = cm.Data["key"]
	}
	if len(acknowledged) < 20 {
		t.Errorf("only %d writes were acknowledged in all", len(acknowledged))
	}
	for name, want := range acknowledged {
		if stored[name] != want {
			t.Errorf("ConfigMap %s holds %q, want the acknowledged %q", name, stored[name], want)
		}
	}
	t.Logf("%d acknowledged writes, none lost", len(acknowledged))
}

// runsOnce reports whether there is exactly one container process for each pod.
func runsOnce(c *e2e.Cluster, pods map[string]bool) error {
	running := map[string]int{}
	for _, hostname := range c.Processes.Hostnames("/web-") {
		running[hostname]++
	}
	for name := range pods {
		if running[name] != 1 {
			return fmt.Errorf("pod %s has %d processes; running are %v", name, running[name], running)
		}
	}
	if len(running) != len(pods) {
		return fmt.Errorf("running are %v, want %v", running, pods)
	}
	return nil
}

// writes creates ConfigMaps until the server dies, and knows which of them
// were acknowledged.
type writes struct {
	cancel context.CancelFunc
	done   chan map[string]string
}

func startWrites(c *e2e.Cluster, round int) *writes {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writes{cancel: cancel, done: make(chan map[string]string, 1)}
	client := c.Client().CoreV1().ConfigMaps("default")
	go func() {
		acknowledged := map[string]string{}
		defer func() { w.done <- acknowledged }()
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("write-%d-%d", round, i)
			_, err := client.Create(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Data:       map[string]string{"key": name},
			}, metav1.CreateOptions{})
			if err != nil {
				return
			}
			acknowledged[name] = name
		}
	}()
	return w
}

func (w *writes) stop() map[string]string {
	w.cancel()
	return <-w.done
}

// Ctrl-C stops headway, containers keep running, and the next start adopts
// them: the same processes, no log line lost.
func TestRestartKeepsContainers(t *testing.T) {
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	readyPods(t, c, 3)
	before := c.Processes.List("/web-")
	url := "http://" + serviceIP(t, c)
	c.Program.Stop()
	if err := answers(c, url, "Hello"); err != nil {
		t.Errorf("the Service while headway is stopped: %v", err)
	}
	load := startLoad(c, url)
	c.Up()
	readyPods(t, c, 3)
	c.Eventually(30*time.Second, "it says that all is healthy, once it has looked", func() error {
		if out := c.Program.OutputSinceStart(); !strings.Contains(out, " is healthy (") {
			return errors.New(out)
		}
		return nil
	})
	c.Eventually(30*time.Second, "clients have sent requests for a while", func() error {
		if n := load.sent(); n < 500 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	if after := c.Processes.List("/web-"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("processes after the restart are %v, before they were %v", after, before)
	}
	restarts := c.Kubectl("get", "pods", "-n", "hello", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
	if strings.Trim(restarts, "0 ") != "" {
		t.Errorf("restart counts are %q, want zeros", restarts)
	}

	// Adopted pods never lost their place in the Service.
	if requests, failures := load.stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed during the restart, the first: %v", len(failures), requests, failures[0])
	}
	if strings.Contains(c.Program.OutputSinceStart(), "is Ready") {
		t.Errorf("pods that were ready became ready again:\n%s", c.Program.OutputSinceStart())
	}

	// What was adopted is under control again, rules included.
	c.Clone.Replace(baseFile, "Hello from Git!", "Hello after the restart!")
	c.Deployed(c.Clone.Push("Greet after the restart"))
	c.Eventually(30*time.Second, "the Service answers with the new message", func() error {
		return answers(c, url, "Hello after the restart!")
	})
}

// The private containerd is killed: containers live on, it is started again,
// and new pods start.
func TestContainerdKilled(t *testing.T) {
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	pods := readyPods(t, c, 3)
	before := c.Processes.List("/web-")
	load := startLoad(c, "http://"+serviceIP(t, c))
	for round := range 2 {
		c.Processes.KillContainerd()
		name := fmt.Sprintf("web-%d", round)
		c.Kubectl("create", "deployment", name, "--image=headway.dev/examples/web:1.0.0")
		c.Kubectl("rollout", "status", "deploy/"+name, "--timeout=60s")
	}
	if requests, failures := load.stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(failures), requests, failures[0])
	}
	after := c.Processes.List("/web-")
	for _, process := range before {
		if !slices.Contains(after, process) {
			t.Errorf("process %s is gone; running are %v", process, after)
		}
	}
	if err := podsAre(c, pods); err != nil {
		t.Error(err)
	}
	contains(t, "restart counts", c.Kubectl("get", "pods", "-n", "hello", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"), "0 0 0")

	// Exits that happen while it is down are not lost.
	c.Processes.KillContainerd()
	pid, _, _ := strings.Cut(before[0], " ")
	if r := c.Run("", "kill", "-9", pid); r.Code != 0 {
		t.Fatalf("kill a container's process: %s", r.Stderr)
	}
	c.Eventually(time.Minute, "the container is started again", func() error {
		return holds(c.Kubectl("get", "pods", "-n", "hello", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"), "1")
	})
	readyPods(t, c, 3)
}

// A cluster that is stopped while its containers are being made is cleaned up
// whole: the harness finds what is left of it.
func TestCleanupAfterAnInterruptedStart(t *testing.T) {
	t.Parallel()
	for range 3 {
		c := e2e.New(t)
		c.Program.Spawn()
		c.Eventually(time.Minute, "a shim runs", func() error {
			if c.Processes.Usage()["shims"].PSS == 0 {
				return fmt.Errorf("none yet")
			}
			return nil
		})
		c.Program.Stop()
	}
}
