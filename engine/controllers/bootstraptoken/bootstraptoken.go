// Package bootstraptoken maintains what is about bootstrap tokens, the Secrets by
// which machines join: those that have expired are deleted, and the ConfigMap
// cluster-info in kube-public is signed with those that may sign it, so that a
// machine which knows only its token can trust what it says.
package bootstraptoken

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/jws"
	"k8s.io/cluster-bootstrap/util/secrets"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// clusterInfo is what is signed.
var clusterInfo = object.Key{GroupKind: control.ConfigMap, Namespace: metav1.NamespacePublic, Name: bootstrapapi.ConfigMapClusterInfo}

// token is the Secret of an event, if it is a bootstrap token.
func token(obj object.Object) (*corev1.Secret, bool) {
	s, ok := obj.(*corev1.Secret)
	return s, ok && s.Namespace == metav1.NamespaceSystem && s.Type == bootstrapapi.SecretTypeBootstrapToken
}

// NewCleaner makes the controller that deletes tokens which have expired.
func NewCleaner(env control.Env) control.Controller {
	return control.Controller{
		Name: "token-cleaner-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			if _, ok := token(ev.Object); ok && ev.Type != object.Deleted {
				add(ev.Key)
			}
		},
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			s, ok := token(env.Store.Get(key))
			if !ok || s.DeletionTimestamp != nil {
				return 0, nil
			}
			now := env.Now()
			if left, expired := secrets.GetExpiration(s, now); !expired {
				return left, nil // 0: it does not expire
			}
			seen := s.ResourceVersion
			_, err := env.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(change.Delete(key, metav1.DeleteOptions{}, now),
				func(current object.Object) bool { return current.GetResourceVersion() == seen })}})
			if err != nil {
				return 0, fmt.Errorf("delete the expired token %s: %w", key, err)
			}
			return 0, nil
		},
	}
}

// NewSigner makes the controller that signs cluster-info. Whoever bootstraps the
// cluster creates it.
func NewSigner(env control.Env) control.Controller {
	return control.Controller{
		Name: "bootstrap-signer-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			if _, ok := token(ev.Object); ok || ev.Key == clusterInfo {
				add(clusterInfo)
			}
		},
		Reconcile: func(ctx context.Context, _ object.Key) (time.Duration, error) {
			info := control.Get[corev1.ConfigMap](env.Store, clusterInfo)
			if info == nil || info.DeletionTimestamp != nil {
				return 0, nil
			}
			list, _ := env.Store.List(control.Secret, metav1.NamespaceSystem)
			signed := sign(info.Data, list, env.Now())
			if maps.Equal(signed, info.Data) {
				return 0, nil
			}
			seen := info.ResourceVersion
			_, err := env.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(change.Patch(clusterInfo, func(obj object.Object) bool {
				obj.(*corev1.ConfigMap).Data = signed
				return true
			}), func(current object.Object) bool { return current.GetResourceVersion() == seen })}})
			if err != nil {
				return 0, fmt.Errorf("sign %s: %w", clusterInfo, err)
			}
			return 0, nil
		},
	}
}

// sign returns data with the signatures of the tokens among list that may sign now,
// and with no others.
func sign(data map[string]string, list []object.Object, now time.Time) map[string]string {
	content, ok := data[bootstrapapi.KubeConfigKey]
	if !ok {
		return data
	}
	signed := maps.Clone(data)
	maps.DeleteFunc(signed, func(key, _ string) bool { return strings.HasPrefix(key, bootstrapapi.JWSSignatureKeyPrefix) })
	for _, obj := range list {
		s, ok := token(obj)
		if !ok || s.DeletionTimestamp != nil || !maySign(s, now) {
			continue
		}
		id, secret := secrets.GetData(s, bootstrapapi.BootstrapTokenIDKey), secrets.GetData(s, bootstrapapi.BootstrapTokenSecretKey)
		// One that cannot sign keeps no other from it.
		if signature, err := jws.ComputeDetachedSignature(content, id, secret); err == nil {
			signed[bootstrapapi.JWSSignatureKeyPrefix+id] = signature
		}
	}
	return signed
}

// maySign reports whether a token may sign: it is what its name says, and has not
// expired.
func maySign(s *corev1.Secret, now time.Time) bool {
	id, ok := secrets.ParseName(s.Name)
	return ok && secrets.GetData(s, bootstrapapi.BootstrapTokenIDKey) == id && secrets.GetData(s, bootstrapapi.BootstrapTokenSecretKey) != "" &&
		secrets.GetData(s, bootstrapapi.BootstrapTokenUsageSigningKey) == "true" && !secrets.HasExpired(s, now)
}
