package storage

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

// storageClass says who makes the volumes of claims that name it;
// engine/controllers/volume asks it.
// https://kubernetes.io/docs/concepts/storage/storage-classes/
var storageClass = kind.Define[storagev1.StorageClass, storagev1.StorageClassList](kind.Definition[*storagev1.StorageClass]{
	Names: kind.Names{
		GroupVersionKind: storagev1.SchemeGroupVersion.WithKind("StorageClass"),
		Plural:           "storageclasses", Singular: "storageclass", ShortNames: []string{"sc"},
	},
	Order: 30,
	REST:  kind.REST{CreateOnUpdate: true, ReturnsDeleted: true},
	Default: func(c *storagev1.StorageClass) {
		fill.Unset(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
		fill.Unset(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
	},
	Honours: honour.Types{
		honour.Of[storagev1.StorageClass](): {
			Honoured: "TypeMeta metadata provisioner parameters reclaimPolicy allowVolumeExpansion mountOptions volumeBindingMode allowedTopologies",
			Rules: map[string]*honour.Rule{
				"parameters":           ofLocal("there are none", func(c *storagev1.StorageClass) bool { return len(c.Parameters) > 0 }),
				"mountOptions":         ofLocal("its volumes are directories, which nothing mounts", func(c *storagev1.StorageClass) bool { return len(c.MountOptions) > 0 }),
				"allowVolumeExpansion": ofLocal("its volumes have no size of their own: they can use what the node's disk has", func(c *storagev1.StorageClass) bool { return c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion }),
				"volumeBindingMode": ofLocal("its volumes are on the node of their first pod: use WaitForFirstConsumer", func(c *storagev1.StorageClass) bool {
					return c.VolumeBindingMode != nil && *c.VolumeBindingMode == storagev1.VolumeBindingImmediate
				}),
			},
		},
		honour.Of[corev1.TopologySelectorTerm]():             {Honoured: "matchLabelExpressions"},
		honour.Of[corev1.TopologySelectorLabelRequirement](): {Honoured: "key values"},
	},
	Rules: kind.Rules[*storagev1.StorageClass]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateClass,
		Update: validateClassUpdate,
	},
	Table: kind.Table[*storagev1.StorageClass]{
		Columns: column.Define("Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"),
		Row: func(c *storagev1.StorageClass, now time.Time) []any {
			name := c.Name
			if IsDefault(c) {
				name += " (default)"
			}
			policy, mode := string(corev1.PersistentVolumeReclaimDelete), string(storagev1.VolumeBindingImmediate)
			if c.ReclaimPolicy != nil {
				policy = string(*c.ReclaimPolicy)
			}
			if c.VolumeBindingMode != nil {
				mode = string(*c.VolumeBindingMode)
			}
			return []any{name, c.Provisioner, policy, mode, c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion, column.Age(c, now)}
		},
	},
})

// ofLocal refuses what classes of the provisioner that is built in cannot have.
func ofLocal(reason string, asks func(*storagev1.StorageClass) bool) *honour.Rule {
	return &honour.Rule{
		Level: honour.Refused, Values: "of provisioner " + LocalProvisioner, Reason: reason,
		Asks: honour.When(func(c *storagev1.StorageClass) bool { return c.Provisioner == LocalProvisioner && asks(c) }),
	}
}

func validateClass(c *storagev1.StorageClass) field.ErrorList {
	var errs field.ErrorList
	if path := field.NewPath("provisioner"); c.Provisioner == "" {
		errs = append(errs, field.Required(path, c.Provisioner))
	} else {
		errs = append(errs, rule.Invalid(path, c.Provisioner, validation.IsQualifiedName(strings.ToLower(c.Provisioner)))...)
	}
	errs = append(errs, validateParameters(c.Parameters, field.NewPath("parameters"))...)
	if c.ReclaimPolicy == nil {
		errs = append(errs, field.Required(field.NewPath("reclaimPolicy"), ""))
	} else {
		errs = append(errs, rule.OptionalOneOf(*c.ReclaimPolicy, field.NewPath("reclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	if path := field.NewPath("volumeBindingMode"); c.VolumeBindingMode == nil {
		errs = append(errs, field.Required(path, ""))
	} else {
		errs = append(errs, rule.NotSupported(*c.VolumeBindingMode, path, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	return append(errs, validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
}

const (
	mostParameters     = 512
	mostParametersSize = 256 * 1024
)

func validateParameters(params map[string]string, path *field.Path) field.ErrorList {
	if len(params) > mostParameters {
		return field.ErrorList{field.TooLong(path, "", mostParameters)}
	}
	var errs field.ErrorList
	size := 0
	for k, v := range params {
		if k == "" {
			errs = append(errs, field.Invalid(path, k, "field can not be empty."))
		}
		size += len(k) + len(v)
	}
	if size > mostParametersSize {
		errs = append(errs, field.TooLong(path, "", mostParametersSize))
	}
	return errs
}

func validateTopologies(terms []corev1.TopologySelectorTerm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	// Nothing is a term that is there already, as in Kubernetes.
	before := []map[string][]string{{}}
	for i, term := range terms {
		at := path.Index(i)
		keys, is := map[string]bool{}, map[string][]string{}
		for j, e := range term.MatchLabelExpressions {
			at := at.Child("matchLabelExpressions").Index(j)
			if len(e.Values) == 0 {
				errs = append(errs, field.Required(at.Child("values"), ""))
			}
			seen := map[string]bool{}
			for k, v := range e.Values {
				errs = append(errs, rule.Unique(seen, v, at.Child("values").Index(k))...)
			}
			errs = append(errs, metavalidation.ValidateLabelName(e.Key, at.Child("key"))...)
			errs = append(errs, rule.Unique(keys, e.Key, at.Child("key"))...)
			is[e.Key] = slices.Sorted(slices.Values(e.Values))
		}
		if slices.ContainsFunc(before, func(was map[string][]string) bool { return maps.EqualFunc(was, is, slices.Equal) }) {
			errs = append(errs, field.Duplicate(at.Child("matchLabelExpressions"), ""))
		}
		before = append(before, is)
	}
	return errs
}

func validateClassUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	var errs field.ErrorList
	keep := func(value, before any, name string) {
		errs = append(errs, rule.Immutable(value, before, field.NewPath(name))...)
	}
	keep(c.Parameters, old.Parameters, "parameters")
	keep(c.Provisioner, old.Provisioner, "provisioner")
	keep(c.ReclaimPolicy, old.ReclaimPolicy, "reclaimPolicy")
	keep(c.VolumeBindingMode, old.VolumeBindingMode, "volumeBindingMode")
	return errs
}

// Allows reports whether volumes of a class may be on a node of these labels.
func Allows(c *storagev1.StorageClass, labels map[string]string) bool {
	if len(c.AllowedTopologies) == 0 {
		return true
	}
	return slices.ContainsFunc(c.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		return len(t.MatchLabelExpressions) > 0 && !slices.ContainsFunc(t.MatchLabelExpressions, func(e corev1.TopologySelectorLabelRequirement) bool {
			value, has := labels[e.Key]
			return !has || !slices.Contains(e.Values, value)
		})
	})
}

// Default returns the class of claims that name none, the newest of those that are
// the default; nil if none is.
func Default(classes []object.Object) *storagev1.StorageClass {
	var found *storagev1.StorageClass
	for _, obj := range classes {
		c, ok := obj.(*storagev1.StorageClass)
		if !ok || !IsDefault(c) {
			continue
		}
		if found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp) || found.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < found.Name {
			found = c
		}
	}
	return found
}

// Delays reports whether volumes of a class wait for the first pod.
func Delays(c *storagev1.StorageClass) bool {
	return c != nil && c.VolumeBindingMode != nil && *c.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}
