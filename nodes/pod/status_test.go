package pod_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// conditions are a status' conditions in short.
func conditions(s corev1.PodStatus) map[string]string {
	out := map[string]string{}
	for _, c := range s.Conditions {
		text := string(c.Status)
		if c.Reason != "" {
			text += " " + c.Reason
		}
		if c.Message != "" {
			text += ": " + c.Message
		}
		out[string(c.Type)] = text
	}
	return out
}

func TestConditions(t *testing.T) {
	readiness := func(p *corev1.Pod) { p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{} }
	gate := func(p *corev1.Pod) { p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "shop/open"}} }
	for _, c := range []struct {
		name string
		in   pod.Input
		want map[string]string
	}{
		{"nothing yet", pod.Input{Pod: newPod(inits("a"))}, map[string]string{
			"PodReadyToStartContainers": "False", "PodScheduled": "True",
			"Initialized":     "False ContainersNotInitialized: containers with incomplete status: [a]",
			"Ready":           "False ContainersNotReady: containers with unready status: [app]",
			"ContainersReady": "False ContainersNotReady: containers with unready status: [app]",
		}},
		{"ready", pod.Input{Pod: newPod(), Observed: observed(alive("app", 0))}, map[string]string{
			"PodReadyToStartContainers": "True", "PodScheduled": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True",
		}},
		{"not ready", pod.Input{Pod: newPod(readiness), Observed: observed(alive("app", 0))}, map[string]string{
			"PodReadyToStartContainers": "True", "PodScheduled": "True", "Initialized": "True",
			"Ready":           "False ContainersNotReady: containers with unready status: [app]",
			"ContainersReady": "False ContainersNotReady: containers with unready status: [app]",
		}},
		{"a gate is closed", pod.Input{Pod: newPod(gate), Observed: observed(alive("app", 0))}, map[string]string{
			"PodReadyToStartContainers": "True", "PodScheduled": "True", "Initialized": "True", "ContainersReady": "True",
			"Ready": `False ReadinessGatesNotReady: corresponding condition of pod readiness gate "shop/open" does not exist.`,
		}},
		{"succeeded", pod.Input{Pod: newPod(policy("Never")), Observed: observed(dead("app", 0, 0, 0, time.Second))}, map[string]string{
			"PodReadyToStartContainers": "True", "PodScheduled": "True", "Initialized": "True PodCompleted",
			"Ready": "False PodCompleted", "ContainersReady": "False PodCompleted",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.in.Now = now
			if diff := cmp.Diff(c.want, conditions(pod.Decide(c.in).Status)); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFailedInit: a pod whose initialisation failed for good was never
// initialised, also when nothing is left of it but what the API remembers.
func TestFailedInit(t *testing.T) {
	p := newPod(inits("a"), policy("Never"))
	in := pod.Input{Pod: p, Observed: observed(dead("a", 0, 3, 0, time.Minute)), Now: now}
	for _, when := range []string{"with its containers", "torn down"} {
		s := pod.Decide(in).Status
		if s.Phase != corev1.PodFailed {
			t.Errorf("%s: phase %s, want Failed", when, s.Phase)
		}
		want := "False ContainersNotInitialized: containers with incomplete status: [a]"
		if got := conditions(s)["Initialized"]; got != want {
			t.Errorf("%s: Initialized is %q, want %q", when, got, want)
		}
		if got := s.InitContainerStatuses[0].State.Terminated; got == nil || got.Reason != "Error" || got.ExitCode != 3 {
			t.Errorf("%s: the init container is %+v, want it terminated with Error", when, s.InitContainerStatuses[0].State)
		}
		if got := s.ContainerStatuses[0].State.Waiting; got == nil || got.Reason != "PodInitializing" {
			t.Errorf("%s: the container is %+v, want PodInitializing", when, s.ContainerStatuses[0].State)
		}
		p.Status = s
		in = pod.Input{Pod: p, TornDown: true, Now: now.Add(time.Minute)}
	}
}

// TestDescription: a container's status says as what it was made, also when only
// the API remembers it.
func TestDescription(t *testing.T) {
	p := newPod(policy("Never"), func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Resources = corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
		}
		c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "conf", MountPath: "/conf", ReadOnly: true}}
	})
	c := dead("app", 0, 0, 0, time.Second)
	c.ImageID = "registry.example/img@sha256:1"
	c.User = &runtime.User{UID: 7, GID: 8, Groups: []int64{8, 9}}
	first := pod.Decide(pod.Input{Pod: p, Observed: observed(c), Now: now}).Status
	want := corev1.ContainerStatus{
		Name: "app", Image: "img:1", ImageID: "registry.example/img@sha256:1", ContainerID: "containerd://app-0",
		Resources: &p.Spec.Containers[0].Resources, AllocatedResources: p.Spec.Containers[0].Resources.Requests,
		VolumeMounts: []corev1.VolumeMountStatus{
			{Name: "data", MountPath: "/data"},
			{Name: "conf", MountPath: "/conf", ReadOnly: true, RecursiveReadOnly: new(corev1.RecursiveReadOnlyDisabled)},
		},
		User: &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: 7, GID: 8, SupplementalGroups: []int64{8, 9}}},
	}
	got := first.ContainerStatuses[0]
	want.State, want.Started = got.State, got.Started
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	p.Status = first
	p.Status.Phase = corev1.PodRunning // the agent lost everything before it reported the end
	if diff := cmp.Diff(got, pod.Decide(pod.Input{Pod: p, Now: now}).Status.ContainerStatuses[0]); diff != "" {
		t.Errorf("status from memory (-first +second):\n%s", diff)
	}
	waiting := pod.Decide(pod.Input{Pod: newPod(), Now: now}).Status.ContainerStatuses[0]
	if waiting.Resources != nil || waiting.User != nil || waiting.ImageID != "" {
		t.Errorf("a container that does not exist yet is described: %+v", waiting)
	}
}

