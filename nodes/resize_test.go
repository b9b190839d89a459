package nodes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/nodes/nodetest"
)

// limits are what the kernel says of the CPU and memory of a pod, or of a container
// of it.
func limits(t *testing.T, n *nodetest.Node, cgroup string) string {
	t.Helper()
	files := []string{"cpu/*/cpu.cfs_quota_us", "cpu/*/cpu.shares", "memory/*/memory.limit_in_bytes"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		files = []string{"*/cpu.max", "*/cpu.weight", "*/memory.max"}
	}
	var values []string
	for _, file := range files {
		name := filepath.Join("/sys/fs/cgroup", strings.Replace(file, "*", filepath.Join(n.Config.CgroupRoot, cgroup), 1))
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, strings.Fields(string(data))[0])
	}
	return strings.Join(values, " ")
}

func amounts(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list.DeepCopy(), Limits: list}
}

func (c *cluster) generation(name string) int64 {
	c.t.Helper()
	p, err := c.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return p.Generation
}

// resize does to the pod web what the API server does: another spec, another
// generation.
func (c *cluster) resize(wanted corev1.ResourceRequirements) {
	c.t.Helper()
	pods := c.client.CoreV1().Pods("default")
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/containers/0/resources", "value": wanted}, {"op": "add", "path": "/metadata/generation", "value": c.generation("web") + 1},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := pods.Patch(context.Background(), "web", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// has waits until a container is said to have an amount of CPU and memory, and nothing
// is said of a resize any more.
func has(cpu, memory string, restarts int32) func(*corev1.Pod) string {
	return func(p *corev1.Pod) string {
		if p == nil || len(p.Status.ContainerStatuses) == 0 {
			return "no status"
		}
		s := p.Status.ContainerStatuses[0]
		if s.Resources == nil || s.State.Running == nil || s.RestartCount != restarts || s.Resources.Limits.Cpu().Cmp(resource.MustParse(cpu)) != 0 ||
			s.Resources.Limits.Memory().Cmp(resource.MustParse(memory)) != 0 || s.AllocatedResources.Cpu().Cmp(resource.MustParse(cpu)) != 0 ||
			p.Status.ObservedGeneration != p.Generation {
			return fmt.Sprintf("not yet: %+v", s)
		}
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodResizeInProgress || condition.Type == corev1.PodResizePending {
				return fmt.Sprintf("still: %+v", condition)
			}
		}
		return ""
	}
}

