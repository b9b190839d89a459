package pod_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

func amounts(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list.DeepCopy(), Limits: list}
}

// sized gives the container app its resources.
func sized(cpu, memory string, policies ...corev1.ContainerResizePolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources, p.Spec.Containers[0].ResizePolicy = amounts(cpu, memory), policies
	}
}

// having is a container that was made with the resources of another pod.
func having(c runtime.Container, of *corev1.Pod) runtime.Container {
	cfg, err := pod.ContainerConfig(of, pod.Start{Container: of.Spec.Containers[0]}, nil, nil, 0)
	if err != nil {
		panic(err)
	}
	c.Labels[pod.LabelResources] = cfg.Labels[pod.LabelResources]
	return c
}

// in is what the machine has: a sandbox with the bounds of a pod, and containers.
func in(of *corev1.Pod, cs ...runtime.Container) runtime.Pod {
	o := observed(cs...)
	o.Sandbox.Resources = pod.Resources(of)
	o.Sandbox.Resources.PidsLimit = 4096
	return o
}

var memoryRestarts = corev1.ContainerResizePolicy{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}

// A running container gets what the pod is given, at once or by a restart.
func TestDecideResize(t *testing.T) {
	small := newPod(sized("1", "1Mi", memoryRestarts))
	for name, tc := range map[string]struct {
		pod      *corev1.Pod
		resizing pod.Resizing
		observed runtime.Pod
		want     []string
	}{
		"nothing to do": {small, pod.Resizing{}, in(small, having(alive("app", 0), small)), []string{}},
		"more CPU": {
			newPod(sized("2", "1Mi", memoryRestarts)),
			pod.Resizing{},
			in(small, having(alive("app", 0), small)),
			[]string{"resize pod to 200000/1048576, app-0 to 200000/1048576"},
		},
		"more memory": {
			newPod(sized("1", "2Mi", memoryRestarts)),
			pod.Resizing{},
			in(small, having(alive("app", 0), small)),
			[]string{"stop app-0 in 30s: Container app resize requires restart"},
		},
		"more memory without a restart": {
			newPod(sized("1", "2Mi")),
			pod.Resizing{},
			in(small, having(alive("app", 0), small)),
			[]string{"resize pod to 100000/2097152, app-0 to 100000/2097152"},
		},
		"stopped for it": {
			newPod(sized("1", "2Mi", memoryRestarts), policy(corev1.RestartPolicyOnFailure)),
			pod.Resizing{Generation: 2},
			in(small, again(having(dead("app", 0, 0, 10*time.Second, time.Second), small), "at-once")),
			[]string{"resize pod to 100000/2097152", "start app #1 wait 10s"},
		},
		"ended before": {
			newPod(sized("1", "2Mi", memoryRestarts), policy(corev1.RestartPolicyOnFailure), func(p *corev1.Pod) {
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "two", Image: "img:1"})
			}),
			pod.Resizing{Generation: 2},
			in(small, having(dead("app", 0, 0, 0, time.Minute), small), alive("two", 0)),
			[]string{"resize pod to 0/0"},
		},
		"the pod alone": {
			small,
			pod.Resizing{},
			in(newPod(sized("2", "1Mi")), having(alive("app", 0), small)),
			[]string{"resize pod to 100000/1048576"},
		},
		"later, after an error": {
			newPod(sized("2", "1Mi")), pod.Resizing{Failure: pod.Failure{Message: "no", RetryAt: now.Add(time.Second)}}, in(small, having(alive("app", 0), small)), []string{},
		},
		"a container of an older agent": {
			newPod(sized("2", "1Mi"), func(p *corev1.Pod) {
				r := amounts("1", "1Mi")
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ContainerID: "containerd://app-0", Resources: &r}}
			}),
			pod.Resizing{},
			in(small, alive("app", 0)),
			[]string{"resize pod to 200000/1048576, app-0 to 200000/1048576"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan := pod.Decide(pod.Input{Pod: tc.pod, Resize: tc.resizing, Observed: tc.observed, Now: now})
			if diff := cmp.Diff(tc.want, steps(plan)); diff != "" {
				t.Errorf("steps differ (-want +got):\n%s", diff)
			}
		})
	}
}

