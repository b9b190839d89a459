package flux_test

import (
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/memstore"
)

// Sources of different kinds may have the same name: who follows one does not follow
// the other.
func TestFollowersOfOneKind(t *testing.T) {
	store := memstore.New()
	for name, ref := range map[string]kustomizev1.CrossNamespaceSourceReference{
		"git":       {Kind: "GitRepository", Name: "app"},
		"elsewhere": {Kind: "GitRepository", Name: "app", Namespace: "other"},
		"bucket":    {Kind: "Bucket", Name: "app"},
	} {
		ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Spec: kustomizev1.KustomizationSpec{SourceRef: ref}}
		put := change.Change{Key: flux.KeyOf(ks), Mutate: func(object.Object) (object.Object, error) { return ks, nil }}
		if _, err := store.Commit(t.Context(), change.Tx{Changes: []change.Change{put}}); err != nil {
			t.Fatal(err)
		}
	}
	followers := flux.Followers(store, object.Key{GroupKind: flux.GitRepository, Namespace: "team", Name: "app"})
	if len(followers) != 1 || followers[0].Name != "git" {
		t.Errorf("%d follow it, first of them %v", len(followers), followers)
	}
}
