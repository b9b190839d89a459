package nodes_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"headway.dev/nodes"
	"headway.dev/nodes/known"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// cluster is an agent on a real runtime. Only the API is client-go's object
// tracker: the tests with the real one are the command's.
type cluster struct {
	t      *testing.T
	node   *nodetest.Node
	client *fake.Clientset
	config nodes.Config
	agent  *nodes.Agent
	stop   func()
	wrap   func(runtime.Interface) runtime.Interface // the runtime the agent gets; nil: the node's own
	serial int
}

// newCluster runs an agent. prepare gets the API's client before that does.
func newCluster(t *testing.T, prepare ...func(*fake.Clientset)) *cluster {
	t.Helper()
	return newClusterOn(t, nodetest.Start(t), nil, prepare...)
}

// newClusterOn runs an agent on a node. configure changes its configuration.
func newClusterOn(t *testing.T, node *nodetest.Node, configure func(*nodes.Config), prepare ...func(*fake.Clientset)) *cluster {
	t.Helper()
	c := &cluster{t: t, node: node, client: fake.NewClientset()}
	// The certificate of the streams' client is that of an API server.
	c.client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, apiruntime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		review.Status.Allowed = review.Spec.User == "test"
		return true, review, nil
	})
	for _, f := range prepare {
		f(c.client)
	}
	// Below the runtime's directory, whose mounts the cleanup checks.
	dir := filepath.Join(filepath.Dir(c.node.Config.Root), "agent")
	c.config = nodes.Config{
		NodeName: "n1", NodeIP: "192.0.2.1", Client: c.client, Runtime: c.node.Runtime, DataDir: dir,
		ImagesDir: filepath.Join(dir, "images"), Version: "v1.37.2", RuntimeVersion: "containerd://test", Log: nodetest.Logger(t),
	}
	if configure != nil {
		configure(&c.config)
	}
	c.start()
	t.Cleanup(func() {
		c.stop()
		for _, p := range c.pods() {
			_ = c.client.CoreV1().Pods(p.Namespace).Delete(context.Background(), p.Name, metav1.DeleteOptions{})
		}
		c.start()
		nodetest.Eventually(t, time.Minute, func() string {
			entries, _ := os.ReadDir(filepath.Join(dir, "pods"))
			if len(entries) > 0 {
				return fmt.Sprintf("volumes of %d pods are left", len(entries))
			}
			return ""
		})
		c.stop()
	})
	return c
}

func (c *cluster) start() {
	c.t.Helper()
	c.config.Runtime = c.node.Runtime
	if c.wrap != nil {
		c.config.Runtime = c.wrap(c.node.Runtime)
	}
	c.config.Cluster = known.Open(known.Config{Client: c.client, Log: c.config.Log})
	agent, err := nodes.New(c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.config.Cluster.Run(ctx) }) // it has no error
	wg.Go(func() {
		if err := agent.Run(ctx); err != nil {
			c.t.Errorf("agent: %v", err)
		}
	})
	c.agent = agent
	c.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
}

func (c *cluster) pods() []corev1.Pod {
	list, err := c.client.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return list.Items
}

// run creates a pod on the node. A container without image gets the tool.
func (c *cluster) run(name string, spec corev1.PodSpec) *corev1.Pod {
	c.t.Helper()
	c.serial++
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(fmt.Sprintf("%s-%d", name, c.serial))}, Spec: spec}
	p.Spec.NodeName = "n1"
	if p.Spec.TerminationGracePeriodSeconds == nil {
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](5)
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Image == "" {
				list[i].Image = nodetest.ToolImage
			}
		}
	}
	p, err := c.client.CoreV1().Pods("default").Create(context.Background(), p, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// wait waits until check says "" about the pod, which is nil once it is gone.
func (c *cluster) wait(name string, check func(*corev1.Pod) string) *corev1.Pod {
	c.t.Helper()
	var last *corev1.Pod
	nodetest.Eventually(c.t, time.Minute, func() string {
		p, err := c.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			p = nil
		}
		last = p
		if said := check(p); said != "" {
			return fmt.Sprintf("pod %s: %s; events: %s", name, said, strings.Join(c.events(), "; "))
		}
		return ""
	})
	return last
}

// first is a check of the status of a pod's first container, once there is one.
func first(check func(corev1.ContainerStatus) string) func(*corev1.Pod) string {
	return func(p *corev1.Pod) string {
		if p == nil || len(p.Status.ContainerStatuses) == 0 {
			return "no status"
		}
		return check(p.Status.ContainerStatuses[0])
	}
}

func gone(p *corev1.Pod) string {
	if p != nil {
		return "still in the API"
	}
	return ""
}

func ready(p *corev1.Pod) string { return hasCondition(p, corev1.PodReady, corev1.ConditionTrue) }

func hasCondition(p *corev1.Pod, t corev1.PodConditionType, want corev1.ConditionStatus) string {
	if p == nil {
		return "not in the API"
	}
	for _, c := range p.Status.Conditions {
		if c.Type == t && c.Status == want {
			return ""
		}
	}
	return fmt.Sprintf("condition %s is not %s: %+v", t, want, p.Status)
}

