package fill

import (
	corev1 "k8s.io/api/core/v1"
)

// volume sets the defaults of the volume types that Headway mounts.
func volume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if v.HostPath != nil {
		Unset(&v.HostPath.Type, corev1.HostPathUnset)
	}
	if v.Secret != nil {
		Unset(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if v.ConfigMap != nil {
		Unset(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if v.DownwardAPI != nil {
		Unset(&v.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		downwardFiles(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		Unset(&v.Projected.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
		for i := range v.Projected.Sources {
			source := &v.Projected.Sources[i]
			if source.DownwardAPI != nil {
				downwardFiles(source.DownwardAPI.Items)
			}
			if source.ServiceAccountToken != nil {
				Unset(&source.ServiceAccountToken.ExpirationSeconds, 60*60)
			}
		}
	}
	if v.Image != nil {
		Zero(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		Unset(&v.Ephemeral.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	}
}

// Claim sets the defaults of a PersistentVolumeClaim, or of a template of claims.
func Claim(c *corev1.PersistentVolumeClaim) {
	Zero(&c.Status.Phase, corev1.ClaimPending)
	Unset(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
}

func downwardFiles(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		fieldRef(files[i].FieldRef)
	}
}
