package health

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/object"
)

// trouble is what keeps a pod from being Ready. Gravity orders troubles by how
// sure it is that they are the cause; 0 is none.
type trouble struct {
	gravity         int
	reason, message string
}

func (t trouble) String() string {
	if t.reason == "" || t.message == "" {
		return t.reason + t.message
	}
	return t.reason + ": " + t.message
}

// troubleOf finds what a person would look for first: where the pod goes, then
// its containers in the order in which they start.
func troubleOf(p *corev1.Pod, reader object.Reader) trouble {
	if c := PodCondition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		return trouble{5, c.Reason, c.Message}
	}
	if p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" {
		return trouble{5, p.Status.Reason, p.Status.Message} // Evicted, OutOfcpu
	}
	containers := slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
	statuses := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
	var gravest trouble
	for _, s := range statuses {
		i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == s.Name })
		if i < 0 {
			continue
		}
		init := i < len(p.Spec.InitContainers)
		if t := containerTrouble(p, containers[i], s, init, reader); t.gravity > gravest.gravity {
			gravest = t
		}
	}
	if gravest.gravity == 0 {
		return preparing(p, reader)
	}
	return gravest
}

func containerTrouble(p *corev1.Pod, c corev1.Container, s corev1.ContainerStatus, init bool, reader object.Reader) trouble {
	if w := s.State.Waiting; w != nil {
		switch w.Reason {
		case "", "ContainerCreating", "PodInitializing":
			return trouble{}
		}
		t := trouble{4, w.Reason, w.Message}
		if last := s.LastTerminationState.Terminated; last != nil {
			t.message = strings.TrimPrefix(t.message+"; last exit: "+Exit(last), "; ")
		}
		return t
	}
	if term := s.State.Terminated; term != nil {
		if term.ExitCode == 0 && (init || p.Spec.RestartPolicy != corev1.RestartPolicyAlways) {
			return trouble{}
		}
		return trouble{3, term.Reason, fmt.Sprintf("container %s: %s", s.Name, Exit(term))}
	}
	if s.State.Running == nil || s.Ready || init && !Sidecar(&c) {
		return trouble{}
	}
	// It runs but is not Ready: a probe fails, or did not succeed yet.
	probe := ""
	switch {
	case c.StartupProbe != nil && !ptr.Deref(s.Started, false):
		probe = "Startup"
	case c.ReadinessProbe != nil:
		probe = "Readiness"
	default:
		return trouble{}
	}
	if message := probeEvent(p, probe, reader); message != "" {
		return trouble{3, "Unhealthy", message}
	}
	message := fmt.Sprintf("%s probe of container %s has not succeeded", probe, c.Name)
	if last := s.LastTerminationState.Terminated; last != nil {
		message += fmt.Sprintf("; restarted %d times, last exit: %s", s.RestartCount, Exit(last))
	}
	return trouble{2, "NotReady", message}
}

// Exit describes how a container ended, with its termination message.
func Exit(t *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("exit code %d (%s)", t.ExitCode, t.Reason)
	if t.Signal != 0 {
		text = fmt.Sprintf("signal %d (%s)", t.Signal, t.Reason)
	}
	if words := lastLines(t.Message); words != "" {
		text += said + strconv.Quote(words)
	}
	return text
}

// said stands before a container's termination message. With the policy
// FallbackToLogsOnError these are the last lines of its log: a pod's owner
// decides that way that they may be shown to who sees its status.
const said = ", it said: "

// WithoutWords removes the output of containers from a message, for places that
// more people can read than the status.
func WithoutWords(message string) string { return saidWords.ReplaceAllString(message, "") }

var saidWords = regexp.MustCompile(said + `"(?:[^"\\]|\\.)*"`)

// lastLines are the end of a text: at most five lines, and 500 bytes.
func lastLines(text string) string {
	const most, lines = 500, 5
	list := strings.Split(strings.TrimSpace(text), "\n")
	text = strings.Join(list[max(0, len(list)-lines):], "\n")
	return strings.ToValidUTF8(text[max(0, len(text)-most):], "")
}

// Trouble returns what keeps a pod from being Ready, as a person would look for
// it, and whether anything does. The reader may be nil.
func Trouble(p *corev1.Pod, reader object.Reader) (text string, found bool) {
	t := troubleOf(p, reader)
	return t.String(), t.gravity > 0
}

// PodCondition finds a condition of a pod; nil if it does not have it.
func PodCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Sidecar reports whether an init container runs beside the others.
func Sidecar(c *corev1.Container) bool {
	return ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
}
