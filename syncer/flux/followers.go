package flux

import (
	"maps"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"headway.dev/manifests/model/object"
)

// Followers returns the Kustomizations of a source.
func Followers(stored object.Reader, src object.Key) []*kustomizev1.Kustomization {
	var out []*kustomizev1.Kustomization
	list, _ := stored.List(Kustomization, "")
	for _, o := range list {
		if ks, ok := o.(*kustomizev1.Kustomization); ok && SourceKey(ks) == src {
			out = append(out, ks)
		}
	}
	return out
}

// Ignore returns a source's spec.ignore, which may be empty.
func Ignore(stored object.Reader, source object.Key) string {
	if obj, ok := stored.Get(source).(*sourcev1.GitRepository); ok && obj.Spec.Ignore != nil {
		return *obj.Spec.Ignore
	}
	return ""
}

// Names reports whether an annotation names the commit, by at least seven
// digits.
func Names(annotation, sha string) bool {
	return len(annotation) >= 7 && strings.HasPrefix(sha, annotation)
}

// DropAnnotation removes an annotation, and reports whether there was one.
func DropAnnotation(o object.Object, name string) bool {
	left := maps.Clone(o.GetAnnotations())
	_, there := left[name]
	delete(left, name)
	o.SetAnnotations(left)
	return there
}

// IsReady reports whether the Kustomization says that it is ready.
func IsReady(ks *kustomizev1.Kustomization) bool {
	return apimeta.IsStatusConditionTrue(ks.Status.Conditions, meta.ReadyCondition)
}
