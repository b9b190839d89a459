package rule

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ClaimSpec validates what a claim, or a template of claims, asks for.
func ClaimSpec(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(path.Child("accessModes"), "at least 1 access mode is required"))
	}
	if s.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
	}
	errs = append(errs, AccessModes(s.AccessModes, path.Child("accessModes"))...)
	at := path.Child("resources").Key(string(corev1.ResourceStorage))
	if size, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(at, ""))
	} else if size.Sign() <= 0 {
		errs = append(errs, field.Invalid(at, size.String(), "must be greater than zero"))
	}
	if name := s.StorageClassName; name != nil && *name != "" {
		errs = append(errs, DNSSubdomain(*name, path.Child("storageClassName"))...)
	}
	return append(errs, VolumeMode(s.VolumeMode, path.Child("volumeMode"))...)
}

// AccessModes validates those of a claim or a volume.
func AccessModes(modes []corev1.PersistentVolumeAccessMode, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	pod, others := false, false
	for _, mode := range modes {
		unknown := NotSupported(mode, path, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		errs = append(errs, unknown...)
		pod, others = pod || mode == corev1.ReadWriteOncePod, others || mode != corev1.ReadWriteOncePod && len(unknown) == 0
	}
	if pod && others {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// VolumeMode validates that of a claim or a volume.
func VolumeMode(mode *corev1.PersistentVolumeMode, path *field.Path) field.ErrorList {
	if mode == nil {
		return nil
	}
	return NotSupported(*mode, path, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
}

// Amounts requires that amounts are not negative.
func Amounts(amounts corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		if n := amounts[name]; n.Value() < 0 {
			errs = append(errs, field.Invalid(path.Key(string(name)), n.Value(), "must be a valid resource quantity"))
		}
	}
	return errs
}

// ClaimWarnings tells what of a claim, or of a template of claims, is hardly meant.
func ClaimWarnings(s *corev1.PersistentVolumeClaimSpec, path *field.Path) []string {
	size, ok := s.Resources.Requests[corev1.ResourceStorage]
	if !ok || size.MilliValue()%1000 == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", path.Child("resources", "requests").Key("storage"), size.String())}
}

// OldAnnotations tells of those that fields have replaced.
func OldAnnotations(annotations map[string]string, old map[string]string) []string {
	var told []string
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, has := annotations[name]; has {
			told = append(told, fmt.Sprintf("%s: %s", Metadata.Child("annotations").Key(name), old[name]))
		}
	}
	return told
}
