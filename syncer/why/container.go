package why

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/health"
	"headway.dev/syncer/wire"
)

// ofContainers is what keeps containers from running and from being ready.
func ofContainers(p *corev1.Pod) (list []found) {
	containers := slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
	for i, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		at := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == s.Name })
		if at < 0 {
			continue
		}
		init := i < len(p.Status.InitContainerStatuses)
		if r := ofContainer(p, &containers[at], s, init); r.Reason != "" {
			r.Container = s.Name
			list = append(list, r)
		}
	}
	return list
}

func ofContainer(p *corev1.Pod, c *corev1.Container, s corev1.ContainerStatus, init bool) found {
	field := "spec.containers[name=" + c.Name + "]"
	if init {
		field = "spec.initContainers[name=" + c.Name + "]"
	}
	logs := fmt.Sprintf("read its log: headway kubectl logs -n %s %s -c %s", p.Namespace, p.Name, c.Name)
	if w := s.State.Waiting; w != nil {
		return waiting(p, c, s, field, logs)
	}
	if t := s.State.Terminated; t != nil {
		if t.ExitCode == 0 && (init || p.Spec.RestartPolicy != corev1.RestartPolicyAlways) {
			return found{}
		}
		fixes, fields := mend(p, c, t, field, logs)
		return found{wire.WhyReason{Reason: t.Reason, Message: fmt.Sprintf("container %s: %s", s.Name, health.Exit(t)), Time: t.FinishedAt.Time, Fixes: fixes}, fields}
	}
	if s.State.Running == nil || s.Ready {
		return found{}
	}
	if init && !health.Sidecar(c) {
		return found{WhyReason: wire.WhyReason{Reason: "PodInitializing", Message: fmt.Sprintf("init container %s runs, and the others wait until it has ended", c.Name), Time: s.State.Running.StartedAt.Time, Fixes: []string{logs}}}
	}
	probe, of := "Readiness", ".readinessProbe"
	if c.StartupProbe != nil && !ptr.Deref(s.Started, false) {
		probe, of = "Startup", ".startupProbe"
	} else if c.ReadinessProbe == nil {
		return found{}
	}
	return found{wire.WhyReason{
		Reason: "Unhealthy", Message: fmt.Sprintf("%s probe of container %s has not succeeded", probe, c.Name), Time: s.State.Running.StartedAt.Time,
		Fixes: []string{fmt.Sprintf("have the program answer %s%s, or correct that", field, of), logs},
	}, []string{field + of}}
}

// program is what a container runs.
func program(field string) []string {
	return []string{field + ".image", field + ".command", field + ".args", field + ".env"}
}

// mend is what helps a container that ended as t tells, and which fields it is about.
func mend(p *corev1.Pod, c *corev1.Container, t *corev1.ContainerStateTerminated, field, logs string) (fixes, fields []string) {
	switch t.Reason {
	case "StartError", "ContainerCannotRun":
		return []string{"correct " + field + ".command, or what else the message names: the program did not start, and has no log"}, append(program(field), field+".workingDir")
	case "OOMKilled":
		limit, at := c.Resources.Limits.Memory(), field+".resources.limits.memory"
		if limit.IsZero() && p.Spec.Resources != nil {
			limit, at = p.Spec.Resources.Limits.Memory(), "spec.resources.limits.memory"
		}
		if limit.IsZero() {
			return []string{"have the program use less memory, or run it where there is more: it has no limit of its own", logs}, program(field)
		}
		return []string{fmt.Sprintf("raise %s, which is %s, or have the program use less", at, limit), logs}, []string{at}
	}
	return []string{logs}, program(field)
}

// waiting is why a container waits.
func waiting(p *corev1.Pod, c *corev1.Container, s corev1.ContainerStatus, field, logs string) found {
	w := s.State.Waiting
	r := found{WhyReason: wire.WhyReason{Reason: w.Reason, Message: w.Message}}
	switch w.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return found{}
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName":
		r.Fixes = []string{fmt.Sprintf("correct %s.image, which is %s, or see that its registry is reached and lets the pod's spec.imagePullSecrets in", field, c.Image)}
		r.fields = []string{field + ".image"}
	case "ErrImageNeverPull":
		r.Fixes = []string{fmt.Sprintf("load %s into the node with `headway image import`, or have %s.imagePullPolicy pull it", c.Image, field)}
		r.fields = []string{field + ".image", field + ".imagePullPolicy"}
	case "CreateContainerConfigError":
		r.Fixes = []string{"create what it refers to, or correct the reference"}
		r.fields = []string{field + ".env", field + ".envFrom", field + ".securityContext"}
	default:
		r.Fixes, r.fields = []string{logs}, program(field)
		if last := s.LastTerminationState.Terminated; last != nil {
			r.Message = strings.TrimPrefix(r.Message+"; last exit: "+health.Exit(last), "; ")
			r.Time = last.FinishedAt.Time
			r.Fixes, r.fields = mend(p, c, last, field, logs+" --previous")
		}
	}
	return r
}
