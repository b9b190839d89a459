package rights_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rights"
)

// unanswered is an Access that cannot ask.
type unanswered struct{ asked int }

// Allowed implements rights.Access.
func (u *unanswered) Allowed(context.Context, rights.User, string, object.Key) error {
	u.asked++
	return fmt.Errorf("a timeout: %w", rights.ErrUnanswered)
}

// Escalates implements rights.Access.
func (u *unanswered) Escalates(context.Context, rights.User, object.Reader, object.Object, object.Object) error {
	return nil
}

// After implements rights.Access.
func (u *unanswered) After([]object.Event) rights.Access { return u }

// accounts reads a store that has each account.
type accounts struct{}

// Get implements object.Reader.
func (accounts) Get(object.Key) object.Object { return &corev1.ServiceAccount{} }

// List implements object.Reader.
func (accounts) List(schema.GroupKind, string) ([]object.Object, uint64) { return nil, 1 }

// TestUnansweredOnce: of a commit of many objects one question goes unanswered, and
// the others of its turn are not asked; the next turn asks again.
func TestUnansweredOnce(t *testing.T) {
	access := &unanswered{}
	r := rights.New(access, accounts{}, "", false)
	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "apps"}, Spec: kustomizev1.KustomizationSpec{ServiceAccountName: "deployer"}}
	var res plan.Result
	for i := range 1_000 {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("c", i)}}
		res.Actions = append(res.Actions, plan.Action{Type: plan.Create, Key: object.KeyOf(schema.GroupKind{Kind: "ConfigMap"}, cm), Object: cm})
	}
	for turn := range 2 {
		ctx := rights.WithTurn(t.Context())
		if err := r.Authorize(ctx, ks, res); err == nil {
			t.Fatal("what nobody decided about is allowed")
		}
		err := r.Allowed(ctx, ks, "get", res.Actions[1].Key)
		if !errors.Is(err, rights.ErrUnanswered) {
			t.Errorf("another question of the turn: %v", err)
		}
		if access.asked != turn+1 {
			t.Errorf("asked %d times in %d turns", access.asked, turn+1)
		}
	}
}
