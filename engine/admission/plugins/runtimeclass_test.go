package plugins_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/admission/plugins"
	"headway.dev/manifests/model/change"
)

func runtimeClass(name string, edit func(*nodev1.RuntimeClass)) change.Change {
	c := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: name}
	edit(c)
	return change.Create(c, time.Now())
}

func cpus(q string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
}

// A pod gets the overhead of its class, and goes where that is; what it says of its own
// must agree.
func TestRuntimeClass(t *testing.T) {
	c := start(t)
	c.must(shop(), runtimeClass("plain", func(*nodev1.RuntimeClass) {}),
		runtimeClass("kata", func(c *nodev1.RuntimeClass) {
			c.Overhead = &nodev1.Overhead{PodFixed: cpus("250m")}
			c.Scheduling = &nodev1.Scheduling{NodeSelector: map[string]string{"boxed": "yes"}, Tolerations: []corev1.Toleration{{Key: "boxed", Operator: corev1.TolerationOpExists}}}
		}))
	named := func(name string, edit ...func(*corev1.PodSpec)) func(*corev1.PodSpec) {
		return func(s *corev1.PodSpec) {
			s.RuntimeClassName = &name
			for _, e := range edit {
				e(s)
			}
		}
	}
	empty := func(s *corev1.PodSpec) { s.Overhead = corev1.ResourceList{} }
	overhead := func(q string) func(*corev1.PodSpec) { return func(s *corev1.PodSpec) { s.Overhead = cpus(q) } }
	const differs = `pods "web" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead`
	const without = `pods "web" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead`
	for name, test := range map[string]struct {
		edit func(*corev1.PodSpec)
		want string
	}{
		"no such class":               {named("gvisor"), `pods "web" is forbidden: pod rejected: RuntimeClass "gvisor" not found`},
		"another overhead":            {named("kata", overhead("1")), differs},
		"an overhead of its own":      {named("plain", overhead("1")), without},
		"an overhead without a class": {overhead("1"), without},
		"no overhead, where there is": {named("kata", empty), differs},
		"an empty overhead":           {empty, without},
		"an empty one of a class":     {named("plain", empty), without},
		"a selector that excludes the nodes": {
			named("kata", func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"boxed": "no"} }),
			`pods "web" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[boxed] = yes; pod.spec.nodeSelector[boxed] = no`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, name, c.commit(podNamed("web", test.edit)), apierrors.IsForbidden, test.want)
		})
	}

	c.must(podNamed("plain", named("plain")), podNamed("bare", named("kata")), podNamed("agrees", named("kata", overhead("0.25"), func(s *corev1.PodSpec) {
		s.NodeSelector = map[string]string{"zone": "a", "boxed": "yes"}
		s.Tolerations = []corev1.Toleration{
			{Key: "other", Operator: corev1.TolerationOpExists},
			{Key: "boxed", Operator: corev1.TolerationOpEqual, Value: "yes", Effect: corev1.TaintEffectNoSchedule},
			{Key: "by", Value: "operator", Effect: corev1.TaintEffectNoSchedule},
			{Key: "by", Operator: corev1.TolerationOpEqual, Value: "operator"},
		}
	})), runtimeClass("late", func(c *nodev1.RuntimeClass) { c.Overhead = &nodev1.Overhead{PodFixed: cpus("1")} }), podNamed("together", named("late")))
	type got struct {
		CPU         string
		Selector    map[string]string
		Tolerations []string
	}
	for name, want := range map[string]got{
		"plain":    {CPU: "0"},
		"bare":     {CPU: "250m", Selector: map[string]string{"boxed": "yes"}, Tolerations: []string{"boxed"}},
		"agrees":   {CPU: "250m", Selector: map[string]string{"boxed": "yes", "zone": "a"}, Tolerations: []string{"other", "by", "by", "boxed"}},
		"together": {CPU: "1"},
	} {
		s := c.spec(name)
		has := got{CPU: s.Overhead.Cpu().String(), Selector: s.NodeSelector}
		for _, toleration := range s.Tolerations {
			if toleration.Effect != corev1.TaintEffectNoExecute { // those that every pod gets
				has.Tolerations = append(has.Tolerations, toleration.Key)
			}
		}
		if d := cmp.Diff(want, has); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// What the scheduler would see of a pod is told without making it.
func TestScheduled(t *testing.T) {
	c := start(t)
	c.must(shop(), priorityClass("high", 7), runtimeClass("kata", func(c *nodev1.RuntimeClass) { c.Overhead = &nodev1.Overhead{PodFixed: cpus("250m")} }))
	template := newPod(func(p *corev1.Pod) { p.Spec.PriorityClassName, p.Spec.RuntimeClassName = "high", new("kata") })
	got, err := plugins.Scheduled(t.Context(), c.store, template)
	if err != nil || *got.Spec.Priority != 7 || got.Spec.Overhead.Cpu().String() != "250m" || template.Spec.Priority != nil {
		t.Errorf("Scheduled = %+v, %v; want priority 7 and the overhead 250m, and the template unchanged", got, err)
	}
	if _, err := plugins.Scheduled(t.Context(), c.store, newPod(func(p *corev1.Pod) { p.Spec.PriorityClassName = "low" })); err == nil {
		t.Error("a class that does not exist is none")
	}
}
