package fill

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// PodSpec sets the defaults that pods and pod templates share.
func PodSpec(spec *corev1.PodSpec) {
	Zero(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	Zero(&spec.DNSPolicy, corev1.DNSClusterFirst)
	Zero(&spec.SchedulerName, corev1.DefaultSchedulerName)
	Unset(&spec.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	Unset(&spec.SecurityContext, corev1.PodSecurityContext{})
	// The old name and the new one always say the same; the new one wins.
	Zero(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	for i := range spec.Volumes {
		volume(&spec.Volumes[i])
	}
	for i := range spec.InitContainers {
		container(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		container(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		// The two types differ only in TargetContainerName, by definition.
		container((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	Milli(spec.Overhead)
	if spec.Resources != nil {
		Milli(spec.Resources.Limits)
		Milli(spec.Resources.Requests)
	}
}

// Milli rounds up to thousandths, the finest that the API keeps.
func Milli(list corev1.ResourceList) {
	for name, quantity := range list {
		if rounded := quantity.DeepCopy(); !rounded.RoundUp(resource.Milli) {
			list[name] = rounded
		}
	}
}
