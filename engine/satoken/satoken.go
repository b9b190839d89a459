// Package satoken makes and checks the tokens of service accounts: JSON Web
// Tokens with the claims that Kubernetes gives them, signed with ES256.
//
// Key types, in reading order: [Issuer] with [Issuer.Issue],
// [Issuer.IssueForSecret] and [Issuer.Check], [Bound], [Identity].
//
// A token is good until it expires, its account is gone, or the pod, Secret or node
// that it is bound to is; all of that is read from the store when the token is
// checked. An Issuer is immutable and safe for concurrent use.
package satoken

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"headway.dev/manifests/model/object"
)

// URL is the issuer, and the audience of tokens for the API server, as
// Kubernetes clusters have it by default.
const URL = "https://kubernetes.default.svc.cluster.local"

// accountClaim is where Kubernetes keeps what the token is of and bound to.
type accountClaim struct {
	Namespace      string `json:"namespace,omitempty"`
	Node           *ref   `json:"node,omitempty"`
	Pod            *ref   `json:"pod,omitempty"`
	Secret         *ref   `json:"secret,omitempty"`
	ServiceAccount ref    `json:"serviceaccount"`
}

type ref struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

type claims struct {
	jwt.RegisteredClaims
	Kubernetes accountClaim `json:"kubernetes.io"`
}

// found are the claims of a token of whichever kind.
type found struct {
	claims
	secretClaim
}

// Bound is the object with which a token ends: at most one of its fields is
// set, or a pod and its node.
type Bound struct {
	Pod    *corev1.Pod
	Secret *corev1.Secret
	Node   *corev1.Node
}

// Identity is the identity of a token's bearer.
type Identity struct {
	Name, UID string
	Groups    []string
	// Extra has the token's ID and what it is bound to, under Kubernetes' keys.
	Extra map[string][]string
	// Audiences are the requested audiences that the token has.
	Audiences []string
}

// Issuer signs and checks tokens.
type Issuer struct {
	key    *ecdsa.PrivateKey
	id     string
	reader object.Reader
	now    func() time.Time
}

// New returns an issuer that signs with key and looks accounts up in reader.
func New(key *ecdsa.PrivateKey, reader object.Reader, now func() time.Time) (*Issuer, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("key of service accounts: %w", err)
	}
	hash := sha256.Sum256(der)
	return &Issuer{key: key, id: base64.RawURLEncoding.EncodeToString(hash[:]), reader: reader, now: now}, nil
}

// Issue signs a token of an account for the audiences, valid for a time.
func (i *Issuer) Issue(account *corev1.ServiceAccount, audiences []string, lifetime time.Duration, bound Bound) (token string, expires time.Time, err error) {
	now := i.now().Truncate(time.Second)
	expires = now.Add(lifetime)
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: URL, Subject: userName(account.Namespace, account.Name), Audience: audiences, ID: string(uuid.NewUUID()),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Kubernetes: accountClaim{Namespace: account.Namespace, ServiceAccount: ref{account.Name, account.UID}},
	}
	if bound.Pod != nil {
		c.Kubernetes.Pod = &ref{bound.Pod.Name, bound.Pod.UID}
	}
	if bound.Node != nil {
		c.Kubernetes.Node = &ref{bound.Node.Name, bound.Node.UID}
	}
	if bound.Secret != nil {
		c.Kubernetes.Secret = &ref{bound.Secret.Name, bound.Secret.UID}
	}
	if token, err = i.sign(c); err != nil {
		return "", time.Time{}, err
	}
	return token, expires, nil
}

func (i *Issuer) sign(c jwt.Claims) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	t.Header["kid"] = i.id
	token, err := t.SignedString(i.key)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	return token, nil
}

// verify checks the signature and the time of a token that was parsed, of which
// signed is the part that the signature is of.
func (i *Issuer) verify(t *jwt.Token, signed string, more ...jwt.ParserOption) error {
	if t.Method != jwt.SigningMethodES256 {
		return fmt.Errorf("service account token: %w: signing method %s is invalid", jwt.ErrTokenSignatureInvalid, t.Method.Alg())
	}
	if err := t.Method.Verify(signed, t.Signature, &i.key.PublicKey); err != nil {
		return fmt.Errorf("service account token: %w: %w", jwt.ErrTokenSignatureInvalid, err)
	}
	if err := jwt.NewValidator(append(more, jwt.WithTimeFunc(i.now))...).Validate(t.Claims); err != nil {
		return fmt.Errorf("service account token: %w: %w", jwt.ErrTokenInvalidClaims, err)
	}
	return nil
}