func phase(want corev1.PodPhase) func(*corev1.Pod) string {
	return func(p *corev1.Pod) string {
		if p == nil || p.Status.Phase != want {
			return fmt.Sprintf("not %s: %+v", want, p)
		}
		return ""
	}
}

// delete begins a graceful deletion, as the API server would.
func (c *cluster) delete(name string, grace int64) {
	c.t.Helper()
	p, err := c.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = new(metav1.NewTime(time.Now().Add(time.Duration(grace)*time.Second))), &grace
	if _, err := c.client.CoreV1().Pods("default").Update(context.Background(), p, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// events are the recorded events as "Reason message".
func (c *cluster) events() []string {
	list, err := c.client.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Reason+" "+e.Message)
	}
	return out
}

func (c *cluster) waitEvent(want string) {
	c.t.Helper()
	nodetest.Eventually(c.t, 30*time.Second, func() string {
		events := c.events()
		if slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, want) }) {
			return ""
		}
		return fmt.Sprintf("no event %q among %q", want, events)
	})
}

// log is what a container has printed, without the CRI columns.
func (c *cluster) log(p *corev1.Pod, container string, attempt int) string {
	c.t.Helper()
	o, err := c.node.Get(context.Background(), string(p.UID))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, have := range o.Containers {
		if have.Name == container && have.Attempt == attempt {
			data, err := os.ReadFile(have.LogPath)
			if err != nil {
				return ""
			}
			var out strings.Builder
			for line := range strings.Lines(string(data)) {
				parts := strings.SplitN(line, " ", 4)
				out.WriteString(parts[len(parts)-1])
			}
			return out.String()
		}
	}
	return ""
}

func tool(args ...string) corev1.Container { return corev1.Container{Name: "app", Args: args} }

func one(c corev1.Container) corev1.PodSpec { return corev1.PodSpec{Containers: []corev1.Container{c}} }

func TestNodeRegisters(t *testing.T) {
	c := newCluster(t)
	nodetest.Eventually(t, 20*time.Second, func() string {
		n, err := c.client.CoreV1().Nodes().Get(context.Background(), "n1", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue && cond.Reason == "KubeletReady" {
				if n.Labels[corev1.LabelHostname] != "n1" || n.Status.Allocatable.Cpu().IsZero() || n.Status.Allocatable.Pods().Value() != 110 {
					return fmt.Sprintf("incomplete: %+v", n)
				}
				return ""
			}
		}
		return fmt.Sprintf("not ready: %+v", n.Status.Conditions)
	})
	nodetest.Eventually(t, 20*time.Second, func() string {
		l, err := c.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(context.Background(), "n1", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != "n1" || *l.Spec.LeaseDurationSeconds != 40 {
			return fmt.Sprintf("lease: %+v", l.Spec)
		}
		return ""
	})
	c.waitEvent("Starting Starting kubelet.")
	c.waitEvent("NodeHasSufficientMemory Node n1 status is now: NodeHasSufficientMemory")
	c.waitEvent("NodeReady Node n1 status is now: NodeReady")
}

func TestPodLifecycle(t *testing.T) {
	c := newCluster(t)
	web := tool("serve", ":8080")
	web.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1}
	c.run("web", one(web))
	p := c.wait("web", ready)
	if p.Status.PodIP == "" || p.Status.HostIP != "192.0.2.1" || p.Status.Phase != corev1.PodRunning || p.Status.StartTime == nil {
		t.Errorf("incomplete status: %+v", p.Status)
	}
	if id := p.Status.ContainerStatuses[0].ContainerID; !strings.HasPrefix(id, "containerd://") {
		t.Errorf("container ID: got %q", id)
	}
	get(t, "http://"+p.Status.PodIP+":8080/unready")
	c.wait("web", func(p *corev1.Pod) string { return hasCondition(p, corev1.PodReady, corev1.ConditionFalse) })
	c.waitEvent("Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 503")
	get(t, "http://"+p.Status.PodIP+":8080/makeready")
	c.wait("web", ready)
	for _, e := range []string{"Pulled Container image", "Created Container created", "Started Container started"} {
		c.waitEvent(e)
	}
	get(t, "http://"+p.Status.PodIP+":8080/crash")
	c.wait("web", first(func(s corev1.ContainerStatus) string {
		if s.RestartCount != 1 || s.State.Running == nil || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 3 {
			return fmt.Sprintf("not restarted: %+v", s)
		}
		return ready(p)
	}))
	c.delete("web", 5)
	c.wait("web", gone)
	c.waitEvent("Killing Stopping container app")
	nodetest.Eventually(t, 20*time.Second, func() string {
		o, err := c.node.Get(context.Background(), string(p.UID))
		if err != nil || o.Sandbox != nil || len(o.Containers) > 0 {
			return fmt.Sprintf("the machine still holds %+v, %v", o, err)
		}
		return ""
	})
}

