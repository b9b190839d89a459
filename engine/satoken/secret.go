package satoken

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// secretIssuer is who Kubernetes says issues the tokens that are kept in
// Secrets.
const secretIssuer = "kubernetes/serviceaccount"

// secretClaim is what a token in a Secret is of. It does not expire, and is for
// the API server only.
type secretClaim struct {
	Namespace  string    `json:"kubernetes.io/serviceaccount/namespace"`
	Secret     string    `json:"kubernetes.io/serviceaccount/secret.name"`
	Account    string    `json:"kubernetes.io/serviceaccount/service-account.name"`
	AccountUID types.UID `json:"kubernetes.io/serviceaccount/service-account.uid"`
}

// IssueForSecret signs a token of an account that is valid as long as the
// Secret of that name, in the account's namespace, contains it.
func (i *Issuer) IssueForSecret(account *corev1.ServiceAccount, secret string) (string, error) {
	return i.sign(struct {
		jwt.RegisteredClaims
		secretClaim
	}{
		jwt.RegisteredClaims{Issuer: secretIssuer, Subject: userName(account.Namespace, account.Name)},
		secretClaim{Namespace: account.Namespace, Secret: secret, Account: account.Name, AccountUID: account.UID},
	})
}

// checkSecret is Check for a verified token in a Secret.
func (i *Issuer) checkSecret(token string, f found, audiences []string) (*Identity, error) {
	c := f.secretClaim
	if len(audiences) > 0 && !slices.Contains(audiences, URL) {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", []string{URL}, audiences)
	}
	if err := i.accountLives(c.Namespace, ref{c.Account, c.AccountUID}); err != nil {
		return nil, err
	}
	secret, ok := i.get("Secret", c.Namespace, c.Secret).(*corev1.Secret)
	if !ok || secret.DeletionTimestamp != nil {
		return nil, errors.New("service account token has been invalidated")
	}
	if subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) != 1 {
		return nil, errors.New("service account token is not the one in its Secret")
	}
	id := identity(c.Namespace, ref{c.Account, c.AccountUID})
	if id.Name != f.Subject {
		return nil, errSubject
	}
	id.Audiences = []string{URL}
	return id, nil
}
