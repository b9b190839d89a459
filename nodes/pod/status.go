package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/qos"
)

// report says what a pod's status is, by what is known and decided.
type report struct{ *decision }

// terminal reports whether a pod in this phase is over.
func terminal(p corev1.PodPhase) bool {
	return p == corev1.PodSucceeded || p == corev1.PodFailed
}

// status is the pod's status: the API's, with everything the node owns
// recomputed.
func (d report) status() corev1.PodStatus {
	s := *d.Pod.Status.DeepCopy()
	s.ObservedGeneration = d.Pod.Generation
	s.QOSClass = qos.GetPodQOS(d.Pod)
	if s.StartTime == nil {
		now := stamp(d.Now)
		s.StartTime = &now
	}
	if len(d.HostIPs) > 0 {
		s.HostIP, s.HostIPs = d.HostIPs[0], nil
		for _, ip := range d.HostIPs {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	if ips := d.podIPs(); len(ips) > 0 {
		s.PodIP, s.PodIPs = ips[0], nil
		for _, ip := range ips {
			s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
		}
	}
	if terminal(d.Pod.Status.Phase) && len(d.Observed.Containers) == 0 {
		// The result is told and what it came from is gone: it stands.
		d.setConditions(&s)
		return s
	}
	s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
	initialized := d.initialized()
	for _, v := range d.init {
		s.InitContainerStatuses = append(s.InitContainerStatuses, d.containerStatus(v, initialized))
	}
	for _, v := range d.main {
		s.ContainerStatuses = append(s.ContainerStatuses, d.containerStatus(v, initialized))
	}
	for _, v := range d.ephemeral {
		// Nobody waits for it, and it is never called ready.
		status := d.containerStatus(v, initialized)
		status.Ready, status.Started = false, nil
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, status)
	}
	if !terminal(s.Phase) {
		s.Phase = d.phase(s)
		if d.expired && s.Phase == corev1.PodFailed {
			s.Reason = "DeadlineExceeded"
			s.Message = "Pod was active on the node longer than the specified deadline"
		}
		if d.Evicted != "" && s.Phase == corev1.PodFailed {
			s.Reason, s.Message = ReasonEvicted, d.Evicted
			d.setCondition(&s, corev1.DisruptionTarget, corev1.PodCondition{
				Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet, Message: d.Evicted,
			})
		}
	}
	d.setConditions(&s)
	return s
}

// podIPs are the sandbox's addresses, or the node's for a pod in its network.
func (d report) podIPs() []string {
	if d.Observed.Sandbox == nil {
		return nil
	}
	if d.Pod.Spec.HostNetwork {
		return d.HostIPs
	}
	return d.Observed.Sandbox.IPs
}

// initialized reports whether the main containers may run.
func (d report) initialized() bool {
	if d.mainStarted() {
		return true
	}
	for _, v := range d.init {
		done := v.completed()
		if v.sidecar {
			done = d.startedOK(v)
		}
		if !done {
			return false
		}
	}
	return true
}

func (d report) containerStatus(v *view, initialized bool) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: v.spec.Name, Image: v.spec.Image, RestartCount: int32(v.attempt), Started: new(false)}
	d.describe(&s, v)
	if v.api != nil {
		s.LastTerminationState = v.api.LastTerminationState
	}
	if v.last != nil {
		s.LastTerminationState = corev1.ContainerState{Terminated: d.terminated(v.last)}
	}
	failure, failed := d.Failures[v.spec.Name]
	switch v.phase {
	case running:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: stamp(v.current.StartedAt)}
		s.Started = new(d.startedOK(v))
		s.Ready = d.readyOK(v)
		if v.isInit && !v.sidecar {
			s.Ready = false
		}
	case exited:
		held := !d.plan.Stopping && d.restarts(v)
		switch {
		case held && d.Now.Before(d.backOffUntil(v)):
			s.State.Waiting = d.crashLoop(v)
		case held && failed:
			s.State.Waiting = failure.waiting(d.Now)
		case held && v.lost:
			s.State.Waiting = d.waiting(v, initialized)
		default:
			s.State.Terminated = v.exit
		}
		if s.State.Waiting != nil {
			s.LastTerminationState = corev1.ContainerState{Terminated: v.exit}
		}
		s.Ready = v.isInit && !v.sidecar && v.completed()
	default:
		s.State.Waiting = d.waiting(v, initialized)
		if failed {
			s.State.Waiting = failure.waiting(d.Now)
		}
	}
	return s
}