// A container is given other amounts while it runs, as the kernel's files show: of
// CPU and memory at once, more and less; by a restart where the pod says so; less
// memory than it uses not at all; and more than the node has left when that is free.
// A new agent takes it up where the old one left it.
func TestResize(t *testing.T) {
	c := newCluster(t)
	app := tool("eat", "24")
	app.Resources = amounts("200m", "64Mi")
	web := c.run("web", one(app))
	c.wait("web", has("200m", "64Mi", 0))
	nodetest.Eventually(t, 30*time.Second, func() string {
		if log := c.log(web, "app", 0); !strings.Contains(log, "ate 24 MiB") {
			return "not eaten: " + log
		}
		return ""
	})
	cgroups := func() (pod, container string) {
		o, err := c.node.Get(t.Context(), string(web.UID))
		if err != nil || o.Sandbox == nil || len(o.Containers) == 0 {
			t.Fatal(o, err)
		}
		return o.Sandbox.CgroupPath, filepath.Join(o.Sandbox.CgroupPath, o.Containers[len(o.Containers)-1].ID)
	}
	expect := func(cpu, memory string, milli, bytes int64) {
		t.Helper()
		pod, container := cgroups()
		want := fmt.Sprintf("%d %d %d", milli*100, milli*1024/1000, bytes)
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
			want = fmt.Sprintf("%d %d %d", milli*100, 1+(milli*1024/1000-2)*9999/262142, bytes)
		}
		for _, cgroup := range []string{pod, container} {
			if got := limits(t, c.node, cgroup); got != want {
				t.Errorf("with %s CPUs and %s memory %s has %s, want %s", cpu, memory, cgroup, got, want)
			}
		}
	}
	expect("200m", "64Mi", 200, 64<<20)
	for _, r := range []struct {
		cpu, memory  string
		milli, bytes int64
	}{{"500m", "128Mi", 500, 128 << 20}, {"100m", "96Mi", 100, 96 << 20}} {
		c.resize(amounts(r.cpu, r.memory))
		c.wait("web", has(r.cpu, r.memory, 0))
		expect(r.cpu, r.memory, r.milli, r.bytes)
	}
	c.waitEvent(`ResizeStarted Pod resize started: {"containers":[{"name":"app","resources":{"limits":{"cpu":"500m","memory":"128Mi"},"requests":{"cpu":"500m","memory":"128Mi"}}}],"generation":1}`)
	c.waitEvent(`ResizeCompleted Pod resize completed: {"containers":[{"name":"app","resources":{"limits":{"cpu":"100m","memory":"96Mi"},"requests":{"cpu":"100m","memory":"96Mi"}}}],"generation":2}`)

	// Less than it uses: nothing changes, and it says why, also under a new agent.
	c.resize(amounts("100m", "16Mi"))
	trouble := func(p *corev1.Pod) string {
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodResizeInProgress && condition.Reason == "Error" &&
				strings.HasPrefix(condition.Message, "cannot decrease memory limits: [attempting to set pod memory limit (16777216) below current usage (") &&
				strings.Contains(condition.Message, `attempting to set container "app" memory limit (16777216) below current usage (`) {
				return ""
			}
		}
		return fmt.Sprintf("no trouble: %+v", p.Status)
	}
	c.wait("web", trouble)
	c.waitEvent("ResizeError Pod resize error: ")
	expect("100m", "96Mi", 100, 96<<20)
	c.stop()
	c.node.Restart(t)
	c.start()
	c.resize(amounts("300m", "96Mi"))
	c.wait("web", has("300m", "96Mi", 0))
	expect("300m", "96Mi", 300, 96<<20)

	// What another pod takes is not there, until that is gone.
	node, err := c.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	most := node.Status.Allocatable.Cpu().MilliValue()
	other := tool("serve", ":8080")
	other.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(most-500, resource.DecimalSI)}
	c.run("other", one(other))
	c.wait("other", ready)
	c.resize(amounts("700m", "96Mi"))
	pending := func(reason, message string) func(*corev1.Pod) string {
		return func(p *corev1.Pod) string {
			for _, condition := range p.Status.Conditions {
				if condition.Type == corev1.PodResizePending && condition.Reason == reason && condition.Message == message && condition.ObservedGeneration == p.Generation {
					return ""
				}
			}
			return fmt.Sprintf("not %s, %s: %+v", reason, message, p.Status.Conditions)
		}
	}
	c.wait("web", pending("Deferred", fmt.Sprintf("Node didn't have enough resource: cpu, requested: 700, used: %d, capacity: %d", most-500, most)))
	c.waitEvent("ResizeDeferred Pod resize Deferred: ")
	expect("300m", "96Mi", 300, 96<<20)
	// Nor would a new agent give it.
	c.stop()
	c.node.Restart(t)
	c.start()
	c.resize(amounts("1000", "96Mi"))
	c.wait("web", pending("Infeasible", fmt.Sprintf("Node didn't have enough capacity: cpu, requested: 1000000, capacity: %d", most)))
	c.waitEvent("ResizeInfeasible Pod resize Infeasible: ")
	c.resize(amounts("700m", "96Mi"))
	c.wait("web", pending("Deferred", fmt.Sprintf("Node didn't have enough resource: cpu, requested: 700, used: %d, capacity: %d", most-500, most)))
	c.delete("other", 0)
	c.wait("other", gone)
	c.wait("web", has("700m", "96Mi", 0))
	expect("700m", "96Mi", 700, 96<<20)
}

// A container that says so is restarted, whatever its exit code, and files of the
// downward API say what it has.
func TestResizeByRestart(t *testing.T) {
	c := newCluster(t)
	app := tool("sleep")
	app.Resources = amounts("100m", "32Mi")
	app.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	app.VolumeMounts = []corev1.VolumeMount{{Name: "self", MountPath: "/self"}}
	ref := &corev1.ResourceFieldSelector{ContainerName: "app", Resource: "limits.cpu", Divisor: resource.MustParse("1m")}
	spec := one(app)
	spec.RestartPolicy = corev1.RestartPolicyOnFailure
	spec.Volumes = []corev1.Volume{{Name: "self", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
		Items: []corev1.DownwardAPIVolumeFile{{Path: "cpu", ResourceFieldRef: ref}},
	}}}}
	web := c.run("web", spec)
	c.wait("web", has("100m", "32Mi", 0))
	file := filepath.Join(c.config.DataDir, "pods", string(web.UID), "volumes", "self", "cpu")
	says := func(want string) {
		t.Helper()
		nodetest.Eventually(t, 30*time.Second, func() string {
			if data, err := os.ReadFile(file); err != nil || string(data) != want {
				return fmt.Sprintf("the file says %q, %v; want %s", data, err, want)
			}
			return ""
		})
	}
	says("100")
	c.resize(amounts("200m", "32Mi"))
	c.wait("web", has("200m", "32Mi", 0))
	says("200")
	c.resize(amounts("200m", "64Mi"))
	c.wait("web", has("200m", "64Mi", 1))
	c.waitEvent("Killing Container app resize requires restart")
	c.waitEvent("ResizeCompleted Pod resize completed: ")
}