// The status says what a container has, what it is given, and how far it is.
func TestResizeStatus(t *testing.T) {
	small, wanted := newPod(sized("1", "1Mi")), newPod(sized("2", "1Mi"))
	conditions := func(s corev1.PodStatus) (list []corev1.PodCondition) {
		for _, c := range s.Conditions {
			if c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress {
				list = append(list, c)
			}
		}
		return list
	}
	running := in(small, having(alive("app", 0), small))
	stamp := metav1.NewTime(now)
	// The node has not got it.
	pending := pod.Pending{Reason: "Deferred", Message: "full", Generation: 2}
	plan := pod.Decide(pod.Input{Pod: small, Resize: pod.Resizing{Pending: &pending}, Observed: running, Now: now})
	if diff := cmp.Diff([]corev1.PodCondition{{
		Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: "Deferred", Message: "full", ObservedGeneration: 2, LastTransitionTime: stamp,
	}}, conditions(plan.Status)); diff != "" || plan.Resizing {
		t.Errorf("deferred, resizing %v (-want +got):\n%s", plan.Resizing, diff)
	}
	// It is given, and not carried out.
	failure := pod.Failure{Message: "cannot decrease memory limits: no"}
	plan = pod.Decide(pod.Input{Pod: wanted, Resize: pod.Resizing{Generation: 7, Failure: failure}, Observed: running, Now: now})
	if diff := cmp.Diff([]corev1.PodCondition{{
		Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue, Reason: "Error", Message: failure.Message, ObservedGeneration: 7, LastTransitionTime: stamp,
	}}, conditions(plan.Status)); diff != "" || !plan.Resizing {
		t.Errorf("in progress, resizing %v (-want +got):\n%s", plan.Resizing, diff)
	}
	s := plan.Status.ContainerStatuses[0]
	if s.AllocatedResources.Cpu().String() != "2" || s.Resources.Limits.Cpu().String() != "1" || s.Resources.Requests.Cpu().String() != "1" || plan.Status.ObservedGeneration != 2 {
		t.Errorf("in progress: allocated %v, actual %v, observed generation %d", s.AllocatedResources, s.Resources, plan.Status.ObservedGeneration)
	}
	// It is carried out: what the API says of it goes away.
	wanted.Status.Conditions = plan.Status.Conditions
	plan = pod.Decide(pod.Input{Pod: wanted, Observed: in(wanted, having(alive("app", 0), wanted)), Now: now})
	if list := conditions(plan.Status); len(list) > 0 || plan.Resizing {
		t.Errorf("done: %+v, resizing %v", list, plan.Resizing)
	}
	if got := plan.Status.ContainerStatuses[0].Resources.Limits.Cpu().String(); got != "2" {
		t.Errorf("done: the container has %s CPUs", got)
	}
}

func TestFits(t *testing.T) {
	node := &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("100Mi"), corev1.ResourcePods: resource.MustParse("10"),
	}}}
	// It is given less than it has still.
	shrinking := newPod(sized("1", "1Mi"), func(p *corev1.Pod) {
		r := amounts("2", "1Mi")
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", AllocatedResources: amounts("1", "1Mi").Requests, Resources: &r}}
	})
	for name, tc := range map[string]struct {
		cpu, memory string
		want        *pod.Pending
	}{
		"fits":            {"2", "99Mi", nil},
		"too much for it": {"5", "1Mi", &pod.Pending{Reason: "Infeasible", Message: "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000", Generation: 2}},
		"memory first":    {"5", "101Mi", &pod.Pending{Reason: "Infeasible", Message: "Node didn't have enough capacity: memory, requested: 105906176, capacity: 104857600", Generation: 2}},
		"too much now":    {"3", "1Mi", &pod.Pending{Reason: "Deferred", Message: "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000", Generation: 2}},
	} {
		if diff := cmp.Diff(tc.want, pod.Fits(newPod(sized(tc.cpu, tc.memory)), node, []*corev1.Pod{shrinking})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What asks for less comes first, then priority, class and who waits longer.
func TestResizesInOrder(t *testing.T) {
	given := pod.Allocate(newPod(sized("2", "1Mi")))
	named := func(name string, options ...func(*corev1.Pod)) *corev1.Pod {
		p := newPod(options...)
		p.Name = name
		return p
	}
	since := func(d time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, LastTransitionTime: metav1.NewTime(ago(d))}}
		}
	}
	burstable := func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = nil }
	pods := []*corev1.Pod{
		named("new", sized("3", "1Mi")), named("old", sized("3", "1Mi"), since(time.Hour)), named("older", sized("3", "1Mi"), since(2*time.Hour)),
		named("burstable", sized("3", "1Mi"), burstable, since(3*time.Hour)),
		named("important", sized("3", "1Mi"), func(p *corev1.Pod) { p.Spec.Priority = new(int32(5)) }), named("less", sized("1", "1Mi")),
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return pod.Before(a, b, given, given) })
	var got []string
	for _, p := range pods {
		got = append(got, p.Name)
	}
	if diff := cmp.Diff([]string{"less", "important", "older", "old", "new", "burstable"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// A new agent takes up what the API was told, and else what the containers have.
func TestRecall(t *testing.T) {
	small, wanted := newPod(sized("1", "1Mi")), newPod(sized("2", "1Mi"))
	r := amounts("1", "1Mi")
	told := func(allocated corev1.ResourceRequirements) *corev1.Pod {
		p := wanted.DeepCopy()
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ContainerID: "containerd://app-0", AllocatedResources: allocated.Requests, Resources: &r}}
		return p
	}
	for name, tc := range map[string]struct {
		pod      *corev1.Pod
		observed runtime.Pod
		want     string
	}{
		"deferred":        {told(amounts("1", "1Mi")), in(small, having(alive("app", 0), small)), "1"},
		"given":           {told(amounts("2", "1Mi")), in(small, having(alive("app", 0), small)), "2"},
		"nothing is told": {wanted, in(small, having(alive("app", 0), small)), "1"},
		"nothing is left": {told(amounts("1", "1Mi")), runtime.Pod{}, "1"},
		"it is new":       {wanted, runtime.Pod{}, "2"},
	} {
		given := pod.Recall(tc.pod, tc.observed)["app"]
		if got := given.Requests.Cpu().String(); got != tc.want {
			t.Errorf("%s: given %s CPUs, want %s", name, got, tc.want)
		}
	}
}
