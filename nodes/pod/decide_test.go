package pod_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// newPod is a pod with one container app, changed by the options.
func newPod(options ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1", Generation: 2},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways,
			Containers:    []corev1.Container{{Name: "app", Image: "img:1"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, StartTime: new(metav1.NewTime(ago(time.Hour)))},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

func policy(r corev1.RestartPolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.RestartPolicy = r }
}

func inits(names ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, n := range names {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: n, Image: "img:1"})
		}
	}
}

func sidecar(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: "img:1", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)})
	}
}

func deleted(p *corev1.Pod) {
	p.DeletionTimestamp = new(metav1.NewTime(now))
	p.DeletionGracePeriodSeconds = ptr.To[int64](20)
}

func sandbox() *runtime.Sandbox {
	return &runtime.Sandbox{Ready: true, IPs: []string{"10.1.0.5"}, CreatedAt: ago(30 * time.Minute)}
}

func observed(cs ...runtime.Container) runtime.Pod {
	return runtime.Pod{Sandbox: sandbox(), Containers: cs}
}

func made(name string, attempt int) runtime.Container {
	return runtime.Container{
		ID: fmt.Sprintf("%s-%d", name, attempt), Name: name, Attempt: attempt, State: runtime.Created, CreatedAt: ago(20 * time.Minute),
		Labels: map[string]string{pod.LabelImage: "img:1", pod.LabelBackOff: "0s"},
	}
}

func alive(name string, attempt int) runtime.Container {
	c := made(name, attempt)
	c.State, c.StartedAt = runtime.Running, ago(20*time.Minute)
	return c
}

// dead is a container that ended a while ago after a second of life.
func dead(name string, attempt int, code int32, backOff, since time.Duration) runtime.Container {
	c := made(name, attempt)
	c.CreatedAt, c.StartedAt, c.FinishedAt = ago(since+time.Second), ago(since+time.Second), ago(since)
	c.State, c.ExitCode = runtime.Exited, code
	c.Labels[pod.LabelBackOff] = backOff.String()
	return c
}

// steps names a plan's steps in short.
func steps(plan pod.Plan) []string {
	out := []string{}
	for _, s := range plan.Steps {
		switch s := s.(type) {
		case pod.Prepare:
			out = append(out, "prepare")
		case pod.Resize:
			text := fmt.Sprintf("resize pod to %d/%d", s.Pod.CPUQuota, s.Pod.MemoryBytes)
			for _, c := range s.Containers {
				text += fmt.Sprintf(", %s to %d/%d", c.ID, c.Resources.CPUQuota, c.Resources.MemoryBytes)
			}
			out = append(out, text)
		case pod.Start:
			text := fmt.Sprintf("start %s #%d wait %s", s.Container.Name, s.Attempt, s.BackOff)
			if s.ID != "" {
				text += " as " + s.ID
			}
			out = append(out, text)
		case pod.Stop:
			for _, c := range s.Containers {
				out = append(out, fmt.Sprintf("stop %s in %s: %s", c.ID, c.Grace, c.Message))
			}
		case pod.Remove:
			out = append(out, "remove "+s.ID)
		case pod.Teardown:
			out = append(out, "teardown")
		case pod.Finish:
			out = append(out, "finish")
		}
	}
	return out
}

// state is a container's state in short.
func state(c corev1.ContainerStatus) string {
	switch s := c.State; {
	case s.Running != nil:
		return fmt.Sprintf("running started=%t ready=%t restarts=%d", *c.Started, c.Ready, c.RestartCount)
	case s.Terminated != nil:
		return fmt.Sprintf("terminated %s %d restarts=%d", s.Terminated.Reason, s.Terminated.ExitCode, c.RestartCount)
	default:
		text := fmt.Sprintf("waiting %s restarts=%d", s.Waiting.Reason, c.RestartCount)
		if l := c.LastTerminationState.Terminated; l != nil {
			text += fmt.Sprintf(" last=%s", l.Reason)
		}
		return text
	}
}