func TestInitContainersAndJobs(t *testing.T) {
	c := newCluster(t)
	shared := []corev1.VolumeMount{{Name: "work", MountPath: "/shared"}}
	spec := corev1.PodSpec{
		RestartPolicy:  corev1.RestartPolicyNever,
		Volumes:        []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		InitContainers: []corev1.Container{{Name: "first", Args: []string{"write", "/shared/a", "one "}, VolumeMounts: shared}, {Name: "second", Args: []string{"write", "/shared/b", "two"}, VolumeMounts: shared}},
		Containers:     []corev1.Container{{Name: "app", Args: []string{"read", "/shared/a", "/shared/b"}, VolumeMounts: shared, TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError}},
	}
	c.run("job", spec)
	c.wait("job", phase(corev1.PodSucceeded))
	bad := one(tool("read", "/nowhere"))
	bad.RestartPolicy = corev1.RestartPolicyNever
	bad.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	c.run("bad", bad)
	p := c.wait("bad", phase(corev1.PodFailed))
	if got := p.Status.ContainerStatuses[0].State.Terminated; got == nil || got.ExitCode != 1 || !strings.Contains(got.Message, "/nowhere: no such file or directory") {
		t.Errorf("terminated: got %+v", got)
	}
	last := one(tool("write", "/dev/termination-log", "last words"))
	last.RestartPolicy = corev1.RestartPolicyOnFailure
	c.run("last", last)
	p = c.wait("last", phase(corev1.PodSucceeded))
	if got := p.Status.ContainerStatuses[0].State.Terminated; got == nil || got.Message != "last words" || got.Reason != "Completed" {
		t.Errorf("terminated: got %+v", got)
	}
	// A finished pod holds nothing but its logs.
	nodetest.Eventually(t, 20*time.Second, func() string {
		if o, err := c.node.Get(context.Background(), string(p.UID)); err != nil || o.Sandbox != nil || len(o.Containers) > 0 {
			return fmt.Sprintf("the machine still holds %+v, %v", o, err)
		}
		return ""
	})
}

func TestRestartOfTheAgent(t *testing.T) {
	c := newCluster(t)
	c.run("web", one(tool("serve", ":8080")))
	c.run("loop", one(tool("exit", "7")))
	before := c.wait("web", ready)
	for _, condition := range before.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && condition.Reason+condition.Message != "" {
			t.Errorf("condition %+v still has the reason why it was false", condition)
		}
	}
	c.wait("loop", func(p *corev1.Pod) string {
		if len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil || p.Status.ContainerStatuses[0].State.Waiting.Reason != "CrashLoopBackOff" {
			return fmt.Sprintf("not in back-off: %+v", p.Status)
		}
		return ""
	})
	c.waitEvent("BackOff Back-off restarting failed container app in pod loop_default(")
	c.run("gone", one(tool("serve", ":8080")))
	gonePod := c.wait("gone", ready)
	never := one(tool("serve", ":8080"))
	never.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}}
	c.run("stale", never)
	stale := c.wait("stale", func(p *corev1.Pod) string {
		if p.Status.Phase != corev1.PodRunning {
			return string(p.Status.Phase)
		}
		return ""
	})
	c.stop()
	// What an agent that was killed may leave: a pod that was ready once.
	for i := range stale.Status.Conditions {
		stale.Status.Conditions[i].Status = corev1.ConditionTrue
	}
	if _, err := c.client.CoreV1().Pods("default").UpdateStatus(context.Background(), stale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.node.Restart(t)
	if err := c.client.CoreV1().Pods("default").Delete(context.Background(), "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.client.ClearActions()
	looked := make(chan string, 2)
	c.config.Looked = func() {
		now, err := c.client.CoreV1().Pods("default").Get(context.Background(), "stale", metav1.GetOptions{})
		if err != nil {
			looked <- err.Error()
			return
		}
		looked <- ready(now)
	}
	c.start()
	if notReady := <-looked; notReady == "" {
		t.Error("the agent says that it looked while the API has the status of the agent before")
	}
	c.config.Looked = nil
	nodetest.Eventually(t, 30*time.Second, func() string {
		if o, err := c.node.Get(context.Background(), string(gonePod.UID)); err != nil || o.Sandbox != nil {
			return fmt.Sprintf("the pod that left the API is still there: %+v, %v", o, err)
		}
		return ""
	})
	c.wait("loop", first(func(s corev1.ContainerStatus) string {
		if s.RestartCount < 2 {
			return fmt.Sprintf("restart count %d", s.RestartCount)
		}
		return ""
	}))
	after := c.wait("web", ready)
	if b, a := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]; a.ContainerID != b.ContainerID || a.RestartCount != 0 || !a.State.Running.StartedAt.Equal(&b.State.Running.StartedAt) {
		t.Errorf("the running container was not adopted: before %+v, after %+v", b, a)
	}
	for _, action := range c.client.Actions() {
		if action.Matches("patch", "pods/status") && action.(clienttesting.PatchAction).GetName() == "web" {
			t.Errorf("the status of an unchanged pod was written again: %s", action.(clienttesting.PatchAction).GetPatch())
		}
		if action.Matches("update", "pods/status") {
			if p := action.(clienttesting.UpdateAction).GetObject().(*corev1.Pod); p.Name == "web" {
				t.Errorf("the status of an unchanged pod was written again: %+v", p.Status)
			}
		}
	}
}
