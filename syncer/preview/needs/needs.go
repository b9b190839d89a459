package needs

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
)

var (
	configMap    = schema.GroupKind{Kind: "ConfigMap"}
	claim        = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	volume       = schema.GroupKind{Kind: "PersistentVolume"}
	storageClass = schema.GroupKind{Group: storagev1.GroupName, Kind: "StorageClass"}
	// needed are the kinds of what pods and their claims name.
	needed = map[string]schema.GroupKind{
		"ConfigMap": configMap, "Secret": flux.Secret, "PersistentVolumeClaim": claim, "ServiceAccount": flux.ServiceAccount,
		"PriorityClass": {Group: "scheduling.k8s.io", Kind: "PriorityClass"}, "RuntimeClass": {Group: "node.k8s.io", Kind: "RuntimeClass"},
	}
)

// Of reports whether an object of this key may be needed.
func Of(key object.Key) bool {
	return key.GroupKind == volume || key.GroupKind == storageClass || slices.Contains(slices.Collect(maps.Values(needed)), key.GroupKind)
}

// Finder looks for what is missing.
type Finder struct {
	// Before is the cluster as it is, After as the commit leaves it.
	Before, After object.Reader
	// Sees reports whether the caller may know of an object: nothing is told of others.
	Sees func(object.Key) bool
}

// Missing are sentences about what is needed by what a plan makes or changes, and is neither
// in the cluster nor declared; and about what the commit takes from what stays.
func (f Finder) Missing(actions []plan.Action) (list []string) {
	for _, a := range actions {
		obj := a.Object
		if a.Type == plan.Unchanged {
			obj = a.Live
		}
		if obj == nil || a.Type != plan.Create && a.Type != plan.Update && a.Type != plan.Unchanged {
			continue
		}
		told := map[object.Key]bool{}
		for _, n := range wants(a.Key, obj) {
			if text := f.lacks(n, a.Type == plan.Unchanged); text != "" && !told[n.key] {
				told[n.key] = true
				list = append(list, flux.Describe(a.Key)+": "+text)
			}
		}
	}
	return list
}

// want is something that is needed, with its entry, if it is about one, and the field that
// names it.
type want struct {
	key   object.Key
	entry string
	at    *field.Path
}

// wants are what the pods and claims of an object need.
func wants(of object.Key, obj object.Object) (list []want) {
	if c, ok := obj.(*corev1.PersistentVolumeClaim); ok {
		return classOf(c, field.NewPath("spec"))
	}
	k, ok := scheme.ForKind(of.GroupKind)
	if !ok || k.PodTemplate == nil || k.Rollout == nil {
		return nil
	}
	_, spec := k.PodTemplate(obj)
	if spec == nil {
		return nil
	}
	for _, n := range podspec.Needs(spec, pathOf(k)) {
		key := object.Key{GroupKind: needed[n.Kind], Name: n.Name}
		if kind, ok := scheme.ForKind(key.GroupKind); ok && kind.Namespaced {
			key.Namespace = of.Namespace
		}
		list = append(list, want{key, n.Key, n.Field})
	}
	if own := k.Rollout(obj, kind.Edit{}).Claims; own != nil {
		for i, c := range own(0) {
			list = append(list, classOf(c.Claim, field.NewPath("spec", "volumeClaimTemplates").Index(i).Child("spec"))...)
		}
	}
	return list
}

// pathOf is where the pods' spec is in an object of a kind.
func pathOf(k *kind.Kind) *field.Path {
	switch k.Kind {
	case "Pod":
		return field.NewPath("spec")
	case "CronJob":
		return field.NewPath("spec", "jobTemplate", "spec", "template", "spec")
	}
	return field.NewPath("spec", "template", "spec")
}

// classOf is the class of a claim that has no volume yet and names one.
func classOf(c *corev1.PersistentVolumeClaim, path *field.Path) []want {
	if class := c.Spec.StorageClassName; class != nil && *class != "" && c.Spec.VolumeName == "" {
		return []want{{key: object.Key{GroupKind: storageClass, Name: *class}, at: path.Child("storageClassName")}}
	}
	return nil
}

// lacks is what is wrong with a need; empty if nothing is. With taken only what the commit
// itself takes away.
func (f Finder) lacks(n want, taken bool) string {
	obj := f.After.Get(n.key)
	if f.comes(n.key) || obj != nil && has(obj, n.entry) || !f.Sees(n.key) {
		return ""
	}
	before := f.Before.Get(n.key)
	was := before != nil && has(before, n.entry)
	what, gone := flux.Describe(n.key), "there is none, and the commit declares none"
	if obj != nil {
		what, gone = fmt.Sprintf("the key %q in %s", n.entry, what), "it has no such key"
	}
	if was {
		gone = "the commit removes it"
	} else if taken {
		return ""
	}
	return fmt.Sprintf("%s names %s, and %s", n.at, what, gone)
}

// comes reports whether something is made without being declared: the account and the
// authority that each namespace gets.
func (f Finder) comes(key object.Key) bool {
	switch key.GroupKind {
	case flux.ServiceAccount:
		return key.Name == "default"
	case configMap:
		return key.Name == "kube-root-ca.crt"
	case storageClass: // volumes may have a class that is no object
		list, _ := f.After.List(volume, "")
		return slices.ContainsFunc(list, func(o object.Object) bool {
			v, ok := o.(*corev1.PersistentVolume)
			return ok && v.Spec.StorageClassName == key.Name
		})
	}
	return false
}

// has reports whether a ConfigMap or Secret has an entry; any object has the empty one.
func has(obj object.Object, entry string) bool {
	if entry == "" {
		return true
	}
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		_, text := o.Data[entry]
		_, binary := o.BinaryData[entry]
		return text || binary
	case *corev1.Secret:
		_, data := o.Data[entry]
		_, text := o.StringData[entry]
		return data || text
	}
	return false
}
