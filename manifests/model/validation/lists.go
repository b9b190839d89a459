package validation

import (
	"cmp"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
)

// Duplicates finds what a manifest has twice in a list whose items are told
// apart by a key. The API stores some of them (of two variables of a name the
// last counts, with a warning), but server-side apply, by which manifests are
// applied, takes none: it could not say whose field an item is. The object is as
// it is declared, without defaults.
func Duplicates(obj object.Object) field.ErrorList {
	errs := twice(metadata.Child("finalizers"), "", obj.GetFinalizers(), func(f string) any { return f })
	errs = append(errs, twice(metadata.Child("ownerReferences"), "uid", obj.GetOwnerReferences(), func(r metav1.OwnerReference) any { return string(r.UID) })...)
	switch o := obj.(type) {
	case *corev1.Pod:
		return append(errs, podDuplicates(&o.Spec, spec)...)
	case *appsv1.Deployment:
		return append(errs, podDuplicates(&o.Spec.Template.Spec, spec.Child("template", "spec"))...)
	case *appsv1.ReplicaSet:
		return append(errs, podDuplicates(&o.Spec.Template.Spec, spec.Child("template", "spec"))...)
	case *corev1.Service:
		return append(errs, twice(spec.Child("ports"), "", o.Spec.Ports, func(p corev1.ServicePort) any { return portOf{p.Port, cmp.Or(p.Protocol, corev1.ProtocolTCP)} })...)
	case *corev1.ServiceAccount:
		return append(errs, twice(field.NewPath("secrets"), "name", o.Secrets, func(r corev1.ObjectReference) any { return r.Name })...)
	}
	return errs
}

// portOf is the key of a Service's port, in the API's form.
type portOf struct {
	Port     int32           `json:"port"`
	Protocol corev1.Protocol `json:"protocol"`
}

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

func podDuplicates(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := twice(path.Child("volumes"), "name", s.Volumes, func(v corev1.Volume) any { return v.Name })
	errs = append(errs, twice(path.Child("hostAliases"), "ip", s.HostAliases, func(h corev1.HostAlias) any { return h.IP })...)
	errs = append(errs, twice(path.Child("imagePullSecrets"), "name", s.ImagePullSecrets, func(r corev1.LocalObjectReference) any { return r.Name })...)
	errs = append(errs, twice(path.Child("resourceClaims"), "name", s.ResourceClaims, func(c corev1.PodResourceClaim) any { return c.Name })...)
	errs = append(errs, twice(path.Child("schedulingGates"), "name", s.SchedulingGates, func(g corev1.PodSchedulingGate) any { return g.Name })...)
	errs = append(errs, twice(path.Child("topologySpreadConstraints"), "", s.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) any {
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
	errs := twice(path, "name", containers, func(c corev1.Container) any { return c.Name })
	for i, c := range containers {
		at := path.Index(i)
		errs = append(errs, twice(at.Child("env"), "name", c.Env, func(e corev1.EnvVar) any { return e.Name })...)
		errs = append(errs, twice(at.Child("ports"), "", c.Ports, func(p corev1.ContainerPort) any {
			return containerPortOf{p.ContainerPort, cmp.Or(p.Protocol, corev1.ProtocolTCP)}
		})...)
		errs = append(errs, twice(at.Child("volumeMounts"), "mountPath", c.VolumeMounts, func(m corev1.VolumeMount) any { return m.MountPath })...)
		errs = append(errs, twice(at.Child("volumeDevices"), "devicePath", c.VolumeDevices, func(d corev1.VolumeDevice) any { return d.DevicePath })...)
	}
	return errs
}

// twice are the items of a list whose key an earlier one has; name is that of
// the key's field, if it is one.
func twice[T any](path *field.Path, name string, list []T, key func(T) any) field.ErrorList {
	if len(list) < 2 {
		return nil
	}
	var errs field.ErrorList
	seen := make(map[any]bool, len(list))
	for i, item := range list {
		at := path.Index(i)
		if name != "" {
			at = at.Child(name)
		}
		errs = append(errs, unique(seen, key(item), at)...)
	}
	return errs
}
