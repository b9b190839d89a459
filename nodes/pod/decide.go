package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/loop"
	"headway.dev/nodes/runtime"
)

// Input is everything that a decision considers.
type Input struct {
	// Pod is the newest version from the API, including its status: the status
	// is the only memory of what the machine has lost. Its containers have what the
	// node has given to them (see Allocated).
	Pod *corev1.Pod
	// Resize is how far it is with a resize.
	Resize Resizing
	// Removed reports that the pod is gone from the API.
	Removed  bool
	Observed runtime.Pod
	// HostIPs are the node's addresses, the primary one first.
	HostIPs []string
	// Probes holds the probe results of running containers, by container ID.
	Probes map[string]ProbeResult
	// Failures contains what kept a container from starting, by container name.
	// The empty name stands for the pod: its volumes or sandbox.
	Failures map[string]Failure
	// Messages contains the termination messages, by container ID.
	Messages map[string]string
	// StoppingSince is when the agent first saw that the pod must stop. The
	// grace period counts from then, so that it does not depend on other
	// clocks.
	StoppingSince time.Time
	// Evicted is the reason why the node evicts the pod; empty if it does not.
	Evicted string
	// TornDown reports that sandbox and volumes of the pod are gone.
	TornDown bool
	Now      time.Time
}

// ProbeResult is the result of the probes of one running container.
type ProbeResult struct {
	// Started is the startup probe's verdict, and Ready the readiness probe's.
	// They apply only to containers that have such a probe.
	Started, Ready bool
	// Failed names the probe ("liveness" or "startup") that condemned the
	// container, and is empty for a healthy one.
	Failed string
}

// Plan is the result of a decision.
type Plan struct {
	// Steps are to be executed in order.
	Steps []Step
	// Status is the pod's status as of this observation.
	Status corev1.PodStatus
	// Wake is when to decide again even if nothing changes; zero is never.
	Wake time.Time
	// Stopping reports that the pod must end, so that the caller can remember
	// since when.
	Stopping bool
	// BackOffs names the containers that wait for a restart.
	BackOffs []string
	// Resizing reports that the containers do not have yet what they are given.
	Resizing bool
}

// Step is one of Prepare, Resize, Start, Stop, Remove, Teardown and Finish.
type Step interface{ step() }

// Prepare sets up the volumes and the sandbox.
type Prepare struct{}

// Start creates and starts a container; with ID set it only starts the one
// that was created before.
type Start struct {
	Container corev1.Container
	Attempt   int
	// BackOff is how long the next restart must wait after this attempt's exit.
	// It is kept with the container under LabelBackOff.
	BackOff time.Duration
	ID      string
	// Target names the container whose processes it sees; empty for its own alone.
	Target string
}

// Stop stops containers in parallel, each with its preStop hook before the stop
// signal.
type Stop struct{ Containers []StopContainer }

// StopContainer is one container to stop. Message is the text of its Killing
// event. Again is what LabelAgain is to say of it before it is stopped; "" for
// nothing.
type StopContainer struct {
	ID      string
	Spec    corev1.Container
	Grace   time.Duration
	Message string
	Again   string
}

// Remove removes a dead container that is no longer needed.
type Remove struct{ ID string }

// Teardown removes the sandbox, all containers and the volumes. Logs stay.
type Teardown struct{}

// Finish removes the logs, reports the last status and removes the pod from the
// API.
type Finish struct{}

func (Prepare) step()  {}
func (Resize) step()   {}
func (Start) step()    {}
func (Stop) step()     {}
func (Remove) step()   {}
func (Teardown) step() {}
func (Finish) step()   {}

// decision is one run of Decide.
type decision struct {
	Input
	init, main, ephemeral []*view
	plan                  Plan
	given                 *runtime.Resources // of the whole pod, once they are asked for
	expired               bool               // activeDeadlineSeconds has passed
}

// Decide says what has to happen to a pod. The order is:
//
//  1. a pod that has to end (deleted, gone from the API, past its deadline,
//     finished) is stopped, torn down, and removed from the API if it was deleted;
//  2. otherwise containers that must not go on running are stopped;
//  3. then those that run are resized;
//  4. then volumes and sandbox are prepared, if anything is to run;
//  5. then ephemeral containers, which were added to debug the others;
//  6. then init containers one after the other, and when they are through,
//     all others.
func Decide(in Input) Plan {
	d := &decision{Input: in}
	d.views()
	d.deadline()
	switch {
	case d.mustEnd():
		d.plan.Stopping = true
		d.end()
	case d.stopCondemned():
	default:
		d.resize()
		d.start()
		d.collect()
	}
	d.plan.Resizing = report{d}.resizing()
	d.plan.Status = report{d}.status()
	return d.plan
}

