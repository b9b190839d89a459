package why_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/why"
	"headway.dev/syncer/wire"
)

func pod(name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "main", Image: "web:1"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func waits(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
}

func ended(code int32) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", Message: "no database"}
}

func runs(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
}

func isReady(p *corev1.Pod) {
	runs(p)
	p.Status.ContainerStatuses[0].Ready = true
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func lines(list []wire.WhyReason) (out []string) {
	for _, r := range list {
		text := r.Reason + ": " + r.Message
		if r.Count > 0 {
			text += fmt.Sprintf(" [%d: %s]", r.Count, strings.Join(r.Pods, " "))
		}
		out = append(out, strings.Join(append([]string{text}, r.Fixes...), " | "))
	}
	return out
}

// Each state of a pod has its reasons, in Kubernetes' words, and what would help.
func TestOfPod(t *testing.T) {
	const scheduled = "Scheduled: it has been bound to n1"
	const log = "read its log: headway kubectl logs -n shop p -c main"
	nodes := func(list ...wire.WhyNode) func() why.Placing {
		return func() why.Placing { return why.Placing{Message: "0/2 nodes are available", Nodes: list} }
	}
	full := func(name string, fixes ...string) wire.WhyNode {
		return wire.WhyNode{Node: name, Reasons: []string{"Insufficient cpu"}, Fixes: fixes}
	}
	fits := func(name string) wire.WhyNode { return wire.WhyNode{Node: name} }
	warning := func(reason, message string) *corev1.Event {
		return &corev1.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message}
	}
	for name, tc := range map[string]struct {
		pod   *corev1.Pod
		facts why.Facts
		want  []string
	}{
		"no room": {
			pod("p"),
			why.Facts{Place: nodes(full("n1", "needs 1 more CPU on n1", "uncordon n1"), full("n2", "add a toleration for a:NoSchedule"))},
			[]string{"Unschedulable: 0/2 nodes are available | needs 1 more CPU on n1; uncordon n1 | add a toleration for a:NoSchedule"},
		},
		"no nodes": {pod("p"), why.Facts{Place: nodes()}, []string{"Unschedulable: 0/2 nodes are available | add a node"}},
		"room by now": {
			pod("p"),
			why.Facts{Place: func() why.Placing { return why.Placing{Node: "n1"} }},
			[]string{"Unschedulable: there is room on n1, and it is about to get it"},
		},
		"others leave for it": {
			pod("p"),
			why.Facts{Place: func() why.Placing {
				return why.Placing{Node: "n1", Message: "preempting 1 victims", Nodes: []wire.WhyNode{full("n1", "needs 1 more CPU on n1")}}
			}},
			[]string{"Unschedulable: preempting 1 victims | wait until less important pods have left n1"},
		},
		"nodes are not for the caller": {
			pod("p", func(p *corev1.Pod) {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/9 nodes"}}
			}), why.Facts{}, []string{"Unschedulable: 0/9 nodes"},
		},
		"gates": {
			pod("p", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}, {Name: "b"}} }),
			why.Facts{},
			[]string{"SchedulingGated: Scheduling is blocked due to non-empty scheduling gates: a, b | whoever set the gates a, b removes them from spec.schedulingGates of the pod when it may run"},
		},
		"another scheduler": {
			pod("p", func(p *corev1.Pod) { p.Spec.SchedulerName = "mine" }),
			why.Facts{},
			[]string{`OtherScheduler: spec.schedulerName is "mine": Headway's scheduler has no profile of that name, and leaves the pod to that one | run the scheduler mine, start Headway with a profile of that name (--scheduler-config), or set spec.schedulerName to default-scheduler`},
		},
		"a profile of the scheduler": {
			pod("p", func(p *corev1.Pod) { p.Spec.SchedulerName = "packed" }),
			why.Facts{Schedulers: []string{"even", "packed"}, Place: nodes()},
			[]string{"Unschedulable: 0/2 nodes are available | add a node"},
		},
		"no profile for those that name none": {
			pod("p"),
			why.Facts{Schedulers: []string{"even", "packed"}},
			[]string{`OtherScheduler: spec.schedulerName is "default-scheduler": Headway's scheduler has no profile of that name, and leaves the pod to that one | run the scheduler default-scheduler, start Headway with a profile of that name (--scheduler-config), or set spec.schedulerName to even or packed`},
		},
		"an image that cannot be pulled": {
			pod("p", on("n1"), waits("ImagePullBackOff", "Back-off pulling image")),
			why.Facts{},
			[]string{"ImagePullBackOff: Back-off pulling image | correct spec.containers[name=main].image, which is web:1, or see that its registry is reached and lets the pod's spec.imagePullSecrets in", scheduled},
		},
		"an image that is not there": {
			pod("p", on("n1"), waits("ErrImageNeverPull", "not present")),
			why.Facts{},
			[]string{"ErrImageNeverPull: not present | load web:1 into the node with `headway image import`, or have spec.containers[name=main].imagePullPolicy pull it", scheduled},
		},
		"a reference to nothing": {
			pod("p", on("n1"), waits("CreateContainerConfigError", `secret "s" not found`)),
			why.Facts{},
			[]string{`CreateContainerConfigError: secret "s" not found | create what it refers to, or correct the reference`, scheduled},
		},
		"a volume that is not there": {
			pod("p", on("n1"), waits("ContainerCreating", "")),
			why.Facts{Events: []*corev1.Event{warning("FailedScheduling", "earlier"), warning("FailedMount", `configmap "c" not found`)}},
			[]string{`FailedMount: configmap "c" not found | create what the volume refers to, or correct spec.volumes`, scheduled},
		},
		"only the scheduler's event": {
			pod("p", on("n1"), waits("ContainerCreating", "")),
			why.Facts{Events: []*corev1.Event{warning("FailedScheduling", "earlier")}},
			[]string{"ContainerCreating: its node is preparing it", scheduled},
		},
		"a crash loop": {
			pod("p", on("n1"), waits("CrashLoopBackOff", "back-off 10s"), func(p *corev1.Pod) { p.Status.ContainerStatuses[0].LastTerminationState.Terminated = ended(3) }),
			why.Facts{},
			[]string{`CrashLoopBackOff: back-off 10s; last exit: exit code 3 (Error), it said: "no database" | ` + log + " --previous", scheduled},
		},
		"a program that is not there": {
			pod("p", on("n1"), waits("CrashLoopBackOff", "back-off 10s"), func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: "no such file"}
			}),
			why.Facts{},
			[]string{`CrashLoopBackOff: back-off 10s; last exit: exit code 128 (StartError), it said: "no such file" | correct spec.containers[name=main].command, or what else the message names: the program did not start, and has no log`, scheduled},
		},
		"too little memory": {
			pod("p", on("n1"), waits("CrashLoopBackOff", "back-off 10s"), func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"memory": resource.MustParse("16Mi")}
				p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}
			}),
			why.Facts{},
			[]string{`CrashLoopBackOff: back-off 10s; last exit: exit code 137 (OOMKilled) | raise spec.containers[name=main].resources.limits.memory, which is 16Mi, or have the program use less | ` + log + " --previous", scheduled},
		},
		"too little memory of the pod's": {
			pod("p", on("n1"), func(p *corev1.Pod) {
				p.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("1Gi")}}
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}}}
			}),
			why.Facts{},
			[]string{"OOMKilled: container main: exit code 137 (OOMKilled) | raise spec.resources.limits.memory, which is 1Gi, or have the program use less | " + log, scheduled},
		},
		"too little memory of the node's": {
			pod("p", on("n1"), func(p *corev1.Pod) {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}}}
			}),
			why.Facts{},
			[]string{"OOMKilled: container main: exit code 137 (OOMKilled) | have the program use less memory, or run it where there is more: it has no limit of its own | " + log, scheduled},
		},
		"a handler that the node does not have": {
			pod("p", on("n1"), waits("ContainerCreating", ""), func(p *corev1.Pod) { p.Spec.RuntimeClassName = new("kata") }),
			why.Facts{Events: []*corev1.Event{warning("FailedCreatePodSandBox", `no runtime for "kata" is configured`)}},
			[]string{`FailedCreatePodSandBox: no runtime for "kata" is configured | start Headway on n1 with --runtime-handler for the handler of RuntimeClass kata, or change spec.runtimeClassName`, scheduled},
		},
		"a failing probe": {
			pod("p", on("n1"), runs, func(p *corev1.Pod) { p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{} }),
			why.Facts{Events: []*corev1.Event{warning("Unhealthy", "Readiness probe failed: 503")}},
			[]string{"Unhealthy: Readiness probe of container main has not succeeded | have the program answer spec.containers[name=main].readinessProbe, or correct that | " + log, "Unhealthy: Readiness probe failed: 503", scheduled},
		},
		"a readiness gate": {
			pod("p", on("n1"), runs, func(p *corev1.Pod) { p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "lb"}} }),
			why.Facts{},
			[]string{"ReadinessGatesNotReady: the condition lb of its readiness gates is not True | whoever sets the condition lb has to; or remove it from spec.readinessGates", scheduled},
		},
		"an init container": {
			pod("p", on("n1"), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: "init"}}
				p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "init", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
			}),
			why.Facts{},
			[]string{"PodInitializing: init container init runs, and the others wait until it has ended | read its log: headway kubectl logs -n shop p -c init", scheduled},
		},
		"a node that is not ready": {
			pod("p", on("n1"), isReady),
			why.Facts{Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "silent"}}}}},
			[]string{"NodeNotReady: node n1 is not ready: silent | see that the agent of n1 runs and reaches the server", scheduled},
		},
		"a budget on a cordoned node": {
			pod("p", on("n1"), isReady),
			why.Facts{Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{Unschedulable: true}}, Budgets: []string{"web"}},
			[]string{"DisruptionBudget: PDB web allows no eviction, so that draining n1 waits | run more pods than PodDisruptionBudget web asks for, or have it ask for less", scheduled},
		},
		"the only node": {
			pod("p", on("n1"), isReady),
			why.Facts{Place: nodes(fits("n1"), full("n2", "x"))},
			[]string{scheduled + ": of 2 nodes, it is the only one that would take it"},
		},
		"one of some": {
			pod("p", on("n1"), isReady),
			why.Facts{Place: nodes(fits("n1"), fits("n2"), full("n3", "x"))},
			[]string{scheduled + ", one of 2 of 3 nodes that would take it; the scheduler took the one with the best score, which it does not look at again"},
		},
		"not any more": {
			pod("p", on("n1"), isReady),
			why.Facts{Place: nodes(fits("n2"), full("n1", "x"))},
			[]string{scheduled + ", which would not take it today; nothing moves a pod that runs"},
		},
		"evicted": {
			pod("p", on("n1"), func(p *corev1.Pod) {
				p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}
			}), why.Facts{}, []string{"Evicted: The node was low on resource: memory."},
		},
		"failed": {
			pod("p", on("n1"), func(p *corev1.Pod) {
				p.Status = corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: ended(1)}}}}
			}), why.Facts{}, []string{`Error: container main: exit code 1 (Error), it said: "no database" | ` + log},
		},
		"succeeded": {
			pod("p", on("n1"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), why.Facts{}, []string{"Completed: all its containers have ended with exit code 0"},
		},
		"deleted, with a finalizer": {
			pod("p", on("n1"), isReady, func(p *corev1.Pod) {
				p.DeletionTimestamp, p.Finalizers = &metav1.Time{}, []string{"a/b"}
			}), why.Facts{}, []string{"Terminating: it has been deleted, and its containers have until 0001-01-01T00:00:00Z to end; it stays until nobody waits for it any more: a/b | whoever set the finalizers a/b removes them when done", scheduled},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, lines(why.OfPod(tc.pod, tc.facts))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// What runs pods has reasons of its own.
func TestOfWorkload(t *testing.T) {
	const quota = `pods "web-x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1`
	const raise = " | raise the ResourceQuota that the message names, or have the pods ask for less"
	deployment := func(edit func(*appsv1.Deployment)) object.Object {
		d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: new(int32(2))}}
		edit(d)
		return d
	}
	refused := []*corev1.Event{{Type: corev1.EventTypeWarning, Reason: "FailedCreate", Message: "Error creating: " + quota}}
	for name, tc := range map[string]struct {
		obj    object.Object
		events []*corev1.Event
		want   []string
	}{
		"nothing":    {deployment(func(*appsv1.Deployment) {}), nil, nil},
		"no pods":    {deployment(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) }), nil, []string{"ScaledToZero: spec.replicas is 0: no pods are wanted | set spec.replicas to more than 0"}},
		"paused":     {deployment(func(d *appsv1.Deployment) { d.Spec.Paused = true }), nil, []string{"Paused: spec.paused is true: changes of its template wait | set spec.paused to false"}},
		"suspended":  {&batchv1.CronJob{Spec: batchv1.CronJobSpec{Suspend: new(true)}}, nil, []string{"Suspended: spec.suspend is true: it starts no pods | set spec.suspend to false"}},
		"job failed": {&batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit"}}}}, nil, []string{"BackoffLimitExceeded: Job has reached the specified backoff limit"}},
		"a job that failed by its policy, as it said before": {&batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, Reason: "PodFailurePolicy", Message: "exit code 42"},
			{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "PodFailurePolicy", Message: "exit code 42"},
		}}}, nil, []string{"PodFailurePolicy: exit code 42"}},
		"a job that is about to fail": {&batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, Reason: "DeadlineExceeded", Message: "too long"},
		}}}, nil, []string{"DeadlineExceeded: too long"}},
		"no account": {
			deployment(func(*appsv1.Deployment) {}),
			[]*corev1.Event{{Type: corev1.EventTypeWarning, Reason: "FailedCreate", Message: "error looking up service account shop/web"}},
			[]string{"FailedCreate: error looking up service account shop/web | create the ServiceAccount that the message names, or change spec.serviceAccountName of the template"},
		},
		"a quota": {deployment(func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: quota}}
		}), refused, []string{"FailedCreate: " + quota + raise}},
		"a job under a quota":       {&batchv1.Job{}, refused, []string{"FailedCreate: Error creating: " + quota + raise}},
		"a job that has its pods":   {&batchv1.Job{Status: batchv1.JobStatus{Active: 1}}, refused, nil},
		"a job whose trouble ended": {&batchv1.Job{}, append(slices.Clone(refused), &corev1.Event{Reason: "SuccessfulCreate"}), nil},
		"too slow": {deployment(func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "has timed out progressing."}}
		}), nil, []string{"ProgressDeadlineExceeded: has timed out progressing."}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, lines(why.OfWorkload(tc.obj, tc.events))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// The same reason of many pods is said once, the gravest first.
