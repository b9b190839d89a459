package plan_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

// What the server gave a service of the old type does not keep Git from
// changing the type.
func TestServiceTypeChanges(t *testing.T) {
	nodePort := strings.Replace(service, "spec: {", "spec: {type: NodePort, ", 1)
	external := "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: web}\nspec: {type: ExternalName, externalName: a.example}\n"
	for name, then := range map[string]string{"ClusterIP": service, "ExternalName": external} {
		t.Run(name, func(t *testing.T) {
			s := memstore.New()
			carryOut(t, s, plan.New(nil).Plan(t.Context(), input(items(t, namespace, nodePort)), s))
			key := object.Key{Namespace: "web", Name: "web"}
			key.Kind = "Service"
			given := change.Patch(key, func(obj object.Object) bool {
				svc := obj.(*corev1.Service)
				svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "10.0.0.1", []string{"10.0.0.1"}
				svc.Spec.Ports[0].NodePort = 30001
				return true
			})
			if _, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{given}}); err != nil {
				t.Fatal(err)
			}
			carryOut(t, s, plan.New(nil).Plan(t.Context(), input(items(t, namespace, then)), s))
			if got := s.Get(key).(*corev1.Service).Spec; string(got.Type) != name {
				t.Errorf("type = %s, want %s", got.Type, name)
			}
		})
	}
}
