package plugins_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/kinds/scheduling"
	"headway.dev/manifests/model/object"
)

func priorityClass(name string, value int32, edit ...func(*schedulingv1.PriorityClass)) change.Change {
	c := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
	for _, e := range edit {
		e(c)
	}
	defaults.Apply(c)
	return change.Create(c, time.Now())
}

func asDefault(c *schedulingv1.PriorityClass) { c.GlobalDefault = true }

func podNamed(name string, edit func(*corev1.PodSpec)) change.Change {
	return change.Create(newPod(func(p *corev1.Pod) {
		p.Name = name
		edit(&p.Spec)
	}), time.Now())
}

func (c *cluster) spec(name string) corev1.PodSpec {
	c.t.Helper()
	pod, ok := c.store.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "shop", Name: name}).(*corev1.Pod)
	if !ok {
		c.t.Fatalf("there is no pod %s", name)
	}
	return pod.Spec
}

// The numbers of a pod are those of its class, which may come in the same
// transaction, and without a class those of the default.
func TestPriorities(t *testing.T) {
	c := start(t)
	c.must(shop())
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
		t.Run(name, func(t *testing.T) {
			wantError(t, name, c.commit(podNamed("web", test.edit)), apierrors.IsForbidden, test.want)
		})
	}
	check := func(pod, class string, value int32, policy corev1.PreemptionPolicy) {
		t.Helper()
		s := c.spec(pod)
		if s.PriorityClassName != class || s.Priority == nil || *s.Priority != value || s.PreemptionPolicy == nil || *s.PreemptionPolicy != policy {
			t.Errorf("%s has the class %q, priority %v, policy %v; want %q, %d, %s", pod, s.PriorityClassName, s.Priority, s.PreemptionPolicy, class, value, policy)
		}
	}
	c.must(podNamed("none", func(*corev1.PodSpec) {}))
	check("none", "", 0, corev1.PreemptLowerPriority)

	// In one transaction.
	c.must(priorityClass("batch", -5, func(c *schedulingv1.PriorityClass) { c.PreemptionPolicy = new(corev1.PreemptNever) }),
		podNamed("job", func(s *corev1.PodSpec) { s.PriorityClassName, s.Priority = "batch", new(int32(-5)) }))
	check("job", "batch", -5, corev1.PreemptNever)

	c.must(priorityClass("usual", 100, asDefault), podNamed("first", func(*corev1.PodSpec) {}))
	check("first", "usual", 100, corev1.PreemptLowerPriority)
	wantError(t, "another number", c.commit(podNamed("web", func(s *corev1.PodSpec) { s.PriorityClassName, s.Priority = "batch", new(int32(100)) })), apierrors.IsForbidden,
		"the integer value of priority (100) must not be provided in pod spec; priority admission controller computed -5 from the given PriorityClass name")
	check("none", "", 0, corev1.PreemptLowerPriority)
}

// Only one class is the default, also of one transaction, and those of every
// cluster are not deleted.
func TestPriorityClasses(t *testing.T) {
	c := start(t)
	const second = `priorityclasses.scheduling.k8s.io "b" is forbidden: PriorityClass a is already marked as default. Only one default can exist`
	wantError(t, "two in one transaction", c.commit(priorityClass("a", 1, asDefault), priorityClass("b", 2, asDefault)), apierrors.IsForbidden, second)
	c.must(priorityClass("a", 1, asDefault), priorityClass("b", 2))
	key := object.Key{GroupKind: schema.GroupKind{Group: schedulingv1.GroupName, Kind: "PriorityClass"}, Name: "b"}
	edit := func(key object.Key, to bool) change.Change {
		return change.Patch(key, func(obj object.Object) bool { obj.(*schedulingv1.PriorityClass).GlobalDefault = to; return true })
	}
	wantError(t, "an update", c.commit(edit(key, true)), apierrors.IsForbidden, second)
	first := key
	first.Name = "a"
	c.must(change.Patch(first, func(obj object.Object) bool { obj.(*schedulingv1.PriorityClass).Description = "x"; return true }))
	c.must(edit(first, false), edit(key, true))

	for _, class := range scheduling.SystemClasses() {
		c.must(change.Create(class, time.Now()))
		key.Name = class.Name
		wantError(t, "deletion", c.commit(change.Delete(key, metav1.DeleteOptions{}, time.Now())), apierrors.IsForbidden,
			`priorityclasses.scheduling.k8s.io "`+class.Name+`" is forbidden: this is a system priority class and cannot be deleted`)
	}
	c.must(shop(), podNamed("critical", func(s *corev1.PodSpec) { s.PriorityClassName = "system-node-critical" }))
	if s := c.spec("critical"); *s.Priority != 2000001000 {
		t.Errorf("system-node-critical is %d, want 2000001000", *s.Priority)
	}
}

// An update that leaves the numbers out keeps them.
func TestPriorityOfUpdates(t *testing.T) {
	c := start(t)
	c.must(shop(), podNamed("web", func(*corev1.PodSpec) {}))
	key := object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "shop", Name: "web"}
	c.must(change.Patch(key, func(obj object.Object) bool {
		pod := obj.(*corev1.Pod)
		pod.Labels = map[string]string{"a": "b"}
		pod.Spec.Priority, pod.Spec.PreemptionPolicy = nil, nil
		return true
	}))
	if s := c.spec("web"); s.Priority == nil || *s.Priority != 0 || s.PreemptionPolicy == nil {
		t.Errorf("after an update the priority is %v, the policy %v", s.Priority, s.PreemptionPolicy)
	}
}
