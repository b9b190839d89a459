package syncer

import (
	"context"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A turn that is free is taken also when there is no time left to wait, and one
// that is not is not.
func TestTakeWithoutTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 {
		k := newKustomization(nil, keyOf(&kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "one"}}))
		if !k.take(ctx) {
			t.Fatal("the turn was free, and was not taken")
		}
		if k.take(ctx) {
			t.Fatal("the turn was taken twice")
		}
	}
}