func TestDecide(t *testing.T) {
	failed := func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }
	oom := dead("app", 0, 137, 0, time.Second)
	oom.OOMKilled = true
	changed := alive("app", 0)
	changed.Labels[pod.LabelImage] = "img:0"
	startError := dead("app", 1, 128, 10*time.Second, time.Second)
	startError.Reason, startError.Message = "StartError", "no such file"
	early := made("setup", 0)
	early.State, early.CreatedAt = runtime.Exited, ago(time.Hour)
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		in     pod.Input // Pod and Now are filled in
		steps  []string
		phase  corev1.PodPhase
		states []string // init containers first
		wake   time.Duration
	}{
		{name: "a new pod", pod: newPod(), steps: []string{"prepare", "start app #0 wait 0s"}, phase: "Pending", states: []string{"waiting ContainerCreating restarts=0"}},
		{
			name: "a new pod with init containers", pod: newPod(inits("a", "b")), steps: []string{"prepare", "start a #0 wait 0s"}, phase: "Pending",
			states: []string{"waiting PodInitializing restarts=0", "waiting PodInitializing restarts=0", "waiting PodInitializing restarts=0"},
		},
		{
			name: "the first init container runs", pod: newPod(inits("a", "b")), in: pod.Input{Observed: observed(alive("a", 0))}, phase: "Pending",
			states: []string{"running started=true ready=false restarts=0", "waiting PodInitializing restarts=0", "waiting PodInitializing restarts=0"},
		},
		{
			name: "the first init container is done", pod: newPod(inits("a", "b")), in: pod.Input{Observed: observed(dead("a", 0, 0, 0, time.Second))},
			steps: []string{"start b #0 wait 0s"}, phase: "Pending",
			states: []string{"terminated Completed 0 restarts=0", "waiting PodInitializing restarts=0", "waiting PodInitializing restarts=0"},
		},
		{
			name: "an init container failed", pod: newPod(inits("a")), in: pod.Input{Observed: observed(dead("a", 1, 1, 10*time.Second, 4*time.Second))},
			phase: "Pending", states: []string{"waiting CrashLoopBackOff restarts=1 last=Error", "waiting PodInitializing restarts=0"}, wake: 6 * time.Second,
		},
		{
			name: "an init container failed for good", pod: newPod(inits("a"), policy("Never")), in: pod.Input{Observed: observed(dead("a", 0, 1, 0, time.Second))},
			phase: "Failed", states: []string{"terminated Error 1 restarts=0", "waiting PodInitializing restarts=0"},
		},
		{
			name: "a sidecar lets the rest start once it has started", pod: newPod(sidecar("s")), in: pod.Input{Observed: observed(alive("s", 0))},
			steps: []string{"start app #0 wait 0s"}, phase: "Pending", states: []string{"running started=true ready=true restarts=0", "waiting ContainerCreating restarts=0"},
		},
		{
			name: "a sidecar that died is started beside the running rest", pod: newPod(sidecar("s")), in: pod.Input{Observed: observed(dead("s", 0, 0, 0, time.Second), alive("app", 0))},
			steps: []string{"start s #1 wait 10s"}, phase: "Running", states: []string{"terminated Completed 0 restarts=0", "running started=true ready=true restarts=0"},
		},
		{name: "everything runs", pod: newPod(), in: pod.Input{Observed: observed(alive("app", 0))}, phase: "Running", states: []string{"running started=true ready=true restarts=0"}},
		{
			name: "a crash between create and start", pod: newPod(), in: pod.Input{Observed: observed(made("app", 0))},
			steps: []string{"start app #0 wait 0s as app-0"}, phase: "Pending", states: []string{"waiting ContainerCreating restarts=0"},
		},
		{
			name: "the first end: again at once", pod: newPod(), in: pod.Input{Observed: observed(dead("app", 0, 1, 0, time.Second))},
			steps: []string{"start app #1 wait 10s"}, phase: "Running", states: []string{"terminated Error 1 restarts=0"},
		},
		{
			name: "the second end: ten seconds", pod: newPod(), in: pod.Input{Observed: observed(dead("app", 0, 1, 0, time.Minute), dead("app", 1, 1, 10*time.Second, 3*time.Second))},
			phase: "Running", states: []string{"waiting CrashLoopBackOff restarts=1 last=Error"}, wake: 7 * time.Second,
		},
		{
			name: "the wait is over", pod: newPod(), in: pod.Input{Observed: observed(dead("app", 1, 1, 10*time.Second, 10*time.Second))},
			steps: []string{"start app #2 wait 20s"}, phase: "Running", states: []string{"terminated Error 1 restarts=1"},
		},
		{
			name: "five minutes at most", pod: newPod(), in: pod.Input{Observed: observed(dead("app", 9, 1, 5*time.Minute, 5*time.Minute))},
			steps: []string{"start app #10 wait 5m0s"}, phase: "Running", states: []string{"terminated Error 1 restarts=9"},
		},
		{name: "killed by the kernel", pod: newPod(policy("Never")), in: pod.Input{Observed: observed(oom)}, phase: "Failed", states: []string{"terminated OOMKilled 137 restarts=0"}},
		{
			name: "could not be started", pod: newPod(), in: pod.Input{Observed: observed(startError)}, phase: "Running",
			states: []string{"waiting RunContainerError restarts=1 last=StartError"}, wake: 2 * time.Second,
		},
		{name: "a job is done", pod: newPod(policy("OnFailure")), in: pod.Input{Observed: observed(dead("app", 2, 0, time.Minute, time.Second))}, phase: "Succeeded", states: []string{"terminated Completed 0 restarts=2"}},
		{
			name: "a job failed", pod: newPod(policy("OnFailure")), in: pod.Input{Observed: observed(dead("app", 0, 2, 0, time.Second))},
			steps: []string{"start app #1 wait 10s"}, phase: "Running", states: []string{"terminated Error 2 restarts=0"},
		},
		{
			name: "a job is done, its sidecar has to stop", pod: newPod(policy("Never"), sidecar("s")), in: pod.Input{Observed: observed(alive("s", 0), dead("app", 0, 0, 0, time.Second))},
			steps: []string{"stop s-0 in 30s: Stopping container s"}, phase: "Running", states: []string{"running started=true ready=true restarts=0", "terminated Completed 0 restarts=0"},
		},
		{
			name: "liveness", pod: newPod(), in: pod.Input{Observed: observed(alive("app", 0)), Probes: map[string]pod.ProbeResult{"app-0": {Failed: "liveness"}}},
			steps: []string{"stop app-0 in 30s: Container app failed liveness probe, will be restarted"}, phase: "Running", states: []string{"running started=true ready=true restarts=0"},
		},
		{
			name: "another image", pod: newPod(), in: pod.Input{Observed: observed(changed)},
			steps: []string{"stop app-0 in 30s: Container app definition changed, will be restarted"}, phase: "Running", states: []string{"running started=true ready=true restarts=0"},
		},
		{
			name: "old attempts go, the last one stays", pod: newPod(), in: pod.Input{Observed: observed(dead("app", 0, 1, 0, time.Hour), dead("app", 1, 1, 0, time.Hour), alive("app", 2))},
			steps: []string{"remove app-0"}, phase: "Running", states: []string{"running started=true ready=true restarts=2"},
		},
		{
			name: "a failed pull", pod: newPod(), in: pod.Input{Observed: observed(), Failures: map[string]pod.Failure{"app": {Reason: "ErrImagePull", Image: "img:1", At: ago(time.Second), RetryAt: now.Add(9 * time.Second)}}},
			phase: "Pending", states: []string{"waiting ErrImagePull restarts=0"}, wake: 2 * time.Second,
		},
		{
			name: "a failed pull waits", pod: newPod(), in: pod.Input{Observed: observed(), Failures: map[string]pod.Failure{"app": {Reason: "ErrImagePull", Image: "img:1", At: ago(4 * time.Second), RetryAt: now.Add(6 * time.Second)}}},
			phase: "Pending", states: []string{"waiting ImagePullBackOff restarts=0"}, wake: 6 * time.Second,
		},
		{
			name: "volumes that fail hold everything", pod: newPod(), in: pod.Input{Failures: map[string]pod.Failure{"": {Reason: "FailedMount", RetryAt: now.Add(time.Second)}}},
			phase: "Pending", states: []string{"waiting ContainerCreating restarts=0"}, wake: time.Second,
		},
		{
			name: "deleted", pod: newPod(deleted, sidecar("s")), in: pod.Input{Observed: observed(alive("s", 0), alive("app", 0)), StoppingSince: ago(5 * time.Second)},
			steps: []string{"stop app-0 in 15s: Stopping container app"}, phase: "Running", states: []string{"running started=true ready=true restarts=0", "running started=true ready=true restarts=0"},
		},
		{
			name: "deleted, with a grace period longer than time can tell", pod: newPod(deleted, func(p *corev1.Pod) { p.DeletionGracePeriodSeconds = ptr.To[int64](math.MaxInt64) }),
			in:    pod.Input{Observed: observed(alive("app", 0))},
			steps: []string{"stop app-0 in 2562047h47m16s: Stopping container app"}, phase: "Running", states: []string{"running started=true ready=true restarts=0"},
		},
		{
			name: "deleted, sidecars last", pod: newPod(deleted, sidecar("s"), sidecar("t")), in: pod.Input{Observed: observed(alive("s", 0), alive("t", 0), dead("app", 0, 0, 0, 0))},
			steps: []string{"stop t-0 in 20s: Stopping container t"}, phase: "Running",
		},
		{
			name: "deleted, all dead", pod: newPod(deleted), in: pod.Input{Observed: observed(dead("app", 0, 143, 0, 0))},
			steps: []string{"teardown", "finish"}, phase: "Failed", states: []string{"terminated Error 143 restarts=0"},
		},
		{name: "deleted before it started", pod: newPod(deleted), steps: []string{"teardown", "finish"}, phase: "Failed", states: []string{"waiting ContainerCreating restarts=0"}},
		{
			name: "gone from the API", pod: newPod(), in: pod.Input{Removed: true, Observed: observed(alive("app", 0))},
			steps: []string{"stop app-0 in 30s: Stopping container app"}, phase: "Running",
		},
		{name: "gone from the API, all dead", pod: newPod(), in: pod.Input{Removed: true, Observed: observed(dead("app", 0, 0, 0, 0))}, steps: []string{"teardown"}, phase: "Succeeded"},
		{name: "over, and the API knows", pod: newPod(failed, policy("Never")), in: pod.Input{Observed: observed(dead("app", 0, 1, 0, 0))}, steps: []string{"teardown"}, phase: "Failed"},
		{name: "over and torn down", pod: newPod(failed, policy("Never")), in: pod.Input{TornDown: true}, phase: "Failed"},
		{
			name: "past its deadline", pod: newPod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](60) }), in: pod.Input{Observed: observed(alive("app", 0))},
			steps: []string{"stop app-0 in 30s: Stopping container app"}, phase: "Running",
		},
		{
			name: "stopped at its deadline", pod: newPod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](60) }), in: pod.Input{Observed: observed(dead("app", 0, 0, 0, 0))},
			phase: "Failed", states: []string{"terminated Completed 0 restarts=0"},
		},
		{
			name: "after a reboot: sandbox and init containers again", pod: newPod(inits("setup")),
			in:    pod.Input{Observed: runtime.Pod{Sandbox: &runtime.Sandbox{CreatedAt: ago(2 * time.Hour)}, Containers: []runtime.Container{early, dead("app", 0, 137, 0, time.Minute)}}},
			steps: []string{"prepare", "start setup #1 wait 0s"}, phase: "Pending",
		},
		{
			name: "after a reboot with a new sandbox", pod: newPod(inits("setup")), in: pod.Input{Observed: runtime.Pod{Sandbox: &runtime.Sandbox{Ready: true, CreatedAt: now}, Containers: []runtime.Container{early, dead("app", 0, 137, 0, time.Minute)}}},
			steps: []string{"start setup #1 wait 0s"}, phase: "Pending",
		},
		{
			name: "after a reboot: a finished job stays finished", pod: newPod(policy("Never")), in: pod.Input{Observed: runtime.Pod{Containers: []runtime.Container{dead("app", 0, 0, 0, time.Minute)}}},
			phase: "Succeeded", states: []string{"terminated Completed 0 restarts=0"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.Pod, in.Now = c.pod, now
			plan := pod.Decide(in)
			if c.steps == nil {
				c.steps = []string{}
			}
			if diff := cmp.Diff(c.steps, steps(plan)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if got := plan.Status.Phase; got != c.phase {
				t.Errorf("phase: got %s, want %s", got, c.phase)
			}
			var states []string
			for _, s := range append(plan.Status.InitContainerStatuses, plan.Status.ContainerStatuses...) {
				states = append(states, state(s))
			}
			if diff := cmp.Diff(c.states, states); c.states != nil && diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			var wake time.Duration
			if !plan.Wake.IsZero() {
				wake = plan.Wake.Sub(now)
			}
			if wake != c.wake {
				t.Errorf("wake: got in %s, want in %s", wake, c.wake)
			}
		})
	}
}

