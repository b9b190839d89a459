package pod

import (
	"slices"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/runtime"
)

// Labels that the agent keeps with a container.
const (
	// LabelBackOff is how long a restart must wait after this attempt's exit,
	// as a Go duration.
	LabelBackOff = "headway.dev/back-off"
	// LabelImage is the image as the pod named it when the container was made.
	LabelImage = "headway.dev/image"
	// LabelResources is the CPU and memory that the container has, as requests and
	// limits in JSON.
	LabelResources = "headway.dev/resources"
	// LabelAgain says of a container that is being stopped or has been that it is
	// started again whatever its exit code.
	LabelAgain = "headway.dev/start-again"
)

// phase is how far a container has come.
type phase int

const (
	absent phase = iota
	created
	running
	exited
)

// view is one container of the pod: what is wanted, what there is, and what
// the API remembers.
type view struct {
	spec    corev1.Container
	sidecar bool // an init container that keeps running
	isInit  bool
	// ephemeral: it was added to the running pod, and is never started again.
	ephemeral bool
	phase     phase
	current   *runtime.Container // the newest attempt; nil if absent or lost
	last      *runtime.Container // the attempt before it
	old       []runtime.Container
	// exit is set when phase is exited.
	exit *corev1.ContainerStateTerminated
	// attempt is the newest attempt's number, or that of the one to make.
	attempt int
	api     *corev1.ContainerStatus // nil if the API has none
	// labelled is the CPU and memory that current says it has; nil if it does not.
	labelled *corev1.ResourceRequirements
	lost     bool // the API knows an attempt of which the machine holds nothing
}

func (d *decision) all() []*view { return slices.Concat(d.init, d.main, d.ephemeral) }

func (d *decision) views() {
	// The main containers come first: whether they are done decides whether the
	// init containers' results still matter.
	for _, c := range d.Pod.Spec.Containers {
		d.main = append(d.main, d.view(c, false, d.Pod.Status.ContainerStatuses))
	}
	for _, c := range d.Pod.Spec.InitContainers {
		d.init = append(d.init, d.view(c, true, d.Pod.Status.InitContainerStatuses))
	}
	for i := range d.Pod.Spec.EphemeralContainers {
		v := d.view(*asContainer(&d.Pod.Spec.EphemeralContainers[i]), false, d.Pod.Status.EphemeralContainerStatuses)
		v.ephemeral = true
		d.ephemeral = append(d.ephemeral, v)
	}
}

func (d *decision) view(spec corev1.Container, isInit bool, statuses []corev1.ContainerStatus) *view {
	v := &view{spec: spec, isInit: isInit}
	v.sidecar = isInit && spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
	for i := range statuses {
		if statuses[i].Name == spec.Name {
			v.api = &statuses[i]
		}
	}
	var attempts []runtime.Container
	for _, c := range d.Observed.Containers {
		if c.Name == spec.Name {
			attempts = append(attempts, c)
		}
	}
	sort.Slice(attempts, func(i, j int) bool { return attempts[i].Attempt > attempts[j].Attempt })
	if len(attempts) == 0 {
		d.recall(v)
		return v
	}
	v.current = &attempts[0]
	v.labelled = labelled(v.current)
	v.attempt = v.current.Attempt
	if len(attempts) > 1 {
		v.last = &attempts[1]
		v.old = attempts[2:]
	}
	switch v.current.State {
	case runtime.Running:
		v.phase = running
	case runtime.Exited:
		v.phase, v.exit = exited, d.terminated(v.current)
	default:
		v.phase = created
	}
	// A new sandbox has an empty file system and network: the init containers'
	// work in the old one does not count any more.
	if isInit && v.phase == exited && !d.over() && !d.inSandbox(v) {
		v.phase, v.last, v.attempt = absent, v.current, v.attempt+1
	}
	return v
}

// over reports, before the init containers are looked at, whether the pod will
// run nothing any more.
func (d *decision) over() bool {
	if d.Removed || d.Pod.DeletionTimestamp != nil || terminal(d.Pod.Status.Phase) {
		return true
	}
	return !d.anyToRun()
}