func TestTogether(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 25 {
		pods = append(pods, pod(fmt.Sprintf("run-%d", i), on("n1"), isReady))
	}
	pods = append(pods, pod("crash-1", on("n2"), waits("CrashLoopBackOff", "back-off restarting pod=crash-1")), pod("crash-2", on("n2"), waits("CrashLoopBackOff", "back-off restarting pod=crash-2")), pod("c"))
	got := why.Together(pods)
	var want []string
	for i, r := range got {
		if i < 3 {
			want = append(want, fmt.Sprintf("%s %d %s", r.Reason, r.Count, strings.Join(r.Pods, " ")))
		}
	}
	if d := cmp.Diff([]string{"Unschedulable 1 c", "CrashLoopBackOff 2 crash-1 crash-2"}, want[:2]); d != "" || len(got) != 4 {
		t.Errorf("%d reasons (-want +got):\n%s", len(got), d)
	}
	if r := got[2]; r.Reason != "Scheduled" || r.Count != 25 || len(r.Pods) != 20 {
		t.Errorf("the reason of 25 pods is %s of %d, %d named", r.Reason, r.Count, len(r.Pods))
	}
}

func TestIsField(t *testing.T) {
	for _, tc := range []struct {
		path, field string
		want        bool
	}{
		{"spec.containers[name=main].image", "spec.containers[name=main].image", true},
		{"spec.template.spec.containers[name=main].image", "spec.containers[name=main].image", true},
		{"spec.jobTemplate.spec.template.spec.containers[name=main].image", "spec.containers[name=main].image", true},
		{"spec.template.spec.containers[name=other].image", "spec.containers[name=main].image", false},
		{"spec.template.spec.containers[name=main].imagePullPolicy", "spec.containers[name=main].image", false},
		{"spec.template.spec.containers[name=x].resources.requests.cpu", "spec.containers[*].resources.requests.cpu", true},
		{"spec.template.spec.containers[name=x].resources.requests.memory", "spec.containers[*].resources.requests.cpu", false},
		{"spec.containers", "spec.containers[*].ports", false},
		{"spec.template.spec.tolerations[0].key", "spec.tolerations", true},
		{"myspec.tolerations", "spec.tolerations", false},
	} {
		if got := why.IsField(tc.path, tc.field); got != tc.want {
			t.Errorf("IsField(%q, %q) = %v", tc.path, tc.field, got)
		}
	}
}