// waiting is the waiting state of a container that has not been made yet.
func (d report) waiting(v *view, initialized bool) *corev1.ContainerStateWaiting {
	reason := "ContainerCreating"
	if len(d.init) > 0 && (v.isInit || !initialized) {
		reason = "PodInitializing"
	}
	return &corev1.ContainerStateWaiting{Reason: reason}
}

// phase sums the containers up.
func (d report) phase(s corev1.PodStatus) corev1.PodPhase {
	// A pod is never called over while something of it still runs.
	if (d.expired || d.Evicted != "") && !d.anyRunning() {
		return corev1.PodFailed
	}
	var waiting, alive, stopped, succeeded int
	for _, c := range s.ContainerStatuses {
		switch {
		case c.State.Running != nil:
			alive++
		case c.State.Terminated != nil:
			stopped++
			if c.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case c.LastTerminationState.Terminated != nil:
			stopped++
		default:
			waiting++
		}
	}
	ending := d.plan.Stopping && !d.anyRunning()
	switch {
	case d.initFailed():
		if d.anyRunning() {
			return corev1.PodPending
		}
		return corev1.PodFailed
	case ending && (d.Removed || d.Pod.DeletionTimestamp != nil):
		if waiting == 0 && stopped == succeeded {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	case !d.initialized() || waiting > 0:
		return corev1.PodPending
	case alive > 0:
		return corev1.PodRunning
	case !d.finished() || d.anyRunning(): // a restart is due, or a sidecar has yet to stop
		return corev1.PodRunning
	case stopped == succeeded:
		return corev1.PodSucceeded
	default:
		return corev1.PodFailed
	}
}

func (d report) anyRunning() bool {
	for _, v := range d.all() {
		if v.phase == running {
			return true
		}
	}
	return false
}

// initFailed reports whether initialisation ended in a failure that stands.
func (d report) initFailed() bool {
	if d.mainStarted() {
		return false
	}
	for _, v := range d.init {
		if !v.sidecar && v.phase == exited && v.exit.ExitCode != 0 && !d.restarts(v) {
			return true
		}
	}
	return false
}

// setConditions writes the conditions the node owns and keeps all others.
func (d report) setConditions(s *corev1.PodStatus) {
	ready := d.containersReady(s)
	d.setCondition(s, corev1.PodReadyToStartContainers, corev1.PodCondition{
		Status: truth(d.Observed.Sandbox != nil && d.Observed.Sandbox.Ready && !d.TornDown),
	})
	d.setCondition(s, corev1.PodInitialized, d.initializedCondition(s))
	gated := ready
	if ready.Status == corev1.ConditionTrue {
		gated = d.gates(s)
	}
	d.setCondition(s, corev1.PodReady, gated)
	d.setCondition(s, corev1.ContainersReady, ready)
	d.setCondition(s, corev1.PodScheduled, corev1.PodCondition{Status: corev1.ConditionTrue})
	d.resizeConditions(s)
}

func (d report) initializedCondition(s *corev1.PodStatus) corev1.PodCondition {
	if s.Phase == corev1.PodSucceeded {
		return corev1.PodCondition{Status: corev1.ConditionTrue, Reason: "PodCompleted"}
	}
	if d.initialized() {
		return corev1.PodCondition{Status: corev1.ConditionTrue}
	}
	var names []string
	for _, v := range d.init {
		if !v.completed() {
			if !v.sidecar || !d.startedOK(v) {
				names = append(names, v.spec.Name)
			}
		}
	}
	return corev1.PodCondition{
		Status: corev1.ConditionFalse, Reason: "ContainersNotInitialized",
		Message: fmt.Sprintf("containers with incomplete status: %s", names),
	}
}

func (d report) containersReady(s *corev1.PodStatus) corev1.PodCondition {
	switch s.Phase {
	case corev1.PodSucceeded:
		return corev1.PodCondition{Status: corev1.ConditionFalse, Reason: "PodCompleted"}
	case corev1.PodFailed:
		return corev1.PodCondition{Status: corev1.ConditionFalse, Reason: "PodFailed"}
	default: // as its containers say
	}
	var names []string
	sidecars := map[string]bool{}
	for _, v := range d.init {
		sidecars[v.spec.Name] = v.sidecar
	}
	for _, c := range s.InitContainerStatuses {
		if sidecars[c.Name] && !c.Ready {
			names = append(names, c.Name)
		}
	}
	for _, c := range s.ContainerStatuses {
		if !c.Ready {
			names = append(names, c.Name)
		}
	}
	if len(names) > 0 {
		return corev1.PodCondition{
			Status: corev1.ConditionFalse, Reason: "ContainersNotReady",
			Message: fmt.Sprintf("containers with unready status: %s", names),
		}
	}
	return corev1.PodCondition{Status: corev1.ConditionTrue}
}

// gates applies the readiness gates to a pod whose containers are ready.
func (d report) gates(s *corev1.PodStatus) corev1.PodCondition {
	var messages []string
	for _, gate := range d.Pod.Spec.ReadinessGates {
		have := condition(s, gate.ConditionType)
		switch {
		case have == nil:
			messages = append(messages, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case have.Status != corev1.ConditionTrue:
			messages = append(messages, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, have.Status))
		}
	}
	if len(messages) == 0 {
		return corev1.PodCondition{Status: corev1.ConditionTrue}
	}
	return corev1.PodCondition{Status: corev1.ConditionFalse, Reason: "ReadinessGatesNotReady", Message: strings.Join(messages, ", ")}
}

// setCondition keeps the transition time of a condition whose status stays.
func (d report) setCondition(s *corev1.PodStatus, t corev1.PodConditionType, c corev1.PodCondition) {
	c.Type = t
	c.ObservedGeneration = d.Pod.Generation
	c.LastTransitionTime = stamp(d.Now)
	if have := condition(s, t); have != nil {
		if t == corev1.PodScheduled && have.Status == corev1.ConditionTrue {
			return
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		c.LastProbeTime = metav1.Time{}
		*have = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

func condition(s *corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// describe writes what a container is, rather than how it is: identity, user,
// mounts and resources. The API remembers it of one that is gone.
func (d report) describe(s *corev1.ContainerStatus, v *view) {
	s.VolumeMounts = mountStatuses(v.spec.VolumeMounts)
	switch {
	case v.current != nil:
		s.ContainerID, s.ImageID = containerID(v.current.ID), v.current.ImageID
		if u := v.current.User; u != nil {
			s.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: u.UID, GID: u.GID, SupplementalGroups: u.Groups}}
		}
	case v.lost:
		s.ContainerID, s.ImageID, s.User = v.api.ContainerID, v.api.ImageID, v.api.User.DeepCopy()
	default:
		return
	}
	s.AllocatedResources = v.spec.Resources.Requests.DeepCopy()
	s.Resources = v.resources()
	if v.spec.Lifecycle != nil {
		s.StopSignal = v.spec.Lifecycle.StopSignal
	}
}

// mountStatuses says of each mount how it is mounted. What lies below a
// read-only mount is never made read-only with it.
func mountStatuses(mounts []corev1.VolumeMount) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range mounts {
		status := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			status.RecursiveReadOnly = new(corev1.RecursiveReadOnlyDisabled)
		}
		out = append(out, status)
	}
	return out
}