func (d *decision) add(s ...Step) { d.plan.Steps = append(d.plan.Steps, s...) }

// wake asks for another decision at t at the latest.
func (d *decision) wake(t time.Time) {
	if t.After(d.Now) && (d.plan.Wake.IsZero() || t.Before(d.plan.Wake)) {
		d.plan.Wake = t
	}
}

// deadline applies activeDeadlineSeconds, counted from the pod's start on this
// node.
func (d *decision) deadline() {
	limit, start := d.Pod.Spec.ActiveDeadlineSeconds, d.Pod.Status.StartTime
	if limit == nil || start == nil || terminal(d.Pod.Status.Phase) {
		return
	}
	end := start.Add(loop.Seconds(*limit))
	d.expired = !d.Now.Before(end)
	d.wake(end)
}

func (d *decision) mustEnd() bool {
	return d.Removed || d.Pod.DeletionTimestamp != nil || d.expired || d.Evicted != "" ||
		terminal(d.Pod.Status.Phase) || d.finished()
}

// finished reports whether the containers have come to an end that the restart
// policy lets stand.
func (d *decision) finished() bool {
	for _, v := range d.init {
		if !v.sidecar && v.phase == exited && v.exit.ExitCode != 0 && !d.restarts(v) && !d.mainStarted() {
			return true
		}
	}
	for _, v := range d.main {
		if v.phase != exited || d.restarts(v) {
			return false
		}
	}
	return true
}

// end stops what runs and, when nothing does, releases everything.
func (d *decision) end() {
	if stop := d.stopAll(); len(stop) > 0 {
		d.add(Stop{Containers: stop})
		return
	}
	switch {
	case d.Removed:
		d.add(Teardown{})
	case d.Pod.DeletionTimestamp != nil:
		if !d.TornDown {
			d.add(Teardown{})
		}
		d.add(Finish{})
	case terminal(d.Pod.Status.Phase) && !d.TornDown:
		// Only now does the API hold the result: without the runtime's record it
		// could not be told again.
		d.add(Teardown{})
	}
}

// stopAll lists what to stop next: init and main containers at once, sidecars
// after all of them, last one first.
func (d *decision) stopAll() []StopContainer {
	grace := d.graceLeft()
	var stop []StopContainer
	for _, v := range d.all() {
		if v.phase == running && !v.sidecar {
			stop = append(stop, StopContainer{ID: v.current.ID, Spec: v.spec, Grace: grace, Message: "Stopping container " + v.spec.Name})
		}
	}
	for i := len(d.init) - 1; i >= 0 && len(stop) == 0; i-- {
		if v := d.init[i]; v.phase == running {
			stop = append(stop, StopContainer{ID: v.current.ID, Spec: v.spec, Grace: grace, Message: "Stopping container " + v.spec.Name})
		}
	}
	return stop
}

// graceLeft is what remains of the pod's grace period, a second at least so
// that every process hears its stop signal.
func (d *decision) graceLeft() time.Duration {
	grace := time.Duration(30) * time.Second
	if s := d.Pod.Spec.TerminationGracePeriodSeconds; s != nil {
		grace = loop.Seconds(*s)
	}
	if s := d.Pod.DeletionGracePeriodSeconds; s != nil {
		grace = loop.Seconds(*s)
	}
	if d.Evicted != "" {
		return time.Second // what it takes is needed now, as with the kubelet
	}
	if !d.StoppingSince.IsZero() {
		grace -= d.Now.Sub(d.StoppingSince)
	}
	return max(grace, time.Second)
}

