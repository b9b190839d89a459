package writeback

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/syncer/flux"
)

// fieldChange is one field that differs between two states of an object, with
// the value of a Secret, too: it must not be shown.
type fieldChange struct {
	path    string
	value   any // as JSON has it
	removed bool
}

// changes are the differences from old to next, without what tells who wrote what. The
// status of a custom resource is a field like others if it is no subresource.
func (s *Writeback) changes(old, next object.Object) []fieldChange {
	out := fieldChanges(old, next)
	was, _ := old.(*unstructured.Unstructured)
	is, _ := next.(*unstructured.Unstructured)
	one := cmp.Or(is, was)
	if one == nil {
		return out
	}
	if k, ok := s.Env.Kinds.ForKind(one.GroupVersionKind().GroupKind()); !ok || k.Custom == nil || k.Status {
		return out
	}
	for _, f := range diff.Status(was, is) {
		out = append(out, fieldChange{path: f.Path, value: f.New, removed: f.New == nil})
	}
	return out
}

func fieldChanges(old, next object.Object) []fieldChange {
	var out []fieldChange
	a, aOK := old.(*corev1.Secret)
	b, bOK := next.(*corev1.Secret)
	if aOK && bOK {
		for _, name := range slices.Sorted(mapKeys(a.Data, b.Data)) {
			x, had := a.Data[name]
			y, has := b.Data[name]
			if had && has && string(x) == string(y) {
				continue
			}
			c := fieldChange{path: fieldpath.Join("data", name), removed: !has}
			if has {
				c.value = base64.StdEncoding.EncodeToString(y)
			}
			out = append(out, c)
		}
		a, b = a.DeepCopy(), b.DeepCopy()
		a.Data, b.Data = nil, nil
		old, next = a, b
	}
	for _, f := range diff.Objects(old, next) {
		if f.Path == "metadata.annotations["+corev1.LastAppliedConfigAnnotation+"]" {
			continue
		}
		out = append(out, fieldChange{path: f.Path, value: f.New, removed: f.New == nil})
	}
	return out
}

func mapKeys(maps ...map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, m := range maps {
			for k := range m {
				if !seen[k] && !yield(k) {
					return
				}
				seen[k] = true
			}
		}
	}
}

// livesHere reports whether a field belongs to the cluster even if people write it:
// what only asks for something to happen, and what controllers keep.
func livesHere(path string) bool {
	for _, p := range []string{
		"metadata.finalizers", "metadata.ownerReferences",
		"spec.template.metadata.annotations[kubectl.kubernetes.io/restartedAt]",
	} {
		if partOf(path, p) {
			return true
		}
	}
	for _, name := range flux.Requests() {
		if path == fieldpath.Join("metadata.annotations", name) {
			return true
		}
	}
	return strings.HasPrefix(path, "metadata.annotations[deployment.kubernetes.io/")
}
