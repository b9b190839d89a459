package podspec

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
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

// Need is something without which a pod is not made, or waits before it starts.
type Need struct {
	// Kind and Name are of an object in the pod's namespace, or of a class.
	Kind, Name string
	// Key is the entry of a ConfigMap or Secret that is needed; empty: the object is enough.
	Key string
	// Field is the one of the pod that says so.
	Field *field.Path
}

// Needs are what a pod names and cannot do without: what is optional is none, and neither
// are Secrets with credentials for registries, without which images may still be pulled.
func Needs(spec *corev1.PodSpec, path *field.Path) []Need {
	n := needs{}
	n.add("ServiceAccount", spec.ServiceAccountName, "", path.Child("serviceAccountName"))
	n.add("PriorityClass", spec.PriorityClassName, "", path.Child("priorityClassName"))
	if spec.RuntimeClassName != nil {
		n.add("RuntimeClass", *spec.RuntimeClassName, "", path.Child("runtimeClassName"))
	}
	for i := range spec.Volumes {
		n.volume(&spec.Volumes[i].VolumeSource, path.Child("volumes").Index(i))
	}
	for i := range spec.InitContainers {
		n.env(spec.InitContainers[i].Env, spec.InitContainers[i].EnvFrom, path.Child("initContainers").Index(i))
	}
	for i := range spec.Containers {
		n.env(spec.Containers[i].Env, spec.Containers[i].EnvFrom, path.Child("containers").Index(i))
	}
	return n.list
}

type needs struct{ list []Need }

func (n *needs) add(kind, name, key string, path *field.Path) {
	if name != "" {
		n.list = append(n.list, Need{kind, name, key, path})
	}
}

// unless adds what is not optional.
func (n *needs) unless(optional *bool, kind, name, key string, path *field.Path) {
	if optional == nil || !*optional {
		n.add(kind, name, key, path)
	}
}

func (n *needs) env(vars []corev1.EnvVar, from []corev1.EnvFromSource, path *field.Path) {
	for i, v := range vars {
		if v.ValueFrom == nil {
			continue
		}
		at := path.Child("env").Index(i).Child("valueFrom")
		if ref := v.ValueFrom.ConfigMapKeyRef; ref != nil {
			n.unless(ref.Optional, "ConfigMap", ref.Name, ref.Key, at.Child("configMapKeyRef"))
		}
		if ref := v.ValueFrom.SecretKeyRef; ref != nil {
			n.unless(ref.Optional, "Secret", ref.Name, ref.Key, at.Child("secretKeyRef"))
		}
	}
	for i, f := range from {
		at := path.Child("envFrom").Index(i)
		if ref := f.ConfigMapRef; ref != nil {
			n.unless(ref.Optional, "ConfigMap", ref.Name, "", at.Child("configMapRef"))
		}
		if ref := f.SecretRef; ref != nil {
			n.unless(ref.Optional, "Secret", ref.Name, "", at.Child("secretRef"))
		}
	}
}

func (n *needs) volume(v *corev1.VolumeSource, path *field.Path) {
	if c := v.PersistentVolumeClaim; c != nil {
		n.add("PersistentVolumeClaim", c.ClaimName, "", path.Child("persistentVolumeClaim", "claimName"))
	}
	if c := v.ConfigMap; c != nil {
		n.items(c.Optional, "ConfigMap", c.Name, c.Items, path.Child("configMap"))
	}
	if s := v.Secret; s != nil {
		n.items(s.Optional, "Secret", s.SecretName, s.Items, path.Child("secret"))
	}
	if v.Projected == nil {
		return
	}
	for i, s := range v.Projected.Sources {
		at := path.Child("projected", "sources").Index(i)
		if c := s.ConfigMap; c != nil {
			n.items(c.Optional, "ConfigMap", c.Name, c.Items, at.Child("configMap"))
		}
		if c := s.Secret; c != nil {
			n.items(c.Optional, "Secret", c.Name, c.Items, at.Child("secret"))
		}
	}
}

// items adds the entries that are named, or the object alone: then all entries there are
// will do.
func (n *needs) items(optional *bool, kind, name string, items []corev1.KeyToPath, path *field.Path) {
	if len(items) == 0 {
		n.unless(optional, kind, name, "", path)
	}
	for i, item := range items {
		n.unless(optional, kind, name, item.Key, path.Child("items").Index(i).Child("key"))
	}
}
