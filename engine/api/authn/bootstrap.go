package authn

import (
	"context"
	"crypto/subtle"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/util/secrets"
	"k8s.io/cluster-bootstrap/util/tokens"

	"headway.dev/manifests/model/object"
)

// bootstrapTokens knows the bearers of the tokens that Secrets of the type
// bootstrap.kubernetes.io/token in kube-system say.
type bootstrapTokens struct{ secrets object.Reader }

// AuthenticateToken implements authenticator.Token. What is not, or no longer, a
// bootstrap token is nobody's: not even why is told.
func (b bootstrapTokens) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	id, secret, err := tokens.ParseToken(token)
	if err != nil {
		return nil, false, nil //nolint:nilerr // another kind of token
	}
	key := object.Key{GroupKind: schema.GroupKind{Kind: "Secret"}, Namespace: metav1.NamespaceSystem, Name: bootstrapapi.BootstrapTokenSecretPrefix + id}
	stored, ok := b.secrets.Get(key).(*corev1.Secret)
	if !ok || stored.DeletionTimestamp != nil || stored.Type != bootstrapapi.SecretTypeBootstrapToken || len(stored.Data) == 0 {
		return nil, false, nil
	}
	if subtle.ConstantTimeCompare(stored.Data[bootstrapapi.BootstrapTokenSecretKey], []byte(secret)) != 1 {
		return nil, false, nil
	}
	if secrets.GetData(stored, bootstrapapi.BootstrapTokenIDKey) != id || secrets.HasExpired(stored, time.Now()) ||
		secrets.GetData(stored, bootstrapapi.BootstrapTokenUsageAuthentication) != "true" {
		return nil, false, nil
	}
	groups, err := secrets.GetGroups(stored)
	if err != nil {
		return nil, false, nil //nolint:nilerr // as for Kubernetes
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: bootstrapapi.BootstrapUserPrefix + id, Groups: groups}}, true, nil
}