// What the agent itself stops is started again though it exits 0 and only failures are
// restarted: for another image, also if that is taken back while the container is
// stopped, and for a resize that is.
func TestStoppedIsStartedAgain(t *testing.T) {
	c := newCluster(t)
	const other = "headway.dev/test/tool:2"
	if _, err := c.node.Import(t.Context(), bytes.NewReader(nodetest.OCIArchive(t, other, nodetest.Image(t, nodetest.ImageOptions{})))); err != nil {
		t.Fatal(err)
	}
	// The preStop hook lasts as long as the test wants.
	asked, goOn := make(chan struct{}), make(chan struct{})
	over := t.Context().Done()
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		select {
		case asked <- struct{}{}:
		case <-over:
		}
		select {
		case <-goOn:
		case <-over:
		}
	}))
	t.Cleanup(hook.Close)
	host, port, err := net.SplitHostPort(hook.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	app := tool("sleep")
	app.Resources = amounts("100m", "32Mi")
	app.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	app.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Host: host, Port: intstr.Parse(port)}}}
	spec := one(app)
	spec.RestartPolicy, spec.TerminationGracePeriodSeconds = corev1.RestartPolicyOnFailure, new(int64(60))
	c.run("web", spec)
	c.wait("web", has("100m", "32Mi", 0))
	image := func(name string) {
		t.Helper()
		patch := fmt.Sprintf(`{"spec":{"containers":[{"name":"app","image":%q}]},"metadata":{"generation":%d}}`, name, c.generation("web")+1)
		if _, err := c.client.CoreV1().Pods("default").Patch(context.Background(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stopping := func() {
		t.Helper()
		select {
		case <-asked:
		case <-time.After(time.Minute):
			t.Fatalf("the container is not stopped; events: %q", c.events())
		}
	}
	// The agent is stopping the container when it is told of the second change.
	back := func(change, undo func()) {
		t.Helper()
		change()
		stopping()
		undo()
		c.wait("web", func(p *corev1.Pod) string {
			if p.Status.ObservedGeneration != p.Generation {
				return "not seen"
			}
			return ""
		})
		goOn <- struct{}{}
	}
	image(other)
	stopping()
	goOn <- struct{}{}
	p := c.wait("web", has("100m", "32Mi", 1))
	if s := p.Status.ContainerStatuses[0]; s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 0 || !strings.HasSuffix(s.Image, "tool:2") {
		t.Errorf("after another image: %+v", s)
	}
	back(func() { image(nodetest.ToolImage) }, func() { image(other) })
	c.wait("web", has("100m", "32Mi", 2))
	back(func() { c.resize(amounts("100m", "64Mi")) }, func() { c.resize(amounts("100m", "32Mi")) })
	c.wait("web", has("100m", "32Mi", 3))
}

// The kernel bounds a pod by amounts of its own, and its containers by the same where
// they have none.
func TestAmountsOfPods(t *testing.T) {
	c := newCluster(t)
	spec := one(tool("sleep"))
	spec.Resources = new(amounts("300m", "96Mi"))
	web := c.run("web", spec)
	c.wait("web", ready)
	o, err := c.node.Get(t.Context(), string(web.UID))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("30000 307 %d", 96<<20)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		want = fmt.Sprintf("30000 %d %d", 1+(307-2)*9999/262142, 96<<20)
	}
	for _, group := range []string{o.Sandbox.CgroupPath, filepath.Join(o.Sandbox.CgroupPath, o.Containers[0].ID)} {
		if got := limits(t, c.node, group); got != want {
			t.Errorf("%s has %s, want %s", group, got, want)
		}
	}
}
