// Package certificates chooses the certificate for a connection by the name that its
// client asks for.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Store has the certificates that are in force. The zero value has none.
type Store struct {
	// byHost has names, *.NAME, and an empty one for all others.
	byHost atomic.Pointer[map[string]*tls.Certificate]
	own    struct {
		sync.Mutex
		certificate *tls.Certificate
	}
}

// Set replaces all certificates, by the hosts that they are for: names, *.NAME for all
// names that have one label more, and an empty one for all others.
func (s *Store) Set(byHost map[string]*tls.Certificate) { s.byHost.Store(&byHost) }

// Get implements tls.Config.GetCertificate. What no certificate is for gets one that the
// proxy made itself and nobody has reason to trust.
func (s *Store) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c, _ := s.named(hello); c != nil {
		return c, nil
	}
	return s.self(time.Now())
}

// GetBeside is Get where listeners of Gateways have certificates, too: that of the most exact
// host is chosen, and of those as exact as each other the Gateway's.
func (s *Store) GetBeside(byHost map[string][]*tls.Certificate, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, exact := choose(byHost, hello)
	if own, named := s.named(hello); own != nil && (c == nil || named > exact) {
		return own, nil
	}
	if c != nil {
		return c, nil
	}
	return s.self(time.Now())
}

// longestName is how long a name of DNS can be (RFC 1035).
const longestName = 253

// nameOf is the name that a client asks for.
func nameOf(hello *tls.ClientHelloInfo) string {
	return strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
}

// named is the certificate that is for a name; nil: there is none. exact is how exactly: the
// length of the wildcard, more than any for a name, or 0 for all others.
func (s *Store) named(hello *tls.ClientHelloInfo) (c *tls.Certificate, exact int) {
	list := s.byHost.Load()
	if list == nil {
		return nil, 0
	}
	name := nameOf(hello)
	if c := (*list)[name]; c != nil && name != "" {
		return c, longestName + 1
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if c := (*list)["*."+parent]; c != nil {
			return c, len(parent)
		}
	}
	return (*list)[""], 0
}

// Choose is the certificate of a listener of a Gateway for a connection: that of the most
// exact host, where *.NAME is for all names that end so and an empty one for all, and of its
// certificates the first that the client can use, or else the first. Nil: there is none.
func Choose(byHost map[string][]*tls.Certificate, hello *tls.ClientHelloInfo) *tls.Certificate {
	c, _ := choose(byHost, hello)
	return c
}

// choose is Choose, and how exactly as for named.
func choose(byHost map[string][]*tls.Certificate, hello *tls.ClientHelloInfo) (c *tls.Certificate, exact int) {
	name := nameOf(hello)
	if len(name) > longestName { // each label costs a look
		return nil, 0
	}
	list := byHost[name]
	if name != "" {
		exact = longestName + 1
	}
	for at := name; len(list) == 0; {
		_, parent, more := strings.Cut(at, ".")
		if !more {
			list, exact = byHost[""], 0
			break
		}
		list, at, exact = byHost["*."+parent], parent, len(parent)
	}
	for _, c := range list {
		if hello.SupportsCertificate(c) == nil {
			return c, exact
		}
	}
	if len(list) > 0 {
		return list[0], exact
	}
	return nil, 0
}

// selfTime is how long a certificate of the proxy's own is valid. It is made anew when
// half of that is over.
const selfTime = 365 * 24 * time.Hour

func (s *Store) self(now time.Time) (*tls.Certificate, error) {
	s.own.Lock()
	defer s.own.Unlock()
	if c := s.own.certificate; c != nil && now.Before(c.Leaf.NotAfter.Add(-selfTime/2)) {
		return c, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	const name = "headway-ingress-default"
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfTime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	s.own.certificate = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return s.own.certificate, nil
}

// Parse reads the certificate of a Secret of the type kubernetes.io/tls. The error tells
// nothing of what is in it.
func Parse(secret *corev1.Secret) (*tls.Certificate, error) {
	if secret.Type != corev1.SecretTypeTLS {
		return nil, fmt.Errorf("its type is %q, not %q", secret.Type, corev1.SecretTypeTLS)
	}
	c, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, errors.New("tls.crt and tls.key are no certificate and its key")
	}
	return &c, nil
}
