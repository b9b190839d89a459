package podspec

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

// containerPortOf is the key of a container's port.
type containerPortOf struct {
	ContainerPort int32           `json:"containerPort"`
	Protocol      corev1.Protocol `json:"protocol"`
}

// spreadOf is the key of a topology spread constraint.
type spreadOf struct {
	TopologyKey       string                               `json:"topologyKey"`
	WhenUnsatisfiable corev1.UnsatisfiableConstraintAction `json:"whenUnsatisfiable"`
}

// Duplicates finds entries that a declared pod or template has twice in a list
// whose items are identified by a key.
func Duplicates(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := rule.Twice(path.Child("volumes"), "name", s.Volumes, func(v corev1.Volume) any { return v.Name })
	errs = append(errs, rule.Twice(path.Child("hostAliases"), "ip", s.HostAliases, func(h corev1.HostAlias) any { return h.IP })...)
	errs = append(errs, rule.Twice(path.Child("imagePullSecrets"), "name", s.ImagePullSecrets, func(r corev1.LocalObjectReference) any { return r.Name })...)
	errs = append(errs, rule.Twice(path.Child("resourceClaims"), "name", s.ResourceClaims, func(c corev1.PodResourceClaim) any { return c.Name })...)
	errs = append(errs, rule.Twice(path.Child("schedulingGates"), "name", s.SchedulingGates, func(g corev1.PodSchedulingGate) any { return g.Name })...)
	errs = append(errs, rule.Twice(path.Child("topologySpreadConstraints"), "", s.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) any {
		return spreadOf{c.TopologyKey, c.WhenUnsatisfiable}
	})...)
	errs = append(errs, containerDuplicates(path.Child("initContainers"), s.InitContainers)...)
	errs = append(errs, containerDuplicates(path.Child("containers"), s.Containers)...)
	var ephemeral []corev1.Container
	for _, c := range s.EphemeralContainers {
		ephemeral = append(ephemeral, corev1.Container(c.EphemeralContainerCommon))
	}
	return append(errs, containerDuplicates(path.Child("ephemeralContainers"), ephemeral)...)
}

func containerDuplicates(path *field.Path, containers []corev1.Container) field.ErrorList {
	errs := rule.Twice(path, "name", containers, func(c corev1.Container) any { return c.Name })
	for i, c := range containers {
		at := path.Index(i)
		errs = append(errs, rule.Twice(at.Child("env"), "name", c.Env, func(e corev1.EnvVar) any { return e.Name })...)
		errs = append(errs, rule.Twice(at.Child("ports"), "", c.Ports, func(p corev1.ContainerPort) any {
			return containerPortOf{p.ContainerPort, cmp.Or(p.Protocol, corev1.ProtocolTCP)}
		})...)
		errs = append(errs, rule.Twice(at.Child("volumeMounts"), "mountPath", c.VolumeMounts, func(m corev1.VolumeMount) any { return m.MountPath })...)
		errs = append(errs, rule.Twice(at.Child("volumeDevices"), "devicePath", c.VolumeDevices, func(d corev1.VolumeDevice) any { return d.DevicePath })...)
	}
	return errs
}
