package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

// The fields of a pod that its containers can be told, by the way of telling.
var (
	envFields    = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	volumeFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	// podFields is every field that the API can name at all.
	podFields = append([]string{"metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"}, envFields...)

	containerFields = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"}
)

func env(vars []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range vars {
		at := path.Index(i)
		if vars[i].Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, rule.Invalid(at.Child("name"), vars[i].Name, validation.IsRelaxedEnvVarName(vars[i].Name))...)
		}
		errs = append(errs, valueFrom(&vars[i], at.Child("valueFrom"))...)
	}
	return errs
}

func valueFrom(v *corev1.EnvVar, path *field.Path) field.ErrorList {
	from := v.ValueFrom
	if from == nil {
		return nil
	}
	var errs field.ErrorList
	sources := 0
	if from.FieldRef != nil {
		sources++
		errs = append(errs, fieldRef(from.FieldRef, envFields, path.Child("fieldRef"))...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		errs = append(errs, resourceFieldRef(from.ResourceFieldRef, false, path.Child("resourceFieldRef"))...)
	}
	if ref := from.ConfigMapKeyRef; ref != nil {
		sources++
		errs = append(errs, keyRef(ref.Name, ref.Key, path.Child("configMapKeyRef"))...)
	}
	if ref := from.SecretKeyRef; ref != nil {
		sources++
		errs = append(errs, keyRef(ref.Name, ref.Key, path.Child("secretKeyRef"))...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"))
	case v.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func keyRef(name, key string, path *field.Path) field.ErrorList {
	errs := rule.DNSSubdomain(name, path.Child("name"))
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, rule.Invalid(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func envFrom(list []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, from := range list {
		at := path.Index(i)
		if from.Prefix != "" {
			errs = append(errs, rule.Invalid(at.Child("prefix"), from.Prefix, validation.IsRelaxedEnvVarName(from.Prefix))...)
		}
		sources := 0
		if from.ConfigMapRef != nil {
			sources++
			errs = append(errs, rule.ObjectName(from.ConfigMapRef.Name, at.Child("configMapRef", "name"))...)
		}
		if from.SecretRef != nil {
			sources++
			errs = append(errs, rule.ObjectName(from.SecretRef.Name, at.Child("secretRef", "name"))...)
		}
		switch {
		case sources == 0:
			errs = append(errs, field.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
		case sources > 1:
			errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

func fieldRef(ref *corev1.ObjectFieldSelector, allowed []string, path *field.Path) field.ErrorList {
	if ref.APIVersion == "" {
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	}
	at := path.Child("fieldPath")
	if ref.FieldPath == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if ref.APIVersion != "v1" {
		return field.ErrorList{field.Invalid(at, ref.FieldPath, "error converting fieldPath: unsupported pod version: "+ref.APIVersion)}
	}
	if name, key, ok := subscript(ref.FieldPath); ok {
		return subscripted(name, key, path)
	}
	switch {
	case slices.Contains(allowed, ref.FieldPath):
		return nil
	case !slices.Contains(podFields, ref.FieldPath):
		return field.ErrorList{field.Invalid(at, ref.FieldPath, "error converting fieldPath: field label not supported: "+ref.FieldPath)}
	}
	return field.ErrorList{field.NotSupported(at, ref.FieldPath, allowed)}
}

// subscript splits metadata.labels['key'].
func subscript(path string) (name, key string, ok bool) {
	name, rest, found := strings.Cut(path, "['")
	if !found || !strings.HasSuffix(rest, "']") {
		return path, "", false
	}
	return name, strings.TrimSuffix(rest, "']"), true
}

func subscripted(name, key string, path *field.Path) field.ErrorList {
	switch name {
	case "metadata.annotations":
		return rule.Invalid(path, key, validation.IsQualifiedName(strings.ToLower(key)))
	case "metadata.labels":
		return rule.Invalid(path, key, validation.IsQualifiedName(key))
	}
	return field.ErrorList{field.Invalid(path, name, "does not support subscript")}
}

// resourceFieldRef needs a container's name in a volume, which belongs to all.
func resourceFieldRef(ref *corev1.ResourceFieldSelector, inVolume bool, path *field.Path) field.ErrorList {
	if inVolume && ref.ContainerName == "" {
		return field.ErrorList{field.Required(path.Child("containerName"), "")}
	}
	if ref.Resource == "" {
		return field.ErrorList{field.Required(path.Child("resource"), "")}
	}
	if !slices.Contains(containerFields, ref.Resource) &&
		!strings.HasPrefix(ref.Resource, "limits.hugepages-") && !strings.HasPrefix(ref.Resource, "requests.hugepages-") {
		return field.ErrorList{field.NotSupported(path.Child("resource"), ref.Resource, containerFields)}
	}
	return divisor(ref, path)
}

// divisor must be a unit in which the resource is given.
func divisor(ref *corev1.ResourceFieldSelector, path *field.Path) field.ErrorList {
	if ref.Divisor.IsZero() {
		return nil
	}
	units := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	values, of := strings.Join(units, ", "), "memory"
	switch {
	case strings.HasSuffix(ref.Resource, ".cpu"):
		units, values, of = []string{"1m", "1"}, "1m and 1", "cpu"
	case strings.HasSuffix(ref.Resource, ".ephemeral-storage"):
		of = "local ephemeral storage"
	case strings.Contains(ref.Resource, ".hugepages-"):
		of = "hugepages"
	}
	if slices.Contains(units, ref.Divisor.String()) {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("divisor"), ref.Resource,
		fmt.Sprintf("only divisor's values %s are supported with the %s resource", values, of))}
}
