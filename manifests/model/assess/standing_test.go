package assess_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/health"
)

// A container that has to run longer, or that ended since the commit, keeps its
// pod from being healthy, although it is Ready.
func TestStanding(t *testing.T) {
	since := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	now := since.Add(30 * time.Second)
	for name, c := range map[string]struct {
		probe   bool
		started time.Duration // after since
		ended   time.Duration // of the container before, 0: none
		settle  time.Duration
		want    string
		wait    time.Duration
	}{
		"runs long enough":             {started: 20 * time.Second, settle: 10 * time.Second, want: "Current: Pod is Ready"},
		"runs for a moment":            {started: 24 * time.Second, settle: 10 * time.Second, want: "has no readiness probe and runs for less than 10s", wait: 4 * time.Second},
		"a probe says that it is up":   {probe: true, started: 29 * time.Second, settle: 10 * time.Second, want: "Current: Pod is Ready"},
		"need not settle":              {started: 29 * time.Second, want: "Current: Pod is Ready"},
		"ended since":                  {probe: true, started: 10 * time.Second, ended: 9 * time.Second, settle: time.Second, want: "has ended and was restarted (3 times), last exit: exit code 7 (Error), it said: \"no \\\"db\\\"\"", wait: 40 * time.Second},
		"ended before the commit":      {started: -20 * time.Second, ended: -21 * time.Second, settle: 10 * time.Second, want: "Current: Pod is Ready"},
		"ended since, and stands long": {started: -40 * time.Second, ended: 1 * time.Millisecond, settle: 10 * time.Second, want: "Current: Pod is Ready"},
	} {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				ContainerStatuses: []corev1.ContainerStatus{{
					Name: "c", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since.Add(c.started))}},
				}},
			},
		}
		if c.probe {
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{}
		}
		if c.ended != 0 {
			p.Status.ContainerStatuses[0].RestartCount = 3
			p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
				ExitCode: 7, Reason: "Error", Message: "no \"db\"\n", FinishedAt: metav1.NewTime(since.Add(c.ended)),
			}
		}
		st := assess.Standing{Since: since, Now: now, Settle: c.settle, Steady: time.Minute}
		res, wait := st.Of(p)
		if got := string(res.Status) + ": " + res.Message; !strings.Contains(got, c.want) || wait != c.wait {
			t.Errorf("%s: %q, wait %s; want %q, wait %s", name, got, wait, c.want, c.wait)
		}
		if got := health.WithoutWords(res.Message); strings.Contains(got, "db") {
			t.Errorf("%s: what the container said is left in %q", name, got)
		}
	}
}

// Sidecars have to stand as the other containers do; an init container that has
// done its work need not, whatever happened before it succeeded.
func TestStandingOfInitContainers(t *testing.T) {
	since := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	runs := func(after time.Duration) corev1.ContainerState {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since.Add(after))}}
	}
	ended := func(code int32, after time.Duration) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", FinishedAt: metav1.NewTime(since.Add(after))}}
	}
	always := new(corev1.ContainerRestartPolicyAlways)
	for name, c := range map[string]struct {
		container corev1.Container
		status    corev1.ContainerStatus
		want      string
	}{
		"a sidecar that ended":             {corev1.Container{RestartPolicy: always}, corev1.ContainerStatus{RestartCount: 3, State: runs(25 * time.Second), LastTerminationState: ended(7, 24*time.Second)}, "InProgress: pod p: container first has ended and was restarted (3 times), last exit: exit code 7 (Error)"},
		"a sidecar that runs for a moment": {corev1.Container{RestartPolicy: always}, corev1.ContainerStatus{State: runs(29 * time.Second)}, "InProgress: pod p: container first has no readiness probe and runs for less than 10s"},
		"a sidecar that is ready":          {corev1.Container{RestartPolicy: always, ReadinessProbe: &corev1.Probe{}}, corev1.ContainerStatus{State: runs(29 * time.Second)}, "Current: Pod is Ready"},
		"a sidecar that stands":            {corev1.Container{RestartPolicy: always}, corev1.ContainerStatus{State: runs(time.Second)}, "Current: Pod is Ready"},
		"one that has done its work":       {corev1.Container{}, corev1.ContainerStatus{RestartCount: 1, State: ended(0, 24*time.Second), LastTerminationState: ended(7, 23*time.Second)}, "Current: Pod is Ready"},
	} {
		c.container.Name, c.status.Name = "first", "first"
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"},
			Spec:       corev1.PodSpec{InitContainers: []corev1.Container{c.container}, Containers: []corev1.Container{{Name: "c"}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				InitContainerStatuses: []corev1.ContainerStatus{c.status}, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", Ready: true, State: runs(time.Second)}},
			},
		}
		st := assess.Standing{Since: since, Now: since.Add(30 * time.Second), Settle: 10 * time.Second, Steady: time.Minute}
		res, _ := st.Of(p)
		if got := string(res.Status) + ": " + res.Message; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