// stopCondemned stops containers that failed a probe, whose definition changed,
// or that are left over in a broken sandbox. They are started again after they are
// dead, whatever their exit code: one whose definition changed also where nothing else
// is restarted. What an earlier agent began to stop is stopped.
func (d *decision) stopCondemned() bool {
	var stop []StopContainer
	broken := d.Observed.Sandbox == nil || !d.Observed.Sandbox.Ready
	for _, v := range d.all() {
		if v.phase != running {
			continue
		}
		grace := 30 * time.Second
		if s := d.Pod.Spec.TerminationGracePeriodSeconds; s != nil {
			grace = loop.Seconds(*s)
		}
		var message, again string
		if d.Pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
			again = againLater
		}
		probe := d.Probes[v.current.ID]
		switch {
		case broken:
			message = "Stopping container " + v.spec.Name
		case probe.Failed != "":
			message = fmt.Sprintf("Container %s failed %s probe, will be restarted", v.spec.Name, probe.Failed)
			if s := probeGrace(v.spec, probe.Failed); s != nil {
				grace = loop.Seconds(*s)
			}
		case v.changed():
			message, again = fmt.Sprintf("Container %s definition changed, will be restarted", v.spec.Name), againAtOnce
		case v.restartsToResize():
			message, again = fmt.Sprintf("Container %s resize requires restart", v.spec.Name), againAtOnce
		case v.again() != "":
			message, again = "Stopping container "+v.spec.Name, v.again()
		default:
			continue
		}
		stop = append(stop, StopContainer{ID: v.current.ID, Spec: v.spec, Grace: max(grace, time.Second), Message: message, Again: again})
	}
	if len(stop) > 0 {
		d.add(Stop{Containers: stop})
	}
	return len(stop) > 0
}

func probeGrace(c corev1.Container, failed string) *int64 {
	switch {
	case failed == "liveness" && c.LivenessProbe != nil:
		return c.LivenessProbe.TerminationGracePeriodSeconds
	case failed == "startup" && c.StartupProbe != nil:
		return c.StartupProbe.TerminationGracePeriodSeconds
	}
	return nil
}

// start plans what can be started now.
func (d *decision) start() {
	if f, ok := d.Failures[""]; ok && d.Now.Before(f.RetryAt) {
		d.wake(f.RetryAt)
		return
	}
	starts := d.starts()
	sandbox := d.Observed.Sandbox
	if (sandbox == nil || !sandbox.Ready) && (len(starts) > 0 || d.anyToRun()) {
		d.add(Prepare{})
	}
	d.add(starts...)
}

// anyToRun reports whether some container will have to run, now or after a
// back-off: only then is a sandbox worth its cost.
func (d *decision) anyToRun() bool {
	for _, v := range d.main {
		if v.phase != exited || d.restarts(v) {
			return true
		}
	}
	return false
}

// starts lists the containers to start: the next init container, or with
// initialisation over all others.
func (d *decision) starts() []Step {
	var steps []Step
	for _, v := range d.ephemeral {
		if v.phase != running {
			steps = append(steps, d.startOne(v)...)
		}
	}
	if !d.mainStarted() {
		for _, v := range d.init {
			if v.sidecar && v.phase == running && d.startedOK(v) {
				continue
			}
			if v.phase == running {
				return steps
			}
			if !v.sidecar && v.completed() {
				continue
			}
			return append(steps, d.startOne(v)...)
		}
	} else {
		for _, v := range d.init {
			if v.sidecar && v.phase != running {
				steps = append(steps, d.startOne(v)...)
			}
		}
	}
	for _, v := range d.main {
		if v.phase != running && (v.phase != exited || d.restarts(v)) {
			steps = append(steps, d.startOne(v)...)
		}
	}
	return steps
}

// startOne starts v unless a back-off holds it.
func (d *decision) startOne(v *view) []Step {
	if f, ok := d.Failures[v.spec.Name]; ok && d.Now.Before(f.RetryAt) {
		d.wake(f.RetryAt)
		if shown := f.changesAt(); shown.After(d.Now) {
			d.wake(shown)
		}
		return nil
	}
	switch v.phase {
	case created:
		return []Step{Start{Container: v.spec, Attempt: v.current.Attempt, ID: v.current.ID}}
	case exited:
		if !d.restarts(v) {
			return nil
		}
		if until := d.backOffUntil(v); d.Now.Before(until) {
			d.wake(until)
			d.wake(v.startErrorShown())
			d.plan.BackOffs = append(d.plan.BackOffs, v.spec.Name)
			return nil
		}
		return []Step{Start{Container: v.spec, Attempt: v.attempt + 1, BackOff: d.nextBackOff(v)}}
	default:
		return []Step{Start{Container: v.spec, Attempt: v.attempt, BackOff: d.nextBackOff(v), Target: target(d.Pod, v.spec.Name)}}
	}
}

// collect removes dead containers but the newest one of each name, which is
// the last state and the previous log.
func (d *decision) collect() {
	for _, v := range d.all() {
		for _, c := range v.old {
			d.add(Remove{ID: c.ID})
		}
	}
}
