package plugins_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/manifests/model/change"
)

func TestPriorities(t *testing.T) {
	c := start(t)
	c.must(shop())
	pod := func(edit func(*corev1.PodSpec)) change.Change {
		return change.Create(newPod(func(p *corev1.Pod) { edit(&p.Spec) }), time.Now())
	}
	for name, test := range map[string]struct {
		edit func(*corev1.PodSpec)
		want string
	}{
		"no such class": {func(s *corev1.PodSpec) { s.PriorityClassName = "urgent" }, `pods "web" is forbidden: no PriorityClass with name urgent was found`},
		"a number without a class": {
			func(s *corev1.PodSpec) { s.Priority = new(int32(7)) },
			`pods "web" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name`,
		},
		"a policy without a class": {
			func(s *corev1.PodSpec) { s.PreemptionPolicy = new(corev1.PreemptNever) },
			`pods "web" is forbidden: the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name`,
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, name, c.commit(pod(test.edit)), apierrors.IsForbidden, test.want) })
	}
	c.must(pod(func(s *corev1.PodSpec) {
		s.PriorityClassName, s.Priority = "system-node-critical", new(int32(2000001000))
	}))
}
