package pod

import (
	corev1 "k8s.io/api/core/v1"
)

// describe writes what a container is, rather than how it is: identity, user,
// mounts and resources. The API remembers it of one that is gone.
func (d report) describe(s *corev1.ContainerStatus, v *view) {
	s.VolumeMounts = mountStatuses(v.spec.VolumeMounts)
	switch {
	case v.current != nil:
		s.ContainerID, s.ImageID = containerID(v.current.ID), v.current.ImageID
		if u := v.current.User; u != nil {
			s.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: u.UID, GID: u.GID, SupplementalGroups: u.Groups}}
		}
	case v.lost:
		s.ContainerID, s.ImageID, s.User = v.api.ContainerID, v.api.ImageID, v.api.User.DeepCopy()
	default:
		return
	}
	s.AllocatedResources = v.spec.Resources.Requests.DeepCopy()
	s.Resources = v.spec.Resources.DeepCopy()
	if v.spec.Lifecycle != nil {
		s.StopSignal = v.spec.Lifecycle.StopSignal
	}
}

// mountStatuses says of each mount how it is mounted. What lies below a
// read-only mount is never made read-only with it.
func mountStatuses(mounts []corev1.VolumeMount) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range mounts {
		status := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			status.RecursiveReadOnly = new(corev1.RecursiveReadOnlyDisabled)
		}
		out = append(out, status)
	}
	return out
}
