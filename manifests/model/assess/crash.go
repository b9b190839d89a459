package assess

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Crash is a container that has ended since the judged commit was applied.
type Crash struct {
	Pod       *corev1.Pod
	Container string
	// Previous reports whether the container runs again: the one that ended is
	// the previous instance.
	Previous bool
}

// Crash finds one among the containers of obj.
func (s *Standing) Crash(obj object.Object) (Crash, bool) {
	if s.indexed == nil {
		s.indexed = health.Indexed(s.Reader)
	}
	var pods []*corev1.Pod
	if k, ok := scheme.ForObject(obj); ok && k.Health.Pods != nil {
		pods = k.Health.Pods(obj, s.indexed, s.of)
	}
	for _, p := range pods {
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for _, status := range list {
				last := status.State.Terminated
				if last == nil {
					last = status.LastTerminationState.Terminated
				}
				// An init container that succeeded has only done its work.
				if last == nil || s.before(last) || last.ExitCode == 0 && last == status.State.Terminated {
					continue
				}
				return Crash{p, status.Name, status.State.Running != nil}, true
			}
		}
	}
	return Crash{}, false
}

// before reports whether a container ended before what is judged was applied.
func (s *Standing) before(t *corev1.ContainerStateTerminated) bool {
	return t.FinishedAt.Time.Before(s.Since.Truncate(time.Second))
}
