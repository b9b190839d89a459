package flux

import (
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

// IsReady reports whether the Kustomization says that it is ready.
func IsReady(ks *kustomizev1.Kustomization) bool {
	return apimeta.IsStatusConditionTrue(ks.Status.Conditions, meta.ReadyCondition)
}
