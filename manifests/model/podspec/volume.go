package podspec

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/storage/ephemeral"

	"headway.dev/manifests/model/rule"
)

// volumeSet is the names of the valid volumes of a pod.
type volumeSet map[string]bool

const fileModeMessage = "must be a number between 0 and 0777 (octal), both inclusive"

var hostPathTypes = []corev1.HostPathType{
	corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory, corev1.HostPathFileOrCreate,
	corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev,
}

func volumes(list []corev1.Volume, path *field.Path) (volumeSet, field.ErrorList) {
	valid := volumeSet{}
	var errs field.ErrorList
	for i := range list {
		v, at := &list[i], path.Index(i)
		found := volumeSource(&v.VolumeSource, at)
		if v.Name == "" {
			found = append(found, field.Required(at.Child("name"), ""))
		} else {
			found = append(found, rule.DNSLabel(v.Name, at.Child("name"))...)
		}
		if valid[v.Name] {
			found = append(found, field.Duplicate(at.Child("name"), v.Name))
		}
		if len(found) == 0 {
			valid[v.Name] = true
		}
		errs = append(errs, found...)
	}
	return valid, errs
}

func volumeSource(v *corev1.VolumeSource, path *field.Path) field.ErrorList {
	switch types := sourceTypes(v); len(types) {
	case 0:
		return field.ErrorList{field.Required(path, "must specify a volume type")}
	case 1:
	default:
		var errs field.ErrorList
		for _, name := range types[1:] {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 volume type"))
		}
		return errs
	}
	switch {
	case v.EmptyDir != nil:
		if size := v.EmptyDir.SizeLimit; size != nil && size.Sign() < 0 {
			return field.ErrorList{field.Forbidden(path.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity")}
		}
	case v.HostPath != nil:
		return hostPath(v.HostPath, path.Child("hostPath"))
	case v.Secret != nil:
		return keyedVolume(v.Secret.SecretName, "secretName", v.Secret.DefaultMode, v.Secret.Items, path.Child("secret"))
	case v.ConfigMap != nil:
		return keyedVolume(v.ConfigMap.Name, "name", v.ConfigMap.DefaultMode, v.ConfigMap.Items, path.Child("configMap"))
	case v.DownwardAPI != nil:
		at := path.Child("downwardAPI")
		return append(fileMode(v.DownwardAPI.DefaultMode, at.Child("defaultMode")), downwardFiles(v.DownwardAPI.Items, at)...)
	case v.Projected != nil:
		return projected(v.Projected, path.Child("projected"))
	case v.PersistentVolumeClaim != nil:
		if v.PersistentVolumeClaim.ClaimName == "" {
			return field.ErrorList{field.Required(path.Child("persistentVolumeClaim", "claimName"), "")}
		}
	case v.Ephemeral != nil:
		return ephemeralVolume(v.Ephemeral, path.Child("ephemeral"))
	}
	return nil
}

// sourceTypes returns the JSON names of the set sources, in the API's order.
func sourceTypes(source any) []string {
	var names []string
	value := reflect.ValueOf(source).Elem()
	for i := range value.NumField() {
		if !value.Field(i).IsNil() {
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

func hostPath(h *corev1.HostPathVolumeSource, path *field.Path) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(path.Child("path"), "")}
	}
	errs := noBacksteps(h.Path, path.Child("path"))
	if h.Type != nil && !slices.Contains(hostPathTypes, *h.Type) {
		sorted := slices.Clone(hostPathTypes)
		slices.Sort(sorted)
		errs = append(errs, field.NotSupported(path.Child("type"), h.Type, sorted))
	}
	return errs
}

func keyedVolume(name, nameField string, mode *int32, items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(path.Child(nameField), ""))
	}
	errs = append(errs, fileMode(mode, path.Child("defaultMode"))...)
	return append(errs, keys(items, path.Child("items"))...)
}

func keys(items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		at := path.Index(i)
		if item.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		}
		if item.Path == "" {
			errs = append(errs, field.Required(at.Child("path"), ""))
		}
		errs = append(errs, filePath(item.Path, at.Child("path"))...)
		errs = append(errs, fileMode(item.Mode, at.Child("mode"))...)
	}
	return errs
}

