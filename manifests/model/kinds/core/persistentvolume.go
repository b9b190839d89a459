package core

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/storage/volume"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// persistentVolume is storage that claims are bound to.
// https://kubernetes.io/docs/concepts/storage/persistent-volumes/
var persistentVolume = kind.Define[corev1.PersistentVolume, corev1.PersistentVolumeList](kind.Definition[*corev1.PersistentVolume]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("PersistentVolume"),
		Plural:           "persistentvolumes", Singular: "persistentvolume", ShortNames: []string{"pv"},
	},
	Status: true,
	Order:  180,
	REST:   kind.REST{ReturnsDeleted: true},
	Default: func(v *corev1.PersistentVolume) {
		fill.Zero(&v.Status.Phase, corev1.VolumePending)
		fill.Zero(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
		fill.Unset(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		if v.Spec.HostPath != nil {
			fill.Unset(&v.Spec.HostPath.Type, corev1.HostPathUnset)
		}
	},
	Lifecycle: kind.Lifecycle[*corev1.PersistentVolume]{
		Create: func(v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: new(v.CreationTimestamp)}
		},
		Update: func(v, old *corev1.PersistentVolume) { v.Status = old.Status },
		UpdateStatus: func(v, old *corev1.PersistentVolume) {
			v.Spec = old.Spec
			stampPhase(&v.Status, &old.Status)
		},
	},
	Honours: volumeHonours,
	Rules: kind.Rules[*corev1.PersistentVolume]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateVolume,
		Update: validateVolumeUpdate,
	},
	Warnings: func(v, _ *corev1.PersistentVolume) []string {
		told := rule.OldAnnotations(v.Annotations, map[string]string{
			corev1.BetaStorageClassAnnotation:         oldClass,
			"volume.beta.kubernetes.io/mount-options": `deprecated since v1.31; use "mountOptions" attribute instead`,
		})
		if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
			told = append(told, podspec.TermWarnings(a.Required.NodeSelectorTerms, rule.Spec.Child("nodeAffinity", "required", "nodeSelectorTerms"))...)
		}
		return told
	},
	Table: kind.Table[*corev1.PersistentVolume]{
		Columns: column.Define("Name", "Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass", "VolumeAttributesClass", "Reason", "Age", "+VolumeMode"),
		Row: func(v *corev1.PersistentVolume, now time.Time) []any {
			claim, phase := "", string(v.Status.Phase)
			if ref := v.Spec.ClaimRef; ref != nil {
				claim = ref.Namespace + "/" + ref.Name
			}
			if v.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			size := v.Spec.Capacity[corev1.ResourceStorage]
			return []any{
				v.Name, size.String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
				volume.GetPersistentVolumeClass(v), attributesClass(v.Spec.VolumeAttributesClassName), v.Status.Reason, column.Age(v, now), volumeMode(v.Spec.VolumeMode),
			}
		},
	},
	Health: kind.Health[*corev1.PersistentVolume]{Of: volumeHealth},
})

// volumeHealth is kstatus', to which a volume is Current as soon as it exists.
func volumeHealth(*corev1.PersistentVolume, object.Reader) health.Result {
	return health.Result{Status: health.Current, Message: "Resource is current"}
}

// stampPhase says since when a volume has its phase, if whoever writes the phase does not.
func stampPhase(s, old *corev1.PersistentVolumeStatus) {
	switch at := s.LastPhaseTransitionTime; {
	case s.Phase == old.Phase:
		if at == nil {
			s.LastPhaseTransitionTime = old.LastPhaseTransitionTime
		}
	case at == nil || at.Equal(old.LastPhaseTransitionTime):
		s.LastPhaseTransitionTime = &metav1.Time{Time: time.Now().Truncate(time.Second)}
	}
}

