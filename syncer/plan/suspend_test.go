package plan_test

import (
	"context"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/plan"
)

// A Kustomization in Git that a hand suspends stays so, whether Git says nothing
// of it or the contrary, and until it is resumed.
func TestSuspendedByHand(t *testing.T) {
	const head = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps, namespace: web}\n" +
		"spec: {interval: 1h, prune: true, path: ./, sourceRef: {kind: GitRepository, name: cluster}"
	for _, manager := range []string{"kubectl-patch", "kubectl-edit", "flux", "headway-suspend"} {
		for name, doc := range map[string]string{"unset": head + "}\n", "false": head + ", suspend: false}\n"} {
			t.Run(manager+" "+name, func(t *testing.T) {
				s, _, _ := setUp(t, namespace, doc)
				at := object.Key{Namespace: "web", Name: "apps"}
				at.Group, at.Kind = kustomizev1.GroupVersion.Group, "Kustomization"
				set := func(yes bool) {
					t.Helper()
					c := change.Patch(at, func(o object.Object) bool {
						ks := o.(*kustomizev1.Kustomization)
						ks.Spec.Suspend = yes
						if yes {
							ks.ManagedFields = append(ks.ManagedFields, metav1.ManagedFieldsEntry{
								Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "kustomize.toolkit.fluxcd.io/v1",
								FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:suspend":{}}}`),
							})
						}
						return true
					})
					if _, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{c}}); err != nil {
						t.Fatal(err)
					}
				}
				set(true)
				for range 2 {
					res := plan.New(nil).Plan(t.Context(), input(items(t, namespace, doc)), s)
					carryOut(t, s, res)
					if ks := s.Get(at).(*kustomizev1.Kustomization); !ks.Spec.Suspend {
						t.Fatalf("a sync resumed it: %q", lines(res))
					}
				}
				set(false)
				carryOut(t, s, plan.New(nil).Plan(t.Context(), input(items(t, namespace, doc)), s))
				if ks := s.Get(at).(*kustomizev1.Kustomization); ks.Spec.Suspend {
					t.Error("it is still suspended")
				}
			})
		}
	}
}
