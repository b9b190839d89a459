package pki

import (
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

// Renewing is a certificate that is signed anew before it ends, when somebody uses it: a
// process may run for longer than its certificates live. It is safe for concurrent use.
type Renewing struct {
	sign func() (certPEM, keyPEM []byte, err error)
	now  func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
}

// NewRenewing returns a certificate that begins as current, which may be nil, and which
// sign signs again by the clock now.
func NewRenewing(current *tls.Certificate, now func() time.Time, sign func() (certPEM, keyPEM []byte, err error)) (*Renewing, error) {
	r := &Renewing{sign: sign, now: now, current: current}
	_, err := r.Get()
	return r, err
}

// Get returns the certificate. One that cannot be signed again is used until it ends.
func (r *Renewing) Get() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.current != nil && now.Add(renewBefore).Before(r.current.Leaf.NotAfter) {
		return r.current, nil
	}
	certPEM, keyPEM, err := r.sign()
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.X509KeyPair(certPEM, keyPEM); err == nil {
			r.current = &pair
			return r.current, nil
		}
	}
	if r.current != nil && now.Before(r.current.Leaf.NotAfter) {
		return r.current, nil
	}
	return nil, fmt.Errorf("renew a certificate: %w", err)
}

// Serve is tls.Config's GetCertificate.
func (r *Renewing) Serve(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.Get() }

// Present is tls.Config's GetClientCertificate: it presents the certificate to who knows
// its authority.
func (r *Renewing) Present(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c, err := r.Get()
	if err != nil {
		return nil, err
	}
	if unknown := asked.SupportsCertificate(c); unknown != nil {
		c = &tls.Certificate{} // none
	}
	return c, nil
}
