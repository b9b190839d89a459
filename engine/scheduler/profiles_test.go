package scheduler_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/engine/store"
)

// Each pod is scheduled by the profile of its name, in the name of which its events are,
// and one of which there is no profile is left alone.
func TestProfiles(t *testing.T) {
	c, err := profile.Read([]byte(`
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: packed
  plugins: {postFilter: {disabled: [{name: DefaultPreemption}]}}
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
- schedulerName: even
`))
	if err != nil {
		t.Fatal(err)
	}
	by := func(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.SchedulerName = name } }
	urgent := func(p *corev1.Pod) { p.Spec.Priority = new(int32(9)) }
	r := startWith(t, store.Options{}, func(s *scheduler.Scheduler) { s.Configuration = c }, append(nodeChanges("a", "4"), nodeChanges("b", "4")...)...)
	r.commit(podChange("there", "2", func(p *corev1.Pod) { p.Spec.NodeName = "a" }),
		podChange("nobodys", "1"), podChange("others", "1", by("other")), podChange("packed", "1", by("packed")))
	r.eventually("the packed one beside the one that is there", func() bool { return r.pod("packed").Spec.NodeName == "a" })
	r.commit(podChange("even", "1", by("even")))
	r.eventually("the even one elsewhere", func() bool { return r.pod("even").Spec.NodeName == "b" })
	r.commit(podChange("large", "4", by("packed"), urgent))
	r.eventually("that nobody leaves for a packed one", func() bool {
		return strings.HasSuffix(r.scheduled("large").Message, "0/2 nodes are available: 2 Insufficient cpu.")
	})
	for _, name := range []string{"nobodys", "others"} {
		if p := r.pod(name); p.Spec.NodeName != "" || len(p.Status.Conditions) > 0 {
			t.Errorf("%s, of which there is no profile: on %q, %+v", name, p.Spec.NodeName, p.Status.Conditions)
		}
	}
	r.commit(podChange("larger", "4", by("even"), urgent))
	r.eventually("that somebody leaves for an even one", func() bool {
		return slices.ContainsFunc(r.pod("even").Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.DisruptionTarget && c.Message == "even: preempting to accommodate a higher priority pod"
		})
	})
	from := func(reason, pod string) string {
		objs, _ := r.store.List(eventKind, "default")
		for _, o := range objs {
			if e, ok := o.(*corev1.Event); ok && e.Reason == reason && e.InvolvedObject.Name == pod {
				return e.Source.Component
			}
		}
		return ""
	}
	for pod, of := range map[string][2]string{"packed": {"Scheduled", "packed"}, "even": {"Scheduled", "even"}, "large": {"FailedScheduling", "packed"}, "larger": {"FailedScheduling", "even"}} {
		r.eventually("the event of "+pod, func() bool { return from(of[0], pod) == of[1] })
	}
}
