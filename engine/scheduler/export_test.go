package scheduler

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler/placement"
)

// Poison makes a scheduler panic when it places pods of a name.
func (s *Scheduler) Poison(name string) {
	s.pick = func(pod *corev1.Pod, snapshot *placement.Snapshot, seed uint64) (string, *placement.Failure) {
		if pod.Name == name {
			panic("a pod with a secret in it")
		}
		return placement.Pick(pod, snapshot, seed)
	}
}
