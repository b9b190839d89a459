package controllers_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/jws"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Tokens go when they expire, and cluster-info is signed with those that are there
// and may sign.
func TestBootstrapTokens(t *testing.T) {
	c := start(t, 0)
	key := func(id string) object.Key {
		return object.Key{GroupKind: control.Secret, Namespace: metav1.NamespaceSystem, Name: bootstrapapi.BootstrapTokenSecretPrefix + id}
	}
	token := func(id string, kind corev1.SecretType, left time.Duration, usage string) change.Change {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key(id).Namespace, Name: key(id).Name}, Type: kind, Data: map[string][]byte{
			bootstrapapi.BootstrapTokenIDKey: []byte(id), bootstrapapi.BootstrapTokenSecretKey: []byte("0123456789abcdef"), usage: []byte("true"),
		}}
		if left != 0 {
			s.Data[bootstrapapi.BootstrapTokenExpirationKey] = []byte(time.Now().Add(left).Format(time.RFC3339Nano))
		}
		return change.Create(s, time.Now())
	}
	const kind, signs = bootstrapapi.SecretTypeBootstrapToken, bootstrapapi.BootstrapTokenUsageSigningKey
	content := "apiVersion: v1\nkind: Config\n"
	c.commit(
		token("expire", kind, -time.Hour, signs), token("soon00", kind, 300*time.Millisecond, signs), token("later0", kind, time.Hour, signs), token("always", kind, 0, signs),
		token("authen", kind, 0, bootstrapapi.BootstrapTokenUsageAuthentication), token("opaque", corev1.SecretTypeOpaque, -time.Hour, signs),
		change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespacePublic, Name: bootstrapapi.ConfigMapClusterInfo}, Data: map[string]string{
			bootstrapapi.KubeConfigKey: content, bootstrapapi.JWSSignatureKeyPrefix + "gone00": "x",
		}}, time.Now()),
	)
	signed := func(ids ...string) func() bool {
		return func() bool {
			info := control.Get[corev1.ConfigMap](c.store, object.Key{GroupKind: control.ConfigMap, Namespace: metav1.NamespacePublic, Name: bootstrapapi.ConfigMapClusterInfo})
			for _, id := range ids {
				if !jws.DetachedTokenIsValid(info.Data[bootstrapapi.JWSSignatureKeyPrefix+id], content, id, "0123456789abcdef") {
					return false
				}
			}
			return info.Data[bootstrapapi.KubeConfigKey] == content && len(info.Data) == 1+len(ids)
		}
	}
	c.eventually("what has expired goes", func() bool { return c.store.Get(key("expire")) == nil && c.store.Get(key("soon00")) == nil })
	c.eventually("cluster-info is signed by those that are left and may", signed("later0", "always"))
	for _, id := range []string{"later0", "always", "authen", "opaque"} {
		if c.store.Get(key(id)) == nil {
			t.Errorf("the token %s is gone", id)
		}
	}
	c.commit(change.Delete(key("always"), metav1.DeleteOptions{}, time.Now()))
	c.eventually("the signature of a token goes with it", signed("later0"))
}
