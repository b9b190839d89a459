package authn

import (
	"crypto/sha256"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/utils/lru"
)

// verifiedCertificates remembers which client certificates have been verified:
// the signature check of every request would cost as much as reading an object.
// The authorities never change while the server runs, so only time can make a
// verified certificate wrong.
type verifiedCertificates struct {
	verify authenticator.Request
	known  *lru.Cache // certificate hash → *authenticator.Response
}

func newVerifiedCertificates(verify authenticator.Request) *verifiedCertificates {
	return &verifiedCertificates{verify: verify, known: lru.New(1024)}
}

// AuthenticateRequest implements authenticator.Request.
func (v *verifiedCertificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	leaf := r.TLS.PeerCertificates[0]
	hash := sha256.Sum256(leaf.Raw)
	now := time.Now()
	if found, ok := v.known.Get(hash); ok && now.After(leaf.NotBefore) && now.Before(leaf.NotAfter) {
		return found.(*authenticator.Response), true, nil
	}
	response, ok, err := v.verify.AuthenticateRequest(r)
	if err == nil && ok {
		v.known.Add(hash, response)
	}
	return response, ok, err
}