// TestStatusIsStable: deciding again on what was decided changes nothing, so
// that no write follows a write.
func TestStatusIsStable(t *testing.T) {
	p := newPod(inits("a"))
	o := observed(dead("a", 0, 0, 0, time.Minute), dead("app", 0, 1, 0, time.Minute), alive("app", 1))
	first := pod.Decide(pod.Input{Pod: p, Observed: o, HostIPs: []string{"192.0.2.1"}, Now: now})
	p.Status = first.Status
	second := pod.Decide(pod.Input{Pod: p, Observed: o, HostIPs: []string{"192.0.2.1"}, Now: now.Add(time.Minute)})
	if diff := cmp.Diff(first.Status, second.Status); diff != "" {
		t.Errorf("status (-first +second):\n%s", diff)
	}
}

func TestMessages(t *testing.T) {
	p := newPod()
	c := dead("app", 1, 1, 20*time.Second, time.Second)
	plan := pod.Decide(pod.Input{Pod: p, Observed: observed(c), Messages: map[string]string{c.ID: "out of luck"}, Now: now})
	got := plan.Status.ContainerStatuses[0]
	if want := "back-off 20s restarting failed container=app pod=web_shop(u1)"; got.State.Waiting.Message != want {
		t.Errorf("waiting message: got %q, want %q", got.State.Waiting.Message, want)
	}
	want := &corev1.ContainerStateTerminated{
		ExitCode: 1, Reason: "Error", Message: "out of luck", ContainerID: "containerd://app-1",
		StartedAt: metav1.NewTime(ago(2 * time.Second)), FinishedAt: metav1.NewTime(ago(time.Second)),
	}
	if diff := cmp.Diff(want, got.LastTerminationState.Terminated); diff != "" {
		t.Errorf("last state (-want +got):\n%s", diff)
	}
}

