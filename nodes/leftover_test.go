package nodes_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// TestLeftoversAreRemoved: volumes and logs of pods that neither the API nor
// the runtime knows, as an end of the agent in the midst of a removal leaves
// them, go with the next start.
func TestLeftoversAreRemoved(t *testing.T) {
	c := newCluster(t)
	c.stop()
	volume := filepath.Join(c.config.DataDir, "pods", "gone-1", "volumes", "data", "file")
	log := c.node.LogPath(runtime.PodRef{Namespace: "default", Name: "gone", UID: "gone-1"}, "main", 0)
	for _, name := range []string{volume, log} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("left\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.start()
	for _, dir := range []string{filepath.Join(c.config.DataDir, "pods", "gone-1"), filepath.Dir(filepath.Dir(log))} {
		nodetest.Eventually(t, 30*time.Second, func() string {
			if _, err := os.Stat(dir); err == nil {
				return dir + " is still there"
			}
			return ""
		})
	}
}

// TestSandboxWithoutHostsFile: an agent that is killed when it has made a pod's
// sandbox, and nothing after it, leaves a pod that the next one starts.
func TestSandboxWithoutHostsFile(t *testing.T) {
	c := newCluster(t)
	c.stop()
	p := c.run("web", one(tool("read", "/etc/hosts")))
	sandbox, err := c.node.EnsureSandbox(t.Context(), pod.SandboxConfig(p, ""))
	if err != nil {
		t.Fatal(err)
	}
	c.start()
	nodetest.Eventually(t, 30*time.Second, func() string {
		if got := c.log(p, "app", 0); !strings.Contains(got, sandbox.IPs[0]+"\tweb\n") {
			return fmt.Sprintf("hosts file %q does not have the pod's address %s", got, sandbox.IPs[0])
		}
		return ""
	})
}

// TestNodeIsRegisteredAgain: a Node object that is deleted while the agent runs
// comes back with its pod range, its status and its lease.
func TestNodeIsRegisteredAgain(t *testing.T) {
	c := newCluster(t)
	c.stop()
	c.config.SetPodCIDRs = func([]string) error { return nil }
	nodeAPI := c.client.CoreV1().Nodes()
	ctx := context.Background()
	edit := func(change func(*corev1.Node)) {
		t.Helper()
		node, err := nodeAPI.Get(ctx, "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(node)
		if _, err := nodeAPI.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// The tracker gives no UIDs, and no controller the range.
	edit(func(n *corev1.Node) {
		n.UID, n.Spec.PodCIDR = types.UID("first"), "10.1.2.0/24"
		n.Status = corev1.NodeStatus{}
	})
	registered := func() string {
		node, err := nodeAPI.Get(ctx, "n1", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if node.Spec.PodCIDR != "10.1.2.0/24" {
			return "pod range is " + node.Spec.PodCIDR
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return ""
			}
		}
		return "the node is not ready"
	}
	c.start()
	nodetest.Eventually(t, 30*time.Second, registered)
	c.run("stays", one(tool("sleep")))
	before := c.wait("stays", ready)
	created := make(chan corev1.NodeStatus, 1)
	c.client.PrependReactor("create", "nodes", func(a clienttesting.Action) (bool, apiruntime.Object, error) {
		created <- a.(clienttesting.CreateAction).GetObject().(*corev1.Node).DeepCopy().Status
		return false, nil, nil
	})
	if err := nodeAPI.Delete(ctx, "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Nobody sees a node that does not tell what it has.
	if s := <-created; s.Allocatable.Pods().Value() != 110 || len(s.Conditions) == 0 {
		t.Errorf("the node begins with the status %+v", s)
	}
	nodetest.Eventually(t, 30*time.Second, registered)
	after := c.wait("stays", ready)
	if got, want := after.Status.ContainerStatuses[0].ContainerID, before.Status.ContainerStatuses[0].ContainerID; got != want {
		t.Errorf("container = %s after the node was registered again, want %s", got, want)
	}
}
