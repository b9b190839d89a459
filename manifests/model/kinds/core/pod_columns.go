package core

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/column"
)

var endedConditions = map[corev1.PodPhase][]metav1.TableRowCondition{
	corev1.PodSucceeded: {{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(corev1.PodSucceeded), Message: "The pod has completed successfully."}},
	corev1.PodFailed:    {{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(corev1.PodFailed), Message: "The pod failed."}},
}

func podRow(pod *corev1.Pod, now time.Time) []any {
	s := summarize(pod)
	restarts := strconv.Itoa(s.restarts)
	if s.restarts != 0 && !s.lastRestart.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, column.Since(s.lastRestart, now))
	}
	ip := column.None
	if len(pod.Status.PodIPs) > 0 {
		ip = column.Or(pod.Status.PodIPs[0].IP, column.None)
	} else {
		ip = column.Or(pod.Status.PodIP, ip)
	}
	return []any{
		pod.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, column.Age(pod, now),
		ip, column.Or(pod.Spec.NodeName, column.None), column.Or(pod.Status.NominatedNodeName, column.None), readinessGates(pod),
	}
}

// podSummary is what the columns of a pod say.
type podSummary struct {
	ready, total int
	reason       string
	restarts     int
	lastRestart  metav1.Time
}

func (s *podSummary) countRestarts(c *corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// summarize derives the status of a pod. Rules further down win: the phase,
// the pod's own reason, what holds up its init containers or its containers
// (the first container of the spec wins), and at last its deletion.
func summarize(pod *corev1.Pod) podSummary {
	s := podSummary{total: len(pod.Spec.Containers), reason: string(pod.Status.Phase)}
	if pod.Status.Reason != "" {
		s.reason = pod.Status.Reason
	}
	initialized := false
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated:
			s.reason = corev1.PodReasonSchedulingGated
		case c.Type == corev1.PodInitialized && c.Status == corev1.ConditionTrue:
			initialized = true
		}
	}

	sidecars := map[string]bool{}
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			s.total++
		}
	}
	// Restarts of init containers count only as long as they hold up the pod;
	// those of sidecars always do.
	running := podSummary{}
	holding := false
	for i := range pod.Status.InitContainerStatuses {
		c := &pod.Status.InitContainerStatuses[i]
		s.countRestarts(c)
		if sidecars[c.Name] {
			running.countRestarts(c)
		}
		if !holding {
			holding = s.initContainer(c, sidecars[c.Name], fmt.Sprintf("%d/%d", i, len(pod.Spec.InitContainers)))
		}
		if holding {
			break
		}
	}
	if !holding || initialized {
		s.restarts, s.lastRestart = running.restarts, running.lastRestart
		s.containers(pod)
	}
	if pod.DeletionTimestamp != nil {
		switch {
		case pod.Status.Reason == "NodeLost":
			s.reason = string(corev1.PodUnknown)
		case pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed:
			s.reason = "Terminating"
		}
	}
	return s
}

// initContainer takes one init container into account, and reports whether it
// is the one that the pod waits for.
func (s *podSummary) initContainer(c *corev1.ContainerStatus, sidecar bool, progress string) (holding bool) {
	switch ended, waiting := c.State.Terminated, c.State.Waiting; {
	case ended != nil && ended.ExitCode == 0:
		return false
	case sidecar && c.Started != nil && *c.Started:
		if c.Ready {
			s.ready++
		}
		return false
	case ended != nil:
		s.reason = "Init:" + endReason(ended)
	case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
		s.reason = "Init:" + waiting.Reason
	default:
		s.reason = "Init:" + progress
	}
	return true
}

func (s *podSummary) containers(pod *corev1.Pod) {
	running, failed := false, ""
	for i := len(pod.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &pod.Status.ContainerStatuses[i]
		s.countRestarts(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = endReason(c.State.Terminated)
			if c.State.Terminated.ExitCode != 0 {
				failed = s.reason
			}
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	// One container that has completed does not complete the pod.
	if s.reason != "Completed" {
		return
	}
	ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	switch {
	case running && ready:
		s.reason = "Running"
	case failed != "":
		s.reason = failed
	case running:
		s.reason = "NotReady"
	}
}

func endReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}

func readinessGates(pod *corev1.Pod) string {
	if len(pod.Spec.ReadinessGates) == 0 {
		return column.None
	}
	met := 0
	for _, gate := range pod.Spec.ReadinessGates {
		for _, c := range pod.Status.Conditions {
			if c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue {
				met++
				break
			}
		}
	}
	return fmt.Sprintf("%d/%d", met, len(pod.Spec.ReadinessGates))
}
