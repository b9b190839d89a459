package nodes_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"headway.dev/nodes"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime/handler"
)

// shim is the program that a pod's container runs below, and its process.
func (c *cluster) shim(p *corev1.Pod) string {
	c.t.Helper()
	observed, err := c.node.Get(c.t.Context(), string(p.UID))
	if err != nil || observed.Sandbox == nil || len(observed.Containers) != 1 {
		c.t.Fatalf("pod %s is %+v, %v", p.Name, observed, err)
	}
	below := filepath.Join(c.node.Config.CgroupRoot, observed.Sandbox.CgroupPath, observed.Containers[0].ID, "cgroup.procs")
	var first string
	for _, file := range []string{filepath.Join("/sys/fs/cgroup", below), filepath.Join("/sys/fs/cgroup/memory", below)} {
		if pids, err := os.ReadFile(file); err == nil {
			first, _, _ = strings.Cut(string(pids), "\n")
		}
	}
	status, err := os.ReadFile("/proc/" + first + "/status")
	if err != nil {
		c.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nPPid:")
	parent, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	line, err := os.ReadFile("/proc/" + parent + "/cmdline")
	if err != nil {
		c.t.Fatal(err)
	}
	program, _, _ := strings.Cut(string(line), "\x00")
	return filepath.Base(program) + " " + parent
}

// The containers of a pod are run by the handler of its class, also under the next
// agent; the cgroup of the pod has its overhead. A handler that the node does not have,
// or a class that is gone, keeps a pod from being started, and an event says so.
func TestRuntimeClass(t *testing.T) {
	node := nodetest.Start(t)
	node.Config.Handlers = handler.Set{"old": "io.containerd.runc.v1"}
	node.Restart(t)
	c := newClusterOn(t, node, func(cfg *nodes.Config) { cfg.RuntimeHandlers = node.Config.Handlers.Names() }, func(client *fake.Clientset) {
		for class, name := range map[string]string{"other": "old", "usual": "runc", "boxed": "kata"} {
			_, err := client.NodeV1().RuntimeClasses().Create(context.Background(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Handler: name}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	of := func(class string) *corev1.Pod {
		app := tool("sleep")
		app.Resources = amounts("200m", "64Mi")
		spec := one(app)
		if class != "" {
			spec.RuntimeClassName = &class
		}
		spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("16Mi")}
		return c.run("of-"+class, spec)
	}
	runs := map[string]string{"": "containerd-shim-runc-v2", "usual": "containerd-shim-runc-v2", "other": "containerd-shim-runc-v1"}
	pods, shims := map[string]*corev1.Pod{}, map[string]string{}
	for class := range runs {
		pods[class] = of(class)
	}
	for class, want := range runs {
		c.wait("of-"+class, ready)
		if shims[class] = c.shim(pods[class]); !strings.HasPrefix(shims[class], want+" ") {
			t.Errorf("a pod of class %q runs below %s, want %s", class, shims[class], want)
		}
	}
	observed, err := node.Get(t.Context(), string(pods["other"].UID))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("30000 307 %d", 80<<20)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		want = fmt.Sprintf("30000 %d %d", 1+(307-2)*9999/262142, 80<<20)
	}
	if got := limits(t, node, observed.Sandbox.CgroupPath); got != want {
		t.Errorf("the cgroup of the pod has %s, want %s", got, want)
	}

	of("boxed")
	of("gone")
	c.waitEvent(`FailedCreatePodSandBox Failed to create pod sandbox: failed to get sandbox runtime: no runtime for "kata" is configured`)
	c.waitEvent(`FailedCreatePodSandBox Failed to create pod sandbox: runtimeclass.node.k8s.io "gone" not found`)
	c.wait("of-boxed", func(p *corev1.Pod) string {
		if p == nil || p.Status.Phase != corev1.PodPending || len(p.Status.ContainerStatuses) != 1 ||
			p.Status.ContainerStatuses[0].State.Waiting == nil || p.Status.ContainerStatuses[0].State.Waiting.Reason != "ContainerCreating" {
			return fmt.Sprintf("not ContainerCreating: %+v", p)
		}
		return ""
	})

	self, err := c.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range self.Status.RuntimeHandlers {
		names = append(names, h.Name)
	}
	if d := cmp.Diff([]string{"", "old", "runc"}, names); d != "" {
		t.Errorf("handlers of the node (-want +got):\n%s", d)
	}

	c.stop()
	node.Restart(t)
	c.start()
	for class := range runs {
		if got := c.shim(pods[class]); got != shims[class] {
			t.Errorf("after a restart a pod of class %q runs below %s, want %s", class, got, shims[class])
		}
	}
	c.delete("of-other", 1)
	c.wait("of-other", gone)
}
