// Package validation says what is wrong with an object, in the words and with
// the field paths of the Kubernetes API.
//
// Create, Update and UpdateStatus hold an object against the rules of its kind,
// which are with its definition in manifests/model/kinds; what kinds share is in
// manifests/model/rule and manifests/model/podspec. Every rule appends to a
// field.ErrorList and goes on, so that a user sees all mistakes at once. All of
// it is pure and safe for concurrent use.
//
// Fields that only a part Headway does not have would read (volume types of
// outside storage) are refused by [headway.dev/manifests/model/support], and their
// contents are not looked at.
package validation

import (
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/support"
)

// Create validates a new object whose defaults are set.
func Create(obj object.Object) field.ErrorList {
	k, _ := scheme.ForObject(obj)
	return CreateOf(k, obj)
}

// CreateOf is Create for an object of a kind, which may be a custom one, or nil if it
// is not served.
func CreateOf(k *kind.Kind, obj object.Object) field.ErrorList {
	r := rulesOf(k)
	var errs field.ErrorList
	if r.Name != nil {
		errs = apivalidation.ValidateObjectMetaAccessor(obj, k.Namespaced, r.Name, rule.Metadata)
		errs = append(errs, finalizers(obj, r)...)
	}
	if r.Object != nil {
		errs = append(errs, r.Object(obj)...)
	}
	if r.Create != nil {
		errs = append(errs, r.Create(obj)...)
	}
	errs = append(errs, taken(obj)...)
	return told(errs, support.Refusals(obj, nil))
}

// Update validates a change of everything but the status. An obj without a
// resourceVersion is taken to be based on old.
func Update(obj, old object.Object) field.ErrorList {
	k, _ := scheme.ForObject(obj)
	return UpdateOf(k, obj, old)
}

// UpdateOf is Update for an object of a kind, as in CreateOf.
func UpdateOf(k *kind.Kind, obj, old object.Object) field.ErrorList {
	r := rulesOf(k)
	errs := metaUpdate(obj, old, r)
	if r.Replaces != nil {
		return rule.Bounded(append(append(errs, r.Replaces(obj, old)...), taken(obj)...), 0)
	}
	if r.Object != nil {
		errs = append(errs, r.Object(obj)...)
	}
	if r.Update != nil {
		errs = append(errs, r.Update(obj, old)...)
	}
	errs = append(errs, taken(obj)...)
	return told(errs, support.Refusals(obj, old))
}

// UpdateStatus validates a change of the status.
func UpdateStatus(obj, old object.Object) field.ErrorList {
	k, _ := scheme.ForObject(obj)
	r := rulesOf(k)
	errs := metaUpdate(obj, old, r)
	if r.Status != nil {
		errs = append(errs, r.Status(obj, old)...)
	}
	return rule.Bounded(errs, 0)
}

// UpdatePart validates a change through the subresource of a part.
func UpdatePart(obj, old object.Object, part kind.Part[object.Object]) field.ErrorList {
	k, _ := scheme.ForObject(obj)
	return told(append(metaUpdate(obj, old, rulesOf(k)), part.Rules(obj, old)...), support.Refusals(obj, old))
}

// told are the errors that are told, with the fields that are refused.
func told(errs, refusals field.ErrorList) field.ErrorList {
	first := errs[:min(len(errs), rule.MostErrors+1)]
	return rule.Bounded(withRefusals(first, refusals), len(errs)-len(first))
}

// withRefusals adds the fields that are refused whatever their value, but for
// those with a fault: one error is enough for a field.
func withRefusals(errs, refusals field.ErrorList) field.ErrorList {
	faults := errs
	for _, r := range refusals {
		if !slices.ContainsFunc(faults, func(err *field.Error) bool { return strings.HasPrefix(err.Field, r.Field) }) {
			errs = append(errs, r)
		}
	}
	return errs
}

func metaUpdate(obj, old object.Object, r kind.Rules[object.Object]) field.ErrorList {
	if r.Name == nil {
		return nil
	}
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, rule.Metadata)
	errs = append(errs, finalizers(obj, r)...)
	if obj.GetResourceVersion() == "" {
		// Which version an update is based on is the store's matter.
		version := rule.Metadata.Child("resourceVersion").String()
		kept := errs[:0]
		for _, err := range errs {
			if err.Field != version {
				kept = append(kept, err)
			}
		}
		errs = kept
	}
	return errs
}

func finalizers(obj object.Object, r kind.Rules[object.Object]) field.ErrorList {
	if r.AnyFinalizer {
		return nil
	}
	var errs field.ErrorList
	for i, name := range obj.GetFinalizers() {
		errs = append(errs, rule.Finalizer(name, rule.Metadata.Child("finalizers").Index(i))...)
	}
	return errs
}

// rulesOf are those of a kind; none for one that is not served.
func rulesOf(k *kind.Kind) kind.Rules[object.Object] {
	if k == nil {
		return kind.Rules[object.Object]{}
	}
	return k.Rules
}

// Duplicates finds entries that a manifest has twice in a list whose items are
// identified by a key. The API stores some of them (of two variables with one
// name the last counts, with a warning), but server-side apply, with which
// manifests are applied, accepts none, because it could not tell whose field an
// item is. The object is as declared, without defaults.
func Duplicates(obj object.Object) field.ErrorList {
	errs := rule.Twice(rule.Metadata.Child("finalizers"), "", obj.GetFinalizers(), func(f string) any { return f })
	errs = append(errs, rule.Twice(rule.Metadata.Child("ownerReferences"), "uid", obj.GetOwnerReferences(), func(r metav1.OwnerReference) any { return string(r.UID) })...)
	k, _ := scheme.ForObject(obj)
	if r := rulesOf(k); r.Duplicates != nil {
		errs = append(errs, r.Duplicates(obj)...)
	}
	return errs
}
