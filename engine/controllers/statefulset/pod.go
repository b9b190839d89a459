package statefulset

import (
	"regexp"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var named = regexp.MustCompile("^(.*)-([0-9]+)$")

// none is the number of a pod that has none.
const none = -1

// ordinal is a pod's number, none if its name is not made of the set's.
func ordinal(set *appsv1.StatefulSet, pod *corev1.Pod) int {
	parent, n := parse(pod.Name)
	if parent != set.Name {
		return none
	}
	return n
}

// parse returns what a pod's name is made of; its number is none if it has none.
func parse(name string) (parent string, n int) {
	parts := named.FindStringSubmatch(name)
	if parts == nil {
		return "", none
	}
	number, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil {
		return parts[1], none
	}
	return parts[1], int(number)
}

// newPod makes the pod of a number from a template.
func newPod(set *appsv1.StatefulSet, template *corev1.PodTemplateSpec, revision string, n int) *corev1.Pod {
	template = template.DeepCopy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: set.Namespace, Name: podName(set, n), GenerateName: set.Name + "-",
			Labels: template.Labels, Annotations: template.Annotations, Finalizers: template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{reference(set)},
		},
		Spec: template.Spec,
	}
	identify(pod, n)
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = revision
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, set.Spec.ServiceName
	pod.Spec.Volumes = volumesOf(set, pod.Spec.Volumes, n)
	return pod
}

// identify sets the labels that tell a pod's number.
func identify(pod *corev1.Pod, n int) {
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.StatefulSetPodNameLabel], pod.Labels[appsv1.PodIndexLabel] = pod.Name, strconv.Itoa(n)
}

// identified reports whether a pod has these labels.
func identified(pod *corev1.Pod, n int) bool {
	return pod.Labels[appsv1.StatefulSetPodNameLabel] == pod.Name && pod.Labels[appsv1.PodIndexLabel] == strconv.Itoa(n)
}

func podName(set *appsv1.StatefulSet, n int) string { return set.Name + "-" + strconv.Itoa(n) }

func reference(set *appsv1.StatefulSet) metav1.OwnerReference {
	return *metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
}

func revisionOf(pod *corev1.Pod) string { return pod.Labels[appsv1.ControllerRevisionHashLabelKey] }
