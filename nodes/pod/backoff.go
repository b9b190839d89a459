package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The kubelet's restart back-off.
const (
	backOffStart = 10 * time.Second
	backOffMax   = 5 * time.Minute
	// An attempt that lived this long starts the back-off from the beginning.
	backOffReset = 2 * backOffMax
	// shownAsError is how long a failed pull is called ErrImagePull before it
	// becomes ImagePullBackOff.
	shownAsError = 3 * time.Second
)

// Failure is the reason why a container could not be started.
type Failure struct {
	// Reason and Message are those of the waiting state: ErrImagePull,
	// ErrImageNeverPull, InvalidImageName, CreateContainerConfigError,
	// CreateContainerError, RunContainerError.
	Reason, Message string
	// Image is the image that could not be pulled, for the back-off message.
	Image       string
	At, RetryAt time.Time
	// Delay is RetryAt − At, doubled by the next failure.
	Delay time.Duration
}

// Again returns the failure that follows f: the same kind of trouble waits
// twice as long, from first up to limit.
func (f Failure) Again(reason, message string, now time.Time, first, limit time.Duration) Failure {
	delay := first
	if f.Reason == reason {
		delay = min(max(2*f.Delay, first), limit)
	}
	return Failure{Reason: reason, Message: message, At: now, RetryAt: now.Add(delay), Delay: delay}
}

// waiting is the waiting state the failure shows as.
func (f Failure) waiting(now time.Time) *corev1.ContainerStateWaiting {
	if f.Reason == "ErrImagePull" && !now.Before(f.changesAt()) {
		return &corev1.ContainerStateWaiting{
			Reason:  "ImagePullBackOff",
			Message: fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", f.Image, f.Message),
		}
	}
	return &corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
}

// changesAt is when the waiting state changes without anything happening.
func (f Failure) changesAt() time.Time { return f.At.Add(shownAsError) }

// BackingOff reports whether the failure now shows as ImagePullBackOff.
func (f Failure) BackingOff(now time.Time) bool {
	return f.Reason == "ErrImagePull" && !now.Before(f.changesAt())
}

// Why a container that was stopped is started again whatever its exit code, the values
// of LabelAgain. The restart policy is for those that end by themselves.
const (
	// againAtOnce: it is to run with what the pod says now.
	againAtOnce = "at-once"
	// againLater: it did not work, and starts after its back-off.
	againLater = "back-off"
)

// again is why an attempt that the node has stopped is started again; "" if it ended by
// itself, or was stopped for good.
func (v *view) again() string {
	if v.current == nil || v.ephemeral {
		return ""
	}
	return v.current.Labels[LabelAgain]
}

// restarts applies the restart policy to an exited container.
func (d *decision) restarts(v *view) bool {
	if v.sidecar {
		return true
	}
	if v.ephemeral {
		return false
	}
	if v.again() != "" {
		return true
	}
	switch policy := d.Pod.Spec.RestartPolicy; {
	case v.isInit && v.exit.ExitCode == 0:
		return false
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure || v.isInit:
		return v.exit.ExitCode != 0
	default:
		return true
	}
}

// backOff is what the label of an attempt says: the wait after its exit.
func (v *view) backOff() time.Duration {
	if v.current == nil {
		return 0
	}
	delay, err := time.ParseDuration(v.current.Labels[LabelBackOff])
	if err != nil || delay < 0 {
		return 0
	}
	return min(delay, backOffMax)
}

// livedLong reports whether an attempt ran long enough to be forgiven.
func (v *view) livedLong() bool {
	return v.current != nil && v.current.FinishedAt.Sub(v.current.CreatedAt) > backOffReset
}

// backOffUntil is when an exited container may start again. The first restart
// comes at once, as the kubelet has it.
func (d *decision) backOffUntil(v *view) time.Time {
	if v.current == nil || v.livedLong() || v.changed() || v.again() == againAtOnce {
		return time.Time{}
	}
	end := v.current.FinishedAt
	if end.IsZero() { // never started
		end = v.current.CreatedAt
	}
	return end.Add(v.backOff())
}

// nextBackOff is the wait after the exit of the attempt to be started: none for
// the first and for another image, then 10 s, doubling up to five minutes.
func (d *decision) nextBackOff(v *view) time.Duration {
	if v.phase != exited || v.current != nil && v.changed() {
		return 0
	}
	if v.again() == againAtOnce {
		return v.backOff()
	}
	if v.livedLong() {
		return backOffStart
	}
	return min(max(2*v.backOff(), backOffStart), backOffMax)
}

// startErrorShown is when a container that could not be started stops being
// called RunContainerError and becomes CrashLoopBackOff.
func (v *view) startErrorShown() time.Time {
	if v.current == nil || v.current.Reason != "StartError" {
		return time.Time{}
	}
	return v.current.FinishedAt.Add(shownAsError)
}

// crashLoop is the waiting state during the back-off.
func (d report) crashLoop(v *view) *corev1.ContainerStateWaiting {
	if d.Now.Before(v.startErrorShown()) {
		return &corev1.ContainerStateWaiting{Reason: "RunContainerError", Message: v.exit.Message}
	}
	return &corev1.ContainerStateWaiting{
		Reason:  "CrashLoopBackOff",
		Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", v.backOff(), v.spec.Name, Describe(d.Pod)),
	}
}

// Describe returns a pod's name in the kubelet's messages: name_namespace(uid).
func Describe(p *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", p.Name, p.Namespace, p.UID)
}
