package report

import (
	"log/slog"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/wire"
)

// The verdict of a commit that is told when the next one is there already does not end
// the next one, nor that it was superseded.
func TestLateVerdict(t *testing.T) {
	const first, second = "main@sha1:1111111111111111111111111111111111111111", "main@sha1:2222222222222222222222222222222222222222"
	store := memstore.New()
	at := metav1.ObjectMeta{Namespace: "default", Name: "app"}
	src := &sourcev1.GitRepository{ObjectMeta: at, Status: sourcev1.GitRepositoryStatus{Artifact: &meta.Artifact{Revision: first}}}
	src.Annotations = map[string]string{flux.CommitStatus: "github"}
	put := func(key object.Key, obj object.Object) {
		t.Helper()
		if _, err := store.Commit(t.Context(), change.Tx{Changes: []change.Change{{Key: key, Mutate: func(object.Object) (object.Object, error) { return obj, nil }}}}); err != nil {
			t.Fatal(err)
		}
	}
	key := object.Key{GroupKind: flux.GitRepository, Namespace: "default", Name: "app"}
	put(key, src)
	put(object.Key{GroupKind: flux.Kustomization, Namespace: "default", Name: "app"}, &kustomizev1.Kustomization{ObjectMeta: at, Spec: kustomizev1.KustomizationSpec{
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
	}})
	s := New(&env.Env{Store: store, Log: slog.New(slog.DiscardHandler)}, nil)
	s.Observe(wire.Event{Source: "default/app", Phase: wire.PhaseFetch, Revision: first})
	src = src.DeepCopy()
	src.Status.Artifact.Revision = second
	put(key, src)
	s.Observe(wire.Event{Source: "default/app", Phase: wire.PhaseFetch, Revision: second})
	s.Observe(wire.Event{Source: "default/app", Kustomization: "default/app", Phase: wire.PhaseVerdict, Revision: first})
	var got []string
	for _, p := range s.backlog[key].waiting {
		got = append(got, p.sha[:1]+" "+string(p.state))
	}
	want := []string{"1 " + string(forge.Canceled), "2 " + string(forge.Pending)}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("the forge is told %q, want %q", got, want)
	}
}
