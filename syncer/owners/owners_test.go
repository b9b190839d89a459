package owners_test

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
)

// Who follows a Kustomization that was created again has what the loop of the
// deleted one had, whose end takes nothing away.
func TestClaimOfSuccessor(t *testing.T) {
	store := memstore.New()
	x := owners.New(store)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", Labels: map[string]string{
		plan.OwnerNameLabel: "one", plan.OwnerNamespaceLabel: "headway-system",
	}}}
	create := change.Create(cm, time.Now())
	if _, err := store.Commit(context.Background(), change.Tx{Changes: []change.Change{create}}); err != nil {
		t.Fatal(err)
	}
	inventory := []object.Key{create.Key}
	one := object.Key{GroupKind: flux.Kustomization, Namespace: "headway-system", Name: "one"}
	old, successor := owners.NewHolder(one), owners.NewHolder(one)
	if fresh := x.Claim(old, inventory); !x.Owns(one, create.Key) || !slices.Equal(fresh, inventory) {
		t.Fatalf("the first has got %v", fresh)
	}
	if fresh := x.Claim(successor, inventory); !slices.Equal(fresh, inventory) {
		t.Errorf("the successor has got %v", fresh)
	}
	x.Claim(old, nil)
	if owner, ok := x.Of(create.Key); !ok || owner != one {
		t.Errorf("it is %v's, %v", owner, ok)
	}
}
