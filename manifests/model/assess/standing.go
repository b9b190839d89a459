package assess

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var podKind = schema.GroupKind{Kind: "Pod"}

// Standing judges whether containers stay up. Being Ready once does not show
// that: without a readiness probe a container is Ready as soon as it runs, even
// one that exits a moment later, again and again.
type Standing struct {
	Reader object.Reader
	// Since is when the judged commit was applied.
	Since, Now time.Time
	// Settle is how long a container without a readiness probe must run if
	// minReadySeconds is not set; Steady is how long one must run that has
	// ended since.
	Settle, Steady time.Duration

	// Brief leaves out why what is not Current is not, which costs most.
	Brief bool

	indexed object.Reader // Reader, asked once for each namespace
}

// Of judges as the function of that name, and judges what is Current by its
// containers as well. If these only have to run for longer, wait is how long.
func (s *Standing) Of(obj object.Object) (res health.Result, wait time.Duration) {
	if s.indexed == nil {
		s.indexed = health.Indexed(s.Reader)
	}
	if s.Brief {
		res = Of(obj, nil) // the status is the same
	} else {
		res = Of(obj, s.indexed)
	}
	if res.Status != health.Current {
		return res, 0
	}
	var pods []*corev1.Pod
	settle := s.Settle
	if k, ok := scheme.ForObject(obj); ok && k.Health.Pods != nil {
		if k.Health.MinReadySeconds != nil && k.Health.MinReadySeconds(obj) > 0 {
			settle = 0
		}
		pods = k.Health.Pods(obj, s.indexed, s.of)
	}
	message := ""
	for _, p := range pods {
		if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded {
			continue
		}
		why, left := s.pod(p, settle)
		if left > wait {
			wait = left
		}
		if message == "" && why != "" {
			message = "pod " + p.Name + ": " + why
		}
	}
	if message != "" {
		return health.Result{Status: health.InProgress, Message: message}, wait
	}
	return res, 0
}

// pod says which container does not stand yet, and how long it has to run on.
func (s *Standing) pod(p *corev1.Pod, settle time.Duration) (why string, left time.Duration) {
	for _, list := range [...][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			text, rest := s.container(&p.Spec, &list[i], settle)
			if text == "" {
				continue
			}
			if why == "" || rest > left {
				why = text
			}
			left = max(left, rest)
		}
	}
	return why, left
}

// container says why a container does not stand yet, if it does not, and how long it
// has to run on.
func (s *Standing) container(spec *corev1.PodSpec, status *corev1.ContainerStatus, settle time.Duration) (why string, left time.Duration) {
	c := standing(spec, status.Name)
	if c == nil {
		return "", 0
	}
	last, need := status.LastTerminationState.Terminated, time.Duration(0)
	ended := last != nil && !s.before(last)
	switch {
	case ended:
		need = s.Steady
	case c.ReadinessProbe == nil:
		need = settle
	}
	run := status.State.Running
	if need == 0 || run != nil && s.Now.Sub(run.StartedAt.Time) >= need {
		return "", 0
	}
	left = need
	if run != nil {
		left = run.StartedAt.Add(need).Sub(s.Now)
	}
	if ended {
		return fmt.Sprintf("container %s has ended and was restarted (%d times), last exit: %s", status.Name, status.RestartCount, health.Exit(last)), left
	}
	return fmt.Sprintf("container %s has no readiness probe and runs for less than %s", status.Name, settle), left
}

// standing is the container of that name if it is to run as long as its pod:
// init containers are not, but for sidecars.
func standing(spec *corev1.PodSpec, name string) *corev1.Container {
	for i := range spec.Containers {
		if spec.Containers[i].Name == name {
			return &spec.Containers[i]
		}
	}
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; c.Name == name && health.Sidecar(c) {
			return c
		}
	}
	return nil
}

// of are the pods of an owner.
func (s *Standing) of(owner object.Object) []*corev1.Pod {
	if s.indexed == nil {
		return nil
	}
	var pods []*corev1.Pod
	for _, o := range health.Dependents(s.indexed, podKind, owner) {
		if p, ok := o.(*corev1.Pod); ok {
			pods = append(pods, p)
		}
	}
	return pods
}