var volumeHonours = func() honour.Types {
	source := honour.Fields{Honoured: "hostPath local", Rules: map[string]*honour.Rule{}}
	for name := range strings.FieldsSeq("gcePersistentDisk awsElasticBlockStore glusterfs nfs rbd iscsi cinder cephfs fc flocker flexVolume azureFile vsphereVolume " +
		"quobyte azureDisk photonPersistentDisk portworxVolume scaleIO storageos csi") {
		source.Rules[name] = honour.NotServed("volumes are local and hostPath: nothing mounts storage of the network; mount it on the node and use hostPath")
	}
	return honour.Types{
		honour.Of[corev1.PersistentVolume](): {Honoured: "TypeMeta metadata spec status"},
		honour.Of[corev1.PersistentVolumeSpec](): {
			Honoured: "capacity PersistentVolumeSource accessModes claimRef persistentVolumeReclaimPolicy storageClassName volumeMode nodeAffinity",
			Rules: map[string]*honour.Rule{
				"volumeMode":                noBlock(func(s *corev1.PersistentVolumeSpec) *corev1.PersistentVolumeMode { return s.VolumeMode }),
				"mountOptions":              honour.NotServed("local and hostPath volumes are directories, which nothing mounts"),
				"volumeAttributesClassName": noAttributes,
				"persistentVolumeReclaimPolicy": {
					Level: honour.Refused, Values: "Recycle", Reason: "nothing empties volumes for others; use Retain or Delete",
					Asks: honour.When(func(s *corev1.PersistentVolumeSpec) bool {
						return s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle
					}),
				},
			},
		},
		honour.Of[corev1.PersistentVolumeSource](): source,
		honour.Of[corev1.LocalVolumeSource](): {
			Honoured: "path",
			Rules:    map[string]*honour.Rule{"fsType": honour.NotServed("volumes are directories, which nothing mounts")},
		},
		honour.Of[corev1.VolumeNodeAffinity](): {Honoured: "required"},
	}
}()

// volumeSources are the names of the sources that a volume has, in the API's order.
func volumeSources(s *corev1.PersistentVolumeSource) []string {
	var names []string
	value := reflect.ValueOf(s).Elem()
	for i := range value.NumField() {
		if !value.Field(i).IsNil() {
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

func validateVolume(v *corev1.PersistentVolume) field.ErrorList {
	s, path := &v.Spec, rule.Spec
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(path.Child("accessModes"), ""))
	}
	errs = append(errs, rule.AccessModes(s.AccessModes, path.Child("accessModes"))...)
	capacity := path.Child("capacity")
	if len(s.Capacity) == 0 {
		errs = append(errs, field.Required(capacity, ""))
	}
	size, ok := s.Capacity[corev1.ResourceStorage]
	if !ok || len(s.Capacity) > 1 {
		errs = append(errs, field.NotSupported(capacity, s.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	errs = append(errs, rule.Amounts(s.Capacity, capacity)...)
	if ok && size.Sign() <= 0 {
		errs = append(errs, field.Invalid(capacity.Key(string(corev1.ResourceStorage)), size.String(), "must be greater than zero"))
	}
	errs = append(errs, rule.OptionalOneOf(s.PersistentVolumeReclaimPolicy, path.Child("persistentVolumeReclaimPolicy"),
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	if a := s.NodeAffinity; a != nil {
		if at := path.Child("nodeAffinity", "required"); a.Required == nil {
			errs = append(errs, field.Required(at, "must specify required node constraints"))
		} else {
			errs = append(errs, podspec.NodeSelector(a.Required, at)...)
		}
	}
	errs = append(errs, validateSource(s, path)...)
	if s.StorageClassName != "" {
		errs = append(errs, rule.DNSSubdomain(s.StorageClassName, path.Child("storageClassName"))...)
	}
	return append(errs, rule.VolumeMode(s.VolumeMode, path.Child("volumeMode"))...)
}

func validateSource(s *corev1.PersistentVolumeSpec, path *field.Path) field.ErrorList {
	names := volumeSources(&s.PersistentVolumeSource)
	if len(names) == 0 {
		return field.ErrorList{field.Required(path, "must specify a volume type")}
	}
	var errs field.ErrorList
	for _, name := range names[1:] {
		errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 volume type"))
	}
	if h := s.HostPath; h != nil {
		errs = append(errs, podspec.HostPath(h, path.Child("hostPath"))...)
	}
	if l := s.Local; l != nil {
		if at := path.Child("local", "path"); l.Path == "" {
			errs = append(errs, field.Required(at, ""))
		} else if slices.Contains(strings.Split(l.Path, "/"), "..") {
			errs = append(errs, field.Invalid(at, l.Path, "must not contain '..'"))
		}
		if s.NodeAffinity == nil {
			errs = append(errs, field.Required(path.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
	}
	return errs
}

func validateVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	var errs field.ErrorList
	if kind.Differ(v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(rule.Spec.Child("persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(old.Spec.PersistentVolumeSource, v.Spec.PersistentVolumeSource))))
	}
	errs = append(errs, rule.Immutable(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil && kind.Differ(v.Spec.NodeAffinity, old.Spec.NodeAffinity) {
		errs = append(errs, field.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, "field is immutable, except for updating from beta label to GA"))
	}
	return errs
}
