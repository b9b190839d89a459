package podspec

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// Refers says to what kinds of objects of the API a pod refers.
type Refers struct {
	Secrets, ConfigMaps, Claims, Tokens, Bundles, ResourceClaims, Certificates bool
}

// References finds them, wherever in the spec they are: a source of volumes that
// is not known here is searched for references to Secrets like any other.
func References(spec *corev1.PodSpec) Refers {
	var r Refers
	r.Secrets = len(spec.ImagePullSecrets) > 0
	r.ResourceClaims = len(spec.ResourceClaims) > 0
	for i := range spec.Volumes {
		r.volume(&spec.Volumes[i].VolumeSource)
	}
	for i := range spec.InitContainers {
		r.env(spec.InitContainers[i].Env, spec.InitContainers[i].EnvFrom)
	}
	for i := range spec.Containers {
		r.env(spec.Containers[i].Env, spec.Containers[i].EnvFrom)
	}
	for i := range spec.EphemeralContainers {
		r.env(spec.EphemeralContainers[i].Env, spec.EphemeralContainers[i].EnvFrom)
	}
	return r
}

func (r *Refers) env(env []corev1.EnvVar, from []corev1.EnvFromSource) {
	for _, e := range env {
		if e.ValueFrom != nil {
			r.Secrets = r.Secrets || e.ValueFrom.SecretKeyRef != nil
			r.ConfigMaps = r.ConfigMaps || e.ValueFrom.ConfigMapKeyRef != nil
		}
	}
	for _, e := range from {
		r.Secrets = r.Secrets || e.SecretRef != nil
		r.ConfigMaps = r.ConfigMaps || e.ConfigMapRef != nil
	}
}

func (r *Refers) volume(v *corev1.VolumeSource) {
	r.Claims = r.Claims || v.PersistentVolumeClaim != nil || v.Ephemeral != nil
	r.ConfigMaps = r.ConfigMaps || v.ConfigMap != nil
	r.Secrets = r.Secrets || v.Secret != nil || v.AzureFile != nil && v.AzureFile.SecretName != "" || holdsSecretRef(reflect.ValueOf(v))
	if v.Projected == nil {
		return
	}
	for _, s := range v.Projected.Sources {
		r.Secrets = r.Secrets || s.Secret != nil
		r.ConfigMaps = r.ConfigMaps || s.ConfigMap != nil
		r.Tokens = r.Tokens || s.ServiceAccountToken != nil
		r.Bundles = r.Bundles || s.ClusterTrustBundle != nil
		r.Certificates = r.Certificates || s.PodCertificate != nil
	}
}

// holdsSecretRef reports whether a source of a volume has one of the fields by
// which drivers name a Secret, such as nodePublishSecretRef.
func holdsSecretRef(v reflect.Value) bool {
	if v.Kind() == reflect.Struct {
		for _, f := range v.Fields() {
			if f.Kind() == reflect.Pointer && holdsSecretRef(f) {
				return true
			}
		}
		return false
	}
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return false
	}
	switch ref := v.Interface().(type) {
	case *corev1.LocalObjectReference:
		return ref.Name != ""
	case *corev1.SecretReference:
		return ref.Name != ""
	}
	return holdsSecretRef(v.Elem())
}