// ErrForeign reports a token that is not from this issuer, and may be
// another's.
var ErrForeign = errors.New("not a token of a service account of this cluster")

// Check returns the identity of a token for one of the audiences (none: the API
// server). It fails with ErrForeign, or with the reason why the token is not,
// or no longer, valid.
func (i *Issuer) Check(token string, audiences []string) (*Identity, error) {
	var c found
	parsed, parts, err := jwt.NewParser().ParseUnverified(token, &c)
	if err != nil || parsed.Header["kid"] != i.id {
		return nil, ErrForeign
	}
	signed := parts[0] + "." + parts[1]
	switch c.Issuer {
	case URL:
		if err := i.verify(parsed, signed, jwt.WithExpirationRequired()); err != nil {
			return nil, err
		}
		return i.check(c.claims, audiences)
	case secretIssuer:
		if err := i.verify(parsed, signed); err != nil {
			return nil, err
		}
		return i.checkSecret(token, c, audiences)
	}
	return nil, ErrForeign
}

// check is Check for a verified token that expires.
func (i *Issuer) check(c claims, audiences []string) (*Identity, error) {
	if len(audiences) == 0 {
		audiences = []string{URL}
	}
	var granted []string
	for _, a := range c.Audience {
		if slices.Contains(audiences, a) {
			granted = append(granted, a)
		}
	}
	if len(granted) == 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", []string(c.Audience), audiences)
	}
	if err := i.lives(c.Kubernetes); err != nil {
		return nil, err
	}
	k := c.Kubernetes
	id := identity(k.Namespace, k.ServiceAccount)
	if id.Name != c.Subject {
		return nil, errSubject
	}
	id.Audiences = granted
	id.Extra = map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=" + c.ID}}
	for name, r := range map[string]*ref{"pod": k.Pod, "node": k.Node} {
		if r != nil {
			id.Extra["authentication.kubernetes.io/"+name+"-name"] = []string{r.Name}
			id.Extra["authentication.kubernetes.io/"+name+"-uid"] = []string{string(r.UID)}
		}
	}
	return id, nil
}

var errSubject = errors.New("service account token: the subject is not its account")

func identity(namespace string, account ref) *Identity {
	return &Identity{
		Name: userName(namespace, account.Name), UID: string(account.UID),
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace},
	}
}

// leeway is for how long after its deletion something keeps its tokens while it is
// still there. A pod's deletion is at the end of its grace period: it may need
// them to end.
const leeway = time.Minute

var errInvalidated = errors.New("service account token has been invalidated")

// lives reports whether the account and what a token is bound to are still there.
func (i *Issuer) lives(c accountClaim) error {
	if err := i.accountLives(c.Namespace, c.ServiceAccount); err != nil {
		return err
	}
	if c.Secret != nil {
		secret, err := i.find("Secret", c.Namespace, *c.Secret)
		if err != nil {
			return err
		}
		if secret.GetDeletionTimestamp() != nil {
			return errInvalidated
		}
	}
	bound, kind, namespace := c.Pod, "Pod", c.Namespace
	if bound == nil {
		// The node of a pod is only told: with it, the pod would go.
		bound, kind, namespace = c.Node, "Node", ""
	}
	if bound == nil {
		return nil
	}
	obj, err := i.find(kind, namespace, *bound)
	if err != nil {
		return err
	}
	if at := obj.GetDeletionTimestamp(); at != nil && at.Time.Before(i.now().Add(-leeway)) {
		return errInvalidated
	}
	return nil
}

func (i *Issuer) accountLives(namespace string, r ref) error {
	account, err := i.find("ServiceAccount", namespace, r)
	if err != nil {
		return err
	}
	if account.GetDeletionTimestamp() != nil {
		return fmt.Errorf("service account %s/%s has been deleted", namespace, r.Name)
	}
	return nil
}

func (i *Issuer) get(kind, namespace, name string) object.Object {
	return i.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: kind}, Namespace: namespace, Name: name})
}

func (i *Issuer) find(kind, namespace string, r ref) (object.Object, error) {
	obj := i.get(kind, namespace, r.Name)
	switch {
	case obj == nil:
		return nil, fmt.Errorf("service account token: the %s %s/%s does not exist", kind, namespace, r.Name)
	case obj.GetUID() != r.UID:
		return nil, fmt.Errorf("service account token: the UID of the %s %s/%s is not that of the token", kind, namespace, r.Name)
	}
	return obj, nil
}

func userName(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}
