package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/storage/volume"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

// persistentVolumeClaim asks for a volume that outlives pods.
// engine/controllers/volume binds it to one.
// https://kubernetes.io/docs/concepts/storage/persistent-volumes/
var persistentVolumeClaim = kind.Define[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList](kind.Definition[*corev1.PersistentVolumeClaim]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"),
		Plural:           "persistentvolumeclaims", Singular: "persistentvolumeclaim", ShortNames: []string{"pvc"}, Namespaced: true,
	},
	Status:  true,
	Order:   190,
	REST:    kind.REST{ReturnsDeleted: true},
	Default: fill.Claim,
	Lifecycle: kind.Lifecycle[*corev1.PersistentVolumeClaim]{
		Create: func(c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
		},
		Update:       func(c, old *corev1.PersistentVolumeClaim) { c.Status = old.Status },
		UpdateStatus: func(c, old *corev1.PersistentVolumeClaim) { c.Spec = old.Spec },
	},
	Honours: claimHonours,
	Rules: kind.Rules[*corev1.PersistentVolumeClaim]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: func(c *corev1.PersistentVolumeClaim) field.ErrorList { return rule.ClaimSpec(&c.Spec, rule.Spec) },
		Update: validateClaimUpdate,
		Status: func(c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
			return rule.Amounts(c.Status.Capacity, rule.Status.Child("capacity"))
		},
	},
	Warnings: func(c, _ *corev1.PersistentVolumeClaim) []string {
		return append(rule.OldAnnotations(c.Annotations, map[string]string{corev1.BetaStorageClassAnnotation: oldClass}), rule.ClaimWarnings(&c.Spec, rule.Spec)...)
	},
	Table: kind.Table[*corev1.PersistentVolumeClaim]{
		Columns: column.Define("Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age", "+VolumeMode"),
		Row: func(c *corev1.PersistentVolumeClaim, now time.Time) []any {
			phase, capacity, modes := string(c.Status.Phase), "", ""
			if c.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			if c.Spec.VolumeName != "" {
				size := c.Status.Capacity[corev1.ResourceStorage]
				capacity, modes = size.String(), accessModes(c.Status.AccessModes)
			}
			return []any{
				c.Name, phase, c.Spec.VolumeName, capacity, modes, volume.GetPersistentVolumeClaimClass(c),
				attributesClass(c.Spec.VolumeAttributesClassName), column.Age(c, now), volumeMode(c.Spec.VolumeMode),
			}
		},
	},
	Health: kind.Health[*corev1.PersistentVolumeClaim]{Of: claimHealth},
})

const oldClass = `deprecated since v1.8; use "storageClassName" attribute instead`

// claimHonours also has what a template of claims leads to.
var claimHonours = honour.Types{
	honour.Of[corev1.PersistentVolumeClaim](): {Honoured: "TypeMeta metadata spec status"},
	honour.Of[corev1.PersistentVolumeClaimSpec](): {
		Honoured: "accessModes selector resources volumeName storageClassName volumeMode",
		Rules: map[string]*honour.Rule{
			"volumeMode":                noBlock(func(s *corev1.PersistentVolumeClaimSpec) *corev1.PersistentVolumeMode { return s.VolumeMode }),
			"dataSource":                honour.NotServed("volumes begin empty"),
			"dataSourceRef":             honour.NotServed("volumes begin empty"),
			"volumeAttributesClassName": noAttributes,
		},
	},
	honour.Of[corev1.VolumeResourceRequirements](): {
		Honoured: "requests",
		Rules:    map[string]*honour.Rule{"limits": honour.NotServed("volumes have no upper bound; set requests")},
	},
}

var noAttributes = honour.NotServed("VolumeAttributesClasses are not served")

func noBlock[T any](mode func(*T) *corev1.PersistentVolumeMode) *honour.Rule {
	return &honour.Rule{
		Level: honour.Refused, Values: "Block", Reason: "there are no block volumes; use Filesystem",
		Asks: honour.When(func(s *T) bool { m := mode(s); return m != nil && *m == corev1.PersistentVolumeBlock }),
	}
}

func attributesClass(name *string) string {
	if name == nil {
		return "<unset>"
	}
	return *name
}

func volumeMode(mode *corev1.PersistentVolumeMode) string {
	if mode == nil {
		return "<unset>"
	}
	return string(*mode)
}

// accessModes is the short form of access modes, each once.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var short []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			short = append(short, m.short)
		}
	}
	return strings.Join(short, ",")
}

func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	var errs field.ErrorList
	rest, was := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	if was.VolumeName == "" {
		was.VolumeName = rest.VolumeName // the binder sets it
	}
	before, annotated := old.Annotations[corev1.BetaStorageClassAnnotation]
	after := c.Annotations[corev1.BetaStorageClassAnnotation]
	gets := was.StorageClassName == nil && rest.StorageClassName != nil
	if gets && (!annotated || *rest.StorageClassName == before) {
		rest.StorageClassName = nil // the default class came later, or the field takes the annotation's place
	}
	if moved := gets && annotated && rest.StorageClassName == nil; after != before && (after != "" || !moved) {
		errs = append(errs, field.Invalid(rule.Metadata.Child("annotations", corev1.BetaStorageClassAnnotation), after, apivalidation.FieldImmutableErrorMsg))
	}
	newSize, oldSize, has := rest.Resources.Requests[corev1.ResourceStorage], was.Resources.Requests[corev1.ResourceStorage], c.Status.Capacity[corev1.ResourceStorage]
	if c.Status.Phase == corev1.ClaimBound && rest.Resources.Requests != nil {
		rest.Resources.Requests[corev1.ResourceStorage] = oldSize
	}
	if kind.Differ(rest, was) {
		errs = append(errs, field.Forbidden(rule.Spec,
			fmt.Sprintf("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", diff.Diff(was, rest))))
	}
	if newSize.Cmp(oldSize) < 0 && newSize.Cmp(has) <= 0 {
		errs = append(errs, field.Forbidden(rule.Spec.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	return append(errs, rule.Immutable(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
}

// claimHealth is kstatus', and tells what the claim waits for.
func claimHealth(c *corev1.PersistentVolumeClaim, reader object.Reader) health.Result {
	if c.Status.Phase != corev1.ClaimBound {
		message := fmt.Sprintf("PVC is not Bound. phase: %s", c.Status.Phase)
		if why, found := health.LastEvent(reader, c); found {
			message += "; " + why
		}
		return health.Result{Status: health.InProgress, Message: message}
	}
	return health.Result{Status: health.Current, Message: "PVC is Bound"}
}