// inSandbox reports whether the newest attempt belongs to the sandbox there is.
func (d *decision) inSandbox(v *view) bool {
	s := d.Observed.Sandbox
	return s != nil && s.Ready && v.current != nil && !v.current.CreatedAt.Before(s.CreatedAt)
}

// recall fills a view from the API's memory when the machine holds nothing.
func (d *decision) recall(v *view) {
	if v.api == nil || v.api.ContainerID == "" {
		return
	}
	v.lost = true
	v.attempt = int(v.api.RestartCount)
	switch {
	case v.api.State.Terminated != nil:
		v.exit = v.api.State.Terminated.DeepCopy()
	case v.api.State.Running != nil:
		v.exit = &corev1.ContainerStateTerminated{
			ExitCode: 137, Reason: "ContainerStatusUnknown",
			Message:     "The container could not be located when the pod was deleted.  The container used to be Running",
			ContainerID: v.api.ContainerID, StartedAt: v.api.State.Running.StartedAt,
		}
	case v.api.LastTerminationState.Terminated != nil: // it waited for its restart
		v.exit = v.api.LastTerminationState.Terminated.DeepCopy()
	default:
		return
	}
	v.phase = exited
	// Without a record of the sandbox nobody knows whether the init containers'
	// results are still there: they run again, unless the pod is over anyway.
	if v.isInit && !d.over() {
		v.phase = absent
		v.attempt++
	}
}

// terminated is the terminated state of a dead container.
func (d *decision) terminated(c *runtime.Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode:    c.ExitCode,
		Message:     d.Messages[c.ID],
		ContainerID: containerID(c.ID),
		StartedAt:   stamp(c.StartedAt),
		FinishedAt:  stamp(c.FinishedAt),
	}
	if t.Message == "" {
		t.Message = c.Message
	}
	switch {
	case c.Reason != "":
		t.Reason = c.Reason
	case c.OOMKilled:
		t.Reason = "OOMKilled"
	case c.ExitCode == 0:
		t.Reason = "Completed"
	default:
		t.Reason = "Error"
	}
	return t
}

// changed reports whether the container was made from another image than the
// pod names now. Else nothing but its resources can change.
func (v *view) changed() bool {
	image, ok := v.current.Labels[LabelImage]
	return ok && image != v.spec.Image
}

// completed reports whether an init container has done its work.
func (v *view) completed() bool {
	return v.phase == exited && v.exit.ExitCode == 0 && v.again() == ""
}

// mainStarted reports whether initialisation is over: a main container exists
// in this sandbox, or has come to an end that stands.
func (d *decision) mainStarted() bool {
	for _, v := range d.main {
		switch {
		case v.phase == running, v.phase == exited && !d.restarts(v), v.phase != absent && d.inSandbox(v):
			return true
		}
	}
	return false
}

// startedOK is the started field: the startup probe's verdict, true without one.
func (d *decision) startedOK(v *view) bool {
	if v.phase != running {
		return false
	}
	return v.spec.StartupProbe == nil || d.probed(v).Started
}

// readyOK is the ready field of a container that is meant to keep running.
func (d *decision) readyOK(v *view) bool {
	if !d.startedOK(v) {
		return false
	}
	return v.spec.ReadinessProbe == nil || d.probed(v).Ready
}

// probed is the verdict of the probes of a container that runs; before they
// have begun, the last one that was reported.
func (d *decision) probed(v *view) ProbeResult {
	if result, ok := d.Probes[v.current.ID]; ok {
		return result
	}
	return Reported(d.Pod, v.current.ID)
}

// Reported returns what the pod's status says about the probes of a running
// container. With a new agent probes start over, and a container that it adopts
// must not lose its place in Services until they fail.
func Reported(p *corev1.Pod, id string) ProbeResult {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range list {
			if c.ContainerID == containerID(id) && c.State.Running != nil {
				return ProbeResult{Started: c.Started != nil && *c.Started, Ready: c.Ready}
			}
		}
	}
	return ProbeResult{}
}

func containerID(id string) string { return "containerd://" + id }

// stamp is t in the API's resolution, whole seconds: finer times would make
// every comparison with what the API returns differ.
func stamp(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(t.UTC().Truncate(time.Second))
}