// TestLostContainers: what the API knows and the machine does not is told as
// lost, and restarts count on.
func TestLostContainers(t *testing.T) {
	running := func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ContainerID: "containerd://x", RestartCount: 4, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	}
	plan := pod.Decide(pod.Input{Pod: newPod(running), Now: now})
	if diff := cmp.Diff([]string{"prepare", "start app #5 wait 10s"}, steps(plan)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if got, want := state(plan.Status.ContainerStatuses[0]), "waiting ContainerCreating restarts=4 last=ContainerStatusUnknown"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	plan = pod.Decide(pod.Input{Pod: newPod(running, policy("Never")), Now: now})
	if got, want := plan.Status.Phase, corev1.PodFailed; got != want || len(plan.Steps) != 0 {
		t.Errorf("never restarted: got phase %s and %v, want %s and nothing to do", got, plan.Steps, want)
	}
}

// TestFinishedResultStands: after the teardown of a finished pod nothing is
// left to look at, and its result must not change.
func TestFinishedResultStands(t *testing.T) {
	p := newPod(policy("Never"))
	before := pod.Decide(pod.Input{Pod: p, Observed: observed(dead("app", 0, 3, 0, time.Minute)), Now: now})
	p.Status = before.Status
	after := pod.Decide(pod.Input{Pod: p, TornDown: true, Now: now.Add(time.Hour)})
	if diff := cmp.Diff(before.Status.ContainerStatuses, after.Status.ContainerStatuses); diff != "" || after.Status.Phase != corev1.PodFailed {
		t.Errorf("phase %s, container statuses (-before +after):\n%s", after.Status.Phase, diff)
	}
	if len(after.Steps) != 0 {
		t.Errorf("got steps %v, want none", after.Steps)
	}
}

