package pod_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// debugger adds an ephemeral container.
func debugger(p *corev1.Pod) {
	p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "img:1"}, TargetContainerName: "app",
	})
}

// An ephemeral container is started beside whatever the pod is at, once, and
// decides nothing of what becomes of the pod.
func TestEphemeralContainers(t *testing.T) {
	start := pod.Start{Container: corev1.Container{Name: "debug", Image: "img:1"}, Target: "app"}
	for name, tc := range map[string]struct {
		pod      *corev1.Pod
		observed []runtime.Container
		steps    []pod.Step
		phase    corev1.PodPhase
		ready    corev1.ConditionStatus
		state    string
	}{
		"starts":                       {newPod(debugger), []runtime.Container{alive("app", 0)}, []pod.Step{start}, corev1.PodRunning, corev1.ConditionTrue, "ContainerCreating"},
		"starts during initialisation": {newPod(debugger, inits("setup")), []runtime.Container{alive("setup", 0)}, []pod.Step{start}, corev1.PodPending, corev1.ConditionFalse, "PodInitializing"},
		"runs":                         {newPod(debugger), []runtime.Container{alive("app", 0), alive("debug", 0)}, nil, corev1.PodRunning, corev1.ConditionTrue, "running"},
		"ends, and stays so":           {newPod(debugger), []runtime.Container{alive("app", 0), dead("debug", 0, 3, 0, time.Minute)}, nil, corev1.PodRunning, corev1.ConditionTrue, "Error"},
	} {
		plan := pod.Decide(pod.Input{Pod: tc.pod, Observed: observed(tc.observed...), Now: now})
		if diff := cmp.Diff(tc.steps, plan.Steps); diff != "" {
			t.Errorf("%s: steps (-want +got):\n%s", name, diff)
		}
		if plan.Status.Phase != tc.phase {
			t.Errorf("%s: phase %s, want %s", name, plan.Status.Phase, tc.phase)
		}
		for _, c := range plan.Status.Conditions {
			if c.Type == corev1.ContainersReady && c.Status != tc.ready {
				t.Errorf("%s: ContainersReady is %s, want %s", name, c.Status, tc.ready)
			}
		}
		if n := len(plan.Status.EphemeralContainerStatuses); n != 1 || len(plan.Status.ContainerStatuses) != 1 {
			t.Errorf("%s: %d statuses of ephemeral containers and %d of others", name, n, len(plan.Status.ContainerStatuses))
			continue
		}
		status := plan.Status.EphemeralContainerStatuses[0]
		state := "running"
		switch s := status.State; {
		case s.Waiting != nil:
			state = s.Waiting.Reason
		case s.Terminated != nil:
			state = s.Terminated.Reason
		}
		if state != tc.state || status.Ready || status.RestartCount != 0 {
			t.Errorf("%s: its status is %+v, want %s", name, status, tc.state)
		}
	}

	// A pod whose containers are through is over, and takes it along.
	plan := pod.Decide(pod.Input{Pod: newPod(debugger, policy("Never")), Observed: observed(dead("app", 0, 0, 0, time.Minute), alive("debug", 0)), Now: now})
	stop, ok := plan.Steps[0].(pod.Stop)
	if !ok || len(stop.Containers) != 1 || stop.Containers[0].Spec.Name != "debug" {
		t.Errorf("a pod that is through: %+v, want a stop of the ephemeral container", plan.Steps)
	}
}
