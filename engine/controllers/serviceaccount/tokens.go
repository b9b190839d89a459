package serviceaccount

import (
	"bytes"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/satoken"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

type tokens struct {
	control.Env
	issuer *satoken.Issuer
	rootCA []byte
	// secrets are the Secrets for tokens by the account that they name.
	secrets *control.Index
}

// NewTokens makes the controller that fills Secrets of the type
// kubernetes.io/service-account-token, and deletes those without their account.
func NewTokens(env control.Env, issuer *satoken.Issuer, rootCA []byte) control.Controller {
	t := &tokens{Env: env, issuer: issuer, rootCA: rootCA, secrets: env.Feed.Index("token secrets by account", accountOf, control.Secret)}
	return control.Controller{Name: "serviceaccount-token-controller", Keys: t.keys, Reconcile: t.reconcile}
}

// accountOf is the account that a Secret asks for a token of.
func accountOf(obj object.Object) []string {
	secret, ok := obj.(*corev1.Secret)
	if !ok || secret.Type != corev1.SecretTypeServiceAccountToken {
		return nil
	}
	return []string{secret.Namespace + "/" + secret.Annotations[corev1.ServiceAccountNameKey]}
}

func (t *tokens) keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case control.Secret:
		if ev.Type != object.Deleted && len(accountOf(ev.Object)) > 0 {
			add(ev.Key)
		}
	case control.ServiceAccount:
		for _, key := range t.secrets.Keys(ev.Key.Namespace + "/" + ev.Key.Name) {
			add(key)
		}
	}
}

func (t *tokens) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	secret := control.Get[corev1.Secret](t.Store, key)
	if secret == nil || len(accountOf(secret)) == 0 || secret.DeletionTimestamp != nil {
		return 0, nil
	}
	account := control.Get[corev1.ServiceAccount](t.Store, object.Key{
		GroupKind: control.ServiceAccount, Namespace: key.Namespace, Name: secret.Annotations[corev1.ServiceAccountNameKey],
	})
	var write change.Change
	switch uid := secret.Annotations[corev1.ServiceAccountUIDKey]; {
	case account == nil, uid != "" && uid != string(account.UID):
		write = change.Delete(key, metav1.DeleteOptions{}, t.Now())
	default:
		var token string
		if len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
			var err error
			if token, err = t.issuer.IssueForSecret(account, key.Name); err != nil {
				return 0, fmt.Errorf("token of secret %s: %w", key, err)
			}
		}
		write = change.Patch(key, func(obj object.Object) bool { return fill(obj.(*corev1.Secret), account, token, t.rootCA) })
	}
	write = control.Guarded(write, control.SameUID(secret.UID))
	if _, err := t.Commit(ctx, change.Tx{Changes: []change.Change{write}}); err != nil {
		return 0, fmt.Errorf("write secret %s: %w", key, err)
	}
	return 0, nil
}

// fill gives the Secret what it lacks, and reports whether that was anything. A
// token that is there stays, whatever it is; token is empty if there was one.
func fill(secret *corev1.Secret, account *corev1.ServiceAccount, token string, rootCA []byte) bool {
	changed := false
	put := func(key string, value []byte, replace bool) {
		have := secret.Data[key]
		if len(value) == 0 || len(have) > 0 && !replace || bytes.Equal(have, value) {
			return
		}
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[key], changed = value, true
	}
	put(corev1.ServiceAccountTokenKey, []byte(token), false)
	put(corev1.ServiceAccountRootCAKey, rootCA, true)
	put(corev1.ServiceAccountNamespaceKey, []byte(account.Namespace), false)
	if secret.Annotations[corev1.ServiceAccountUIDKey] == "" {
		secret.Annotations[corev1.ServiceAccountUIDKey], changed = string(account.UID), true
	}
	return changed
}
