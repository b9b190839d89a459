package rule

import (
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
		errs = append(errs, NotSupported(mode, path, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)...)
		pod, others = pod || mode == corev1.ReadWriteOncePod, others || mode != corev1.ReadWriteOncePod
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
