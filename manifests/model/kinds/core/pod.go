package core

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubectl/pkg/util/qos"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

var pod = kind.Define[corev1.Pod, corev1.PodList](kind.Definition[*corev1.Pod]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"),
		Plural:           "pods", Singular: "pod",
		ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true,
	},
	Order:        240,
	Status:       true,
	Subresources: []string{"binding", "eviction", "log", "exec", "attach", "portforward", "proxy"},
	Parts:        []kind.Part[*corev1.Pod]{ephemeralContainers, resize},
	REST:         kind.REST{ReturnsDeleted: true, StatusResets: []string{"metadata.deletionTimestamp", "metadata.ownerReferences"}},
	Default:      defaultPod,
	Lifecycle: kind.Lifecycle[*corev1.Pod]{
		Create: func(pod *corev1.Pod) {
			mergeLabelKeys(pod)
			pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qos.ComputePodQOS(pod)}
			if len(pod.Spec.SchedulingGates) > 0 {
				pod.Status.Conditions = []corev1.PodCondition{{
					Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
					Reason:  corev1.PodReasonSchedulingGated,
					Message: "Scheduling is blocked due to non-empty scheduling gates",
				}}
			}
		},
		Update: func(pod, old *corev1.Pod) {
			keepLabelKeys(pod, old)
			if pod.Spec.Resources == nil && old.Spec.Resources != nil {
				// The client may not know the field.
				pod.Spec.Resources = old.Spec.Resources.DeepCopy()
			}
			pod.Status = old.Status
		},
		UpdateStatus: func(pod, old *corev1.Pod) {
			pod.Spec = old.Spec
			pod.OwnerReferences = old.OwnerReferences
			if pod.Status.QOSClass == "" {
				pod.Status.QOSClass = old.Status.QOSClass
			}
		},
		Changed: func(pod, old *corev1.Pod) bool {
			if old.Spec.NodeName == "" && pod.Spec.NodeName != "" {
				// A binding is not a change of what the user asked for.
				bound := old.Spec
				bound.NodeName = pod.Spec.NodeName
				return kind.Differ(pod.Spec, bound)
			}
			return kind.Differ(pod.Spec, old.Spec)
		},
		Grace: gracePeriod,
	},
	// Most changes of a pod are of its status: its spec is in memory once, whatever
	// versions of it are kept for watchers.
	Copy: func(pod *corev1.Pod) *corev1.Pod {
		out := &corev1.Pod{TypeMeta: pod.TypeMeta, Spec: pod.Spec}
		pod.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
		pod.Status.DeepCopyInto(&out.Status)
		return out
	},
	Honours: podHonours,
	Rules: kind.Rules[*corev1.Pod]{
		Name:       apivalidation.NameIsDNSSubdomain,
		Object:     validatePod,
		Create:     validatePodCreate,
		Replaces:   validatePodUpdate,
		Status:     validatePodStatus,
		Duplicates: func(p *corev1.Pod) field.ErrorList { return podspec.Duplicates(&p.Spec, rule.Spec) },
	},
	Warnings: podWarnings,
	Table: kind.Table[*corev1.Pod]{
		Columns:    column.Define("Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"),
		Row:        podRow,
		Conditions: func(pod *corev1.Pod) []metav1.TableRowCondition { return endedConditions[pod.Status.Phase] },
	},
	Fields: kind.Fields[*corev1.Pod]{
		Names:   []string{"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"},
		Aliases: map[string]string{"spec.host": "spec.nodeName", "status.podIPs": "status.podIP"},
		Read: func(pod *corev1.Pod, into fields.Set) {
			into["spec.nodeName"] = pod.Spec.NodeName
			into["spec.restartPolicy"] = string(pod.Spec.RestartPolicy)
			into["spec.schedulerName"] = pod.Spec.SchedulerName
			into["spec.serviceAccountName"] = pod.Spec.ServiceAccountName
			into["spec.hostNetwork"] = strconv.FormatBool(pod.Spec.HostNetwork)
			into["status.phase"] = string(pod.Status.Phase)
			into["status.podIP"] = pod.Status.PodIP
			into["status.nominatedNodeName"] = pod.Status.NominatedNodeName
		},
		// Every agent follows the pods of its own node.
		Indexes: []kind.Index[*corev1.Pod]{{Field: "spec.nodeName", Value: func(pod *corev1.Pod) string { return pod.Spec.NodeName }}},
	},
	PodTemplate: func(pod *corev1.Pod) (*metav1.ObjectMeta, *corev1.PodSpec) { return &pod.ObjectMeta, &pod.Spec },
	Rollout:     podRollout,
	Health: kind.Health[*corev1.Pod]{
		Of: podHealth,
		Pods: func(pod *corev1.Pod, _ object.Reader, _ func(object.Object) []*corev1.Pod) []*corev1.Pod {
			return []*corev1.Pod{pod}
		},
	},
})

func podRollout(_ *corev1.Pod, edit kind.Edit) kind.Rollout {
	r := kind.Rollout{Pods: 1, InPlace: true}
	if slices.ContainsFunc(edit.Paths, func(path string) bool { return strings.Contains(path, ".resources") }) {
		r.Note = "the containers are resized while they run, or restarted where their resizePolicy says so"
	}
	if slices.ContainsFunc(edit.Paths, isImage) {
		r.Note = "the containers whose image changes are restarted in the same pod"
	}
	return r
}

func isImage(path string) bool {
	return strings.HasPrefix(path, "spec.") && strings.HasSuffix(path, ".image")
}

// gracePeriod is how many seconds a delete leaves pod: what the request asks
// for, else what the pod does; 0 for one that runs nowhere or has ended, as no
// agent would take it away.
func gracePeriod(pod *corev1.Pod, opts metav1.DeleteOptions) int64 {
	phase := pod.Status.Phase
	if pod.Spec.NodeName == "" || phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		return 0
	}
	seconds := opts.GracePeriodSeconds
	if seconds == nil {
		seconds = pod.Spec.TerminationGracePeriodSeconds
	}
	switch {
	case seconds == nil:
		return 0
	case *seconds < 0:
		return 1
	}
	return *seconds
}

func podHealth(p *corev1.Pod, reader object.Reader) health.Result {
	because := func(status health.Status, message string) health.Result {
		if why, found := health.Trouble(p, reader); found {
			message = why
		}
		return health.Result{Status: status, Message: message}
	}
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		return health.Result{Status: health.Current, Message: "Pod has completed successfully"}
	case corev1.PodFailed:
		return because(health.Failed, "Pod has completed, but not successfully")
	case corev1.PodRunning:
		if ready := health.PodCondition(p, corev1.PodReady); ready != nil && ready.Status == corev1.ConditionTrue {
			return health.Result{Status: health.Current, Message: "Pod is Ready"}
		}
		return because(health.InProgress, "Pod is running but is not Ready")
	case corev1.PodPending:
		return because(health.InProgress, "Pod is in the Pending phase")
	case corev1.PodUnknown:
	}
	return health.Result{Status: health.InProgress, Message: "Pod phase not available"}
}

// podWarnings are about new pods only, as in Kubernetes: few people edit one.
func podWarnings(pod, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	var told []string
	if faults := validation.IsDNS1123Label(pod.Name); len(faults) > 0 {
		told = append(told, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", faults))
	}
	return append(told, podspec.Warnings(&pod.ObjectMeta, &pod.Spec, nil)...)
}
