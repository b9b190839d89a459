package satoken_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/satoken"
	"headway.dev/manifests/model/object"
)

// one is a reader of one object.
type one struct{ obj object.Object }

func (o one) Get(object.Key) object.Object { return o.obj }

func (o one) List(schema.GroupKind, string) ([]object.Object, uint64) {
	return []object.Object{o.obj}, 1
}

// The check of one token: docs/adr/0065 says why its outcome is not kept.
func BenchmarkCheck(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bench", UID: "1"}}
	issuer, err := satoken.New(key, one{account}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	token, _, err := issuer.Issue(account, []string{satoken.URL}, time.Hour, satoken.Bound{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuer.Check(token, nil); err != nil {
			b.Fatal(err)
		}
	}
}