// again is a container of which the node noted that it is started again.
func again(c runtime.Container, when string) runtime.Container {
	c.Labels[pod.LabelAgain] = when
	return c
}

// What the node itself stops is started again whatever its exit code and the restart
// policy; what ends by itself is not.
func TestStoppedToStartAgain(t *testing.T) {
	other := func(c runtime.Container) runtime.Container {
		c.Labels[pod.LabelImage] = "img:0"
		return c
	}
	two := func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "two", Image: "img:1"})
	}
	unwell := map[string]pod.ProbeResult{"app-0": {Failed: "liveness"}}
	for name, c := range map[string]struct {
		pod    *corev1.Pod
		probes map[string]pod.ProbeResult
		has    []runtime.Container
		steps  []string
		again  string
		phase  corev1.PodPhase
	}{
		"another image":                   {newPod(policy("Never")), nil, []runtime.Container{other(alive("app", 0))}, []string{"stop app-0 in 30s: Container app definition changed, will be restarted"}, "at-once", "Running"},
		"a probe failed":                  {newPod(policy("OnFailure")), unwell, []runtime.Container{alive("app", 0)}, []string{"stop app-0 in 30s: Container app failed liveness probe, will be restarted"}, "back-off", "Running"},
		"nothing is restarted":            {newPod(policy("Never")), unwell, []runtime.Container{alive("app", 0)}, []string{"stop app-0 in 30s: Container app failed liveness probe, will be restarted"}, "", "Running"},
		"going on after the agent's end":  {newPod(policy("OnFailure")), nil, []runtime.Container{again(alive("app", 0), "at-once")}, []string{"stop app-0 in 30s: Stopping container app"}, "at-once", "Running"},
		"stopped for another image":       {newPod(policy("Never")), nil, []runtime.Container{again(other(dead("app", 0, 0, time.Minute, time.Second)), "at-once")}, []string{"start app #1 wait 0s"}, "", "Running"},
		"and the image is what it was":    {newPod(policy("OnFailure")), nil, []runtime.Container{again(dead("app", 0, 0, time.Minute, time.Second), "at-once")}, []string{"start app #1 wait 1m0s"}, "", "Running"},
		"stopped for a probe":             {newPod(policy("OnFailure")), nil, []runtime.Container{again(dead("app", 0, 0, 0, time.Second), "back-off")}, []string{"start app #1 wait 10s"}, "", "Running"},
		"ended before the image changed":  {newPod(policy("OnFailure"), two), nil, []runtime.Container{other(dead("app", 0, 0, 0, time.Second)), alive("two", 0)}, []string{}, "", "Running"},
		"crashed before it changed":       {newPod(), nil, []runtime.Container{other(dead("app", 4, 1, 5*time.Minute, time.Second))}, []string{"start app #5 wait 0s"}, "", "Running"},
		"an init container is not done":   {newPod(inits("a")), nil, []runtime.Container{again(dead("a", 0, 0, 0, time.Second), "at-once")}, []string{"start a #1 wait 0s"}, "", "Pending"},
		"not in a pod that is to end too": {newPod(deleted), nil, []runtime.Container{again(dead("app", 0, 0, 0, time.Second), "at-once")}, []string{"teardown", "finish"}, "", "Succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := pod.Decide(pod.Input{Pod: c.pod, Probes: c.probes, Observed: observed(c.has...), Now: now})
			if diff := cmp.Diff(c.steps, steps(plan)); diff != "" || plan.Status.Phase != c.phase {
				t.Errorf("phase %s, want %s; steps (-want +got):\n%s", plan.Status.Phase, c.phase, diff)
			}
			for _, s := range plan.Steps {
				if stop, ok := s.(pod.Stop); ok && stop.Containers[0].Again != c.again {
					t.Errorf("started again: %q, want %q", stop.Containers[0].Again, c.again)
				}
			}
		})
	}
}
