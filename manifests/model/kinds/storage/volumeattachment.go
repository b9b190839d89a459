package storage

import (
	"math"
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

// volumeAttachment asks an attacher, which is a program beside a CSI driver, to attach a
// volume to a node. Headway's own volumes are where their pods are and need none.
// https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/volume-attachment-v1/
var volumeAttachment = kind.Define[storagev1.VolumeAttachment, storagev1.VolumeAttachmentList](kind.Definition[*storagev1.VolumeAttachment]{
	Names: kind.Names{
		GroupVersionKind: storagev1.SchemeGroupVersion.WithKind("VolumeAttachment"),
		Plural:           "volumeattachments", Singular: "volumeattachment",
	},
	Status: true,
	Order:  228,
	REST:   kind.REST{ReturnsDeleted: true, VersionRequired: true, StatusResets: []string{"metadata"}},
	Lifecycle: kind.Lifecycle[*storagev1.VolumeAttachment]{
		Create: func(a *storagev1.VolumeAttachment) { a.Status = storagev1.VolumeAttachmentStatus{} },
		Update: func(a, old *storagev1.VolumeAttachment) { a.Status = old.Status },
		UpdateStatus: func(a, old *storagev1.VolumeAttachment) {
			kind.KeepMeta(&a.ObjectMeta, &old.ObjectMeta)
			a.Spec = old.Spec
		},
	},
	Honours: honour.Types{
		honour.Of[storagev1.VolumeAttachment]():     {Honoured: "TypeMeta metadata spec status"},
		honour.Of[storagev1.VolumeAttachmentSpec](): {Honoured: "attacher source nodeName"},
		honour.Of[storagev1.VolumeAttachmentSource](): {
			Honoured: "persistentVolumeName",
			Rules:    map[string]*honour.Rule{"inlineVolumeSpec": honour.NotServed("volumes of pods are not moved to CSI drivers; name a PersistentVolume")},
		},
	},
	Rules: kind.Rules[*storagev1.VolumeAttachment]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateAttachment,
		Create: validateNewAttachment,
		Update: func(a, old *storagev1.VolumeAttachment) field.ErrorList {
			return rule.Immutable(a.Spec, old.Spec, rule.Spec)
		},
		Status: func(a, _ *storagev1.VolumeAttachment) field.ErrorList { return validateAttachmentStatus(&a.Status) },
	},
	Table: kind.Table[*storagev1.VolumeAttachment]{
		Columns: column.Define("Name", "Attacher", "PV", "Node", "?Attached", "Age"),
		Row: func(a *storagev1.VolumeAttachment, now time.Time) []any {
			volume := ""
			if a.Spec.Source.PersistentVolumeName != nil {
				volume = *a.Spec.Source.PersistentVolumeName
			}
			return []any{a.Name, a.Spec.Attacher, volume, a.Spec.NodeName, a.Status.Attached, column.Age(a, now)}
		},
	},
	Health: kind.Health[*storagev1.VolumeAttachment]{Of: attachmentHealth},
})

// attachmentHealth is kstatus', to which an attachment is Current as soon as it exists.
func attachmentHealth(*storagev1.VolumeAttachment, object.Reader) health.Result {
	return health.Result{Status: health.Current, Message: "Resource is current"}
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	var errs field.ErrorList
	if a.Spec.Attacher == "" {
		errs = append(errs, field.Required(rule.Spec.Child("attacher"), ""))
	}
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	source, path := a.Spec.Source, rule.Spec.Child("source")
	switch {
	case source.InlineVolumeSpec == nil && source.PersistentVolumeName == nil:
		errs = append(errs, field.Required(path, one))
	case source.InlineVolumeSpec != nil && source.PersistentVolumeName != nil:
		errs = append(errs, field.Forbidden(path, one))
	case source.PersistentVolumeName != nil && *source.PersistentVolumeName == "":
		errs = append(errs, field.Required(path.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	}
	return append(errs, rule.Invalid(rule.Spec.Child("nodeName"), a.Spec.NodeName, apivalidation.NameIsDNSSubdomain(a.Spec.NodeName, false))...)
}

// mostDriverName bounds the names of CSI drivers, in bytes, as the specification of CSI does.
const mostDriverName = 63

func validateNewAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	var errs field.ErrorList
	if name, path := a.Spec.Attacher, rule.Spec.Child("attacher"); name != "" {
		if len(name) > mostDriverName {
			errs = append(errs, field.TooLong(path, "", mostDriverName))
		}
		errs = append(errs, rule.Invalid(path, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
	}
	if name := a.Spec.Source.PersistentVolumeName; name != nil && *name != "" {
		errs = append(errs, rule.Invalid(rule.Spec.Child("source", "persistentVolumeName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))...)
	}
	return errs
}

const (
	mostAttachmentMetadata = 256 * 1024
	mostAttachmentMessage  = 1024
)

func validateAttachmentStatus(s *storagev1.VolumeAttachmentStatus) field.ErrorList {
	path := field.NewPath("status")
	var errs field.ErrorList
	size := 0
	for k, v := range s.AttachmentMetadata {
		size += len(k) + len(v)
	}
	if size > mostAttachmentMetadata {
		errs = append(errs, field.TooLong(path.Child("attachmentMetadata"), "", mostAttachmentMetadata))
	}
	about := func(e *storagev1.VolumeError, path *field.Path) {
		if e == nil {
			return
		}
		if len(e.Message) > mostAttachmentMessage {
			// The bound that Kubernetes names here is not the one that it holds to.
			errs = append(errs, field.TooLong(path.Child("message"), "", mostAttachmentMetadata))
		}
		if e.ErrorCode != nil && *e.ErrorCode < 0 {
			errs = append(errs, field.Invalid(path.Child("errorCode"), *e.ErrorCode, validation.InclusiveRangeError(0, math.MaxInt32)))
		}
	}
	about(s.AttachError, path.Child("attachError"))
	about(s.DetachError, path.Child("detachError"))
	return errs
}