func downwardFiles(files []corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range files {
		// The API leaves the index out of these paths.
		f := &files[i]
		if f.Path == "" {
			errs = append(errs, field.Required(path.Child("path"), ""))
		}
		errs = append(errs, filePath(f.Path, path.Child("path"))...)
		switch {
		case f.FieldRef != nil:
			errs = append(errs, fieldRef(f.FieldRef, volumeFields, path.Child("fieldRef"))...)
			if f.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case f.ResourceFieldRef != nil:
			errs = append(errs, resourceFieldRef(f.ResourceFieldRef, true, path.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(path, "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, fileMode(f.Mode, path.Child("mode"))...)
	}
	return errs
}

func projected(p *corev1.ProjectedVolumeSource, path *field.Path) field.ErrorList {
	errs := fileMode(p.DefaultMode, path.Child("defaultMode"))
	for i := range p.Sources {
		s, at := &p.Sources[i], path.Child("sources").Index(i)
		if types := sourceTypes(s); len(types) > 1 {
			for _, name := range types[1:] {
				errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type per source"))
			}
			continue
		}
		switch {
		case s.Secret != nil:
			errs = append(errs, projectedKeys(s.Secret.Name, s.Secret.Items, at.Child("secret"))...)
		case s.ConfigMap != nil:
			errs = append(errs, projectedKeys(s.ConfigMap.Name, s.ConfigMap.Items, at.Child("configMap"))...)
		case s.DownwardAPI != nil:
			errs = append(errs, downwardFiles(s.DownwardAPI.Items, at.Child("downwardAPI"))...)
		case s.ServiceAccountToken != nil:
			if s.ServiceAccountToken.Path == "" {
				errs = append(errs, field.Required(at.Child("serviceAccountToken", "path"), ""))
			}
			if ttl := s.ServiceAccountToken.ExpirationSeconds; ttl != nil && *ttl < 10*60 {
				errs = append(errs, field.Invalid(at.Child("serviceAccountToken", "expirationSeconds"), *ttl, "may not specify a duration less than 10 minutes"))
			}
		}
	}
	return errs
}

func projectedKeys(name string, items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	return append(errs, keys(items, path.Child("items"))...)
}

func fileMode(mode *int32, path *field.Path) field.ErrorList {
	if mode == nil || *mode >= 0 && *mode <= 0o777 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *mode, fileModeMessage)}
}

// filePath stays below its directory and does not begin with "..", which the
// agent keeps for itself.
func filePath(value string, at *field.Path) field.ErrorList {
	errs := localPath(value, at)
	if strings.HasPrefix(value, "..") && !strings.HasPrefix(value, "../") {
		errs = append(errs, field.Invalid(at, value, "must not start with '..'"))
	}
	return errs
}

func localPath(value string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(value) {
		errs = append(errs, field.Invalid(at, value, "must be a relative path"))
	}
	return append(errs, noBacksteps(value, at)...)
}

func noBacksteps(value string, at *field.Path) field.ErrorList {
	if slices.Contains(strings.Split(value, "/"), "..") {
		return field.ErrorList{field.Invalid(at, value, "must not contain '..'")}
	}
	return nil
}

func volumeMounts(c *corev1.Container, mountable volumeSet, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	points := map[string]bool{}
	for i, m := range c.VolumeMounts {
		at := path.Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if !mountable[m.Name] {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if points[m.MountPath] {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		points[m.MountPath] = true
		// From here on the API leaves the index out of the paths.
		if m.SubPath != "" {
			errs = append(errs, localPath(m.SubPath, path.Child("subPath"))...)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
			}
			errs = append(errs, localPath(m.SubPathExpr, path.Child("subPathExpr"))...)
		}
		if m.MountPropagation != nil {
			errs = append(errs, propagation(*m.MountPropagation, c, path.Child("mountPropagation"))...)
		}
	}
	return errs
}

func propagation(mode corev1.MountPropagationMode, c *corev1.Container, path *field.Path) field.ErrorList {
	errs := rule.OneOf(mode, path, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
	privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
	if mode == corev1.MountPropagationBidirectional && !privileged {
		errs = append(errs, field.Forbidden(path, "Bidirectional mount propagation is available only to privileged containers"))
	}
	return errs
}

// HostPath is the rule about a directory or file of the node.
func HostPath(h *corev1.HostPathVolumeSource, path *field.Path) field.ErrorList {
	return hostPath(h, path)
}

// Claims calls see with the name of each claim that a pod's volumes name, and of those
// that are made for the pod itself.
func Claims(pod *corev1.Pod, see func(claim string)) {
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			see(v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			see(ephemeral.VolumeClaimName(pod, v))
		}
	}
}

// OwnVolume is the volume of a pod for which the claim of a name is made; nil if it is
// made for none.
func OwnVolume(pod *corev1.Pod, claim string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Ephemeral != nil && ephemeral.VolumeClaimName(pod, v) == claim {
			return v
		}
	}
	return nil
}

// OwnClaims validates the names of the claims that are made for a pod.
func OwnClaims(pod *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Ephemeral == nil || v.Name == "" || pod.Name == "" {
			continue // which is told elsewhere
		}
		name := ephemeral.VolumeClaimName(pod, v)
		for _, msg := range apivalidation.NameIsDNSSubdomain(name, false) {
			errs = append(errs, field.Invalid(path.Index(i).Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", name, msg)))
		}
	}
	return errs
}

func ephemeralVolume(e *corev1.EphemeralVolumeSource, path *field.Path) field.ErrorList {
	at := path.Child("volumeClaimTemplate")
	if e.VolumeClaimTemplate == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	meta := &e.VolumeClaimTemplate.ObjectMeta
	errs := apivalidation.ValidateAnnotations(meta.Annotations, at.Child("metadata", "annotations"))
	errs = append(errs, metavalidation.ValidateLabels(meta.Labels, at.Child("metadata", "labels"))...)
	// The claim has no more of the template.
	errs = append(errs, rule.Immutable(*meta, metav1.ObjectMeta{Labels: meta.Labels, Annotations: meta.Annotations}, at.Child("metadata"))...)
	return append(errs, rule.ClaimSpec(&e.VolumeClaimTemplate.Spec, at.Child("spec"))...)
}
