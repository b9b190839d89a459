package health

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/object"
)

// Crash is a container that ended since what is judged was applied.
type Crash struct {
	Pod       *corev1.Pod
	Container string
	// Previous says that it runs again: what ended is the instance before.
	Previous bool
}

// Crash finds one among the containers of a Deployment, ReplicaSet or Pod.
func (s *Standing) Crash(obj object.Object) (Crash, bool) {
	var pods []*corev1.Pod
	switch o := obj.(type) {
	case *appsv1.Deployment:
		if set := newestSet(o, s.Reader); set != nil {
			pods = s.of(set)
		}
	case *appsv1.ReplicaSet:
		pods = s.of(o)
	case *corev1.Pod:
		pods = []*corev1.Pod{o}
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