// TestOthersConditionsStay: conditions of readiness gates belong to others.
func TestOthersConditionsStay(t *testing.T) {
	own := corev1.PodCondition{Type: "shop/open", Status: corev1.ConditionTrue, Reason: "Open"}
	p := newPod(func(p *corev1.Pod) {
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "shop/open"}}
		p.Status.Conditions = []corev1.PodCondition{own}
	})
	s := pod.Decide(pod.Input{Pod: p, Observed: observed(alive("app", 0)), Now: now}).Status
	if diff := cmp.Diff(own, s.Conditions[0]); diff != "" {
		t.Errorf("foreign condition (-want +got):\n%s", diff)
	}
	if got := conditions(s)["Ready"]; got != "True" {
		t.Errorf("Ready: got %q, want True", got)
	}
}

// world is a machine for TestConverges: it does what the steps say, and each
// container ends as told.
type world struct {
	o    runtime.Pod
	exit func(name string, attempt int) (code int32, ends bool)
}

func (w *world) do(t *testing.T, s pod.Step, at time.Time) {
	t.Helper()
	switch s := s.(type) {
	case pod.Prepare:
		w.o.Sandbox = &runtime.Sandbox{Ready: true, CreatedAt: at}
	case pod.Start:
		for _, c := range w.o.Containers {
			if c.Name == s.Container.Name && c.State != runtime.Exited {
				t.Fatalf("start of %s while attempt %d is %s", c.Name, c.Attempt, c.State)
			}
			if c.Name == s.Container.Name && c.Attempt >= s.Attempt {
				t.Fatalf("attempt %d of %s is used twice", s.Attempt, c.Name)
			}
		}
		c := made(s.Container.Name, s.Attempt)
		c.CreatedAt, c.StartedAt, c.State = at, at, runtime.Running
		c.Labels[pod.LabelBackOff] = s.BackOff.String()
		if code, ends := w.exit(c.Name, c.Attempt); ends {
			c.State, c.ExitCode, c.FinishedAt = runtime.Exited, code, at.Add(time.Second)
		}
		w.o.Containers = append(w.o.Containers, c)
	case pod.Stop:
		for _, stop := range s.Containers {
			for i := range w.o.Containers {
				if c := &w.o.Containers[i]; c.ID == stop.ID {
					c.State, c.ExitCode, c.FinishedAt = runtime.Exited, 0, at
				}
			}
		}
	case pod.Remove:
		for i, c := range w.o.Containers {
			if c.ID == s.ID {
				w.o.Containers = append(w.o.Containers[:i:i], w.o.Containers[i+1:]...)
				break
			}
		}
	case pod.Teardown:
		w.o = runtime.Pod{}
	}
}

// TestConverges plays pods to their end or to rest, whatever their containers
// do: the decision never starts a container twice, never repeats itself without
// effect, and a deletion always ends with an empty machine.
func TestConverges(t *testing.T) {
	for seed := range 200 {
		p := newPod(policy([]corev1.RestartPolicy{"Always", "OnFailure", "Never"}[seed%3]))
		if seed%2 == 0 {
			inits("a", "b")(p)
		}
		if seed%5 == 0 {
			sidecar("s")(p)
		}
		if seed%7 == 0 {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "second", Image: "img:1"})
		}
		w := &world{exit: func(name string, attempt int) (int32, bool) {
			n := seed + 7*len(name) + 3*attempt + int(name[0])
			if name == "a" || name == "b" {
				return int32(n % 2), true
			}
			return int32(n % 3), n%4 != 0 && attempt < 5
		}}
		at := now
		for round := 0; ; round++ {
			if round > 300 {
				t.Fatalf("seed %d: no end after %d rounds: %+v", seed, round, w.o)
			}
			if round == 40 {
				deleted(p)
			}
			plan := pod.Decide(pod.Input{Pod: p, Observed: w.o, Now: at, StoppingSince: at})
			p.Status = plan.Status
			over := false
			for _, s := range plan.Steps {
				w.do(t, s, at)
				_, finish := s.(pod.Finish)
				over = over || finish
			}
			if over {
				break
			}
			at = at.Add(time.Second)
			if len(plan.Steps) == 0 && plan.Wake.After(at) {
				at = plan.Wake
			}
		}
		if w.o.Sandbox != nil || len(w.o.Containers) != 0 {
			t.Errorf("seed %d: after the deletion the machine still holds %+v", seed, w.o)
		}
	}
}
