package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// Certificates are short enough to be renewed by the restart of an
	// upgrade, and long enough for a machine that is left alone.
	leafLifetime = 365 * 24 * time.Hour
	// A stored certificate is replaced once it has less than this left.
	renewBefore = 30 * 24 * time.Hour
	// Clocks of machines that talk to each other differ.
	clockSkew = 5 * time.Minute
)

// Set is a cluster's authority and the API server's serving certificate, all
// PEM encoded.
type Set struct {
	CACert                []byte
	ServerCert, ServerKey []byte

	caCert *x509.Certificate
	caKey  crypto.Signer
}

// Ensure loads the set from dir (ca.crt, ca.key, server.crt, server.key),
// creating the directory and whatever is missing, will soon expire or does not
// cover sans: the DNS names and IP addresses by which clients reach the server.
// localhost and the loopback addresses are always included. An authority that
// exists but cannot be read is an error and is not replaced, because every
// client certificate depends on it.
func Ensure(dir string, sans []string) (*Set, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make certificate directory: %w", err)
	}
	s := &Set{}
	if err := s.ensureAuthority(dir, "headway-ca"); err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	if err := s.ensureServer(dir, append([]string{"localhost", "127.0.0.1", "::1"}, sans...)); err != nil {
		return nil, fmt.Errorf("serving certificate in %s: %w", dir, err)
	}
	return s, nil
}

// Load reads the set from dir, and creates nothing.
func Load(dir string) (*Set, error) {
	s := &Set{}
	read := func(name string) (data []byte, err error) { return os.ReadFile(filepath.Join(dir, name)) }
	var key []byte
	var err error
	if s.CACert, err = read("ca.crt"); err != nil {
		return nil, err
	}
	if key, err = read("ca.key"); err != nil {
		return nil, err
	}
	if s.ServerCert, err = read("server.crt"); err != nil {
		return nil, err
	}
	return s, s.use(s.CACert, key)
}

// Client signs a certificate for the user cn in the groups orgs, valid for a
// year.
func (s *Set) Client(cn string, orgs ...string) (certPEM, keyPEM []byte, err error) {
	return s.ClientFor(leafLifetime, cn, orgs...)
}

// ClientFor signs a certificate for the user cn in the groups orgs, valid for so
// long.
func (s *Set) ClientFor(lifetime time.Duration, cn string, orgs ...string) (certPEM, keyPEM []byte, err error) {
	return s.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: cn, Organization: orgs},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotAfter:    time.Now().Add(lifetime),
	})
}

// Serves reports whether the API's certificate is valid for a host name or
// address.
func (s *Set) Serves(host string) bool {
	certs, err := cert.ParseCertsPEM(s.ServerCert)
	return err == nil && certs[0].VerifyHostname(host) == nil
}

// Names are the host names and addresses that the API's certificate is valid for.
func (s *Set) Names() ([]string, error) {
	certs, err := cert.ParseCertsPEM(s.ServerCert)
	if err != nil {
		return nil, fmt.Errorf("parse server.crt: %w", err)
	}
	names := slices.Clone(certs[0].DNSNames)
	for _, ip := range certs[0].IPAddresses {
		names = append(names, ip.String())
	}
	return names, nil
}

// Server signs a serving certificate for the DNS names and IP addresses in
// sans, such as that of a node's streaming server; cn names its owner.
func (s *Set) Server(cn string, sans ...string) (certPEM, keyPEM []byte, err error) {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: cn},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, san)
		}
	}
	return s.sign(t)
}

// Pool holds the authority's certificate.
func (s *Set) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.caCert)
	return pool
}

// ensureAuthority loads the authority from dir, or makes one with a name.
func (s *Set) ensureAuthority(dir, name string) error {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	certPEM, certErr := os.ReadFile(certFile)
	keyPEM, keyErr := os.ReadFile(keyFile)
	if errors.Is(certErr, fs.ErrNotExist) && (keyErr == nil || errors.Is(keyErr, fs.ErrNotExist)) {
		// A key without a certificate is what a crash between the two writes
		// leaves; a certificate made anew from it is as good as the lost one.
		var err error
		if certPEM, keyPEM, err = newAuthority(keyPEM, name); err != nil {
			return err
		}
		// The key first: a certificate without its key is of no use.
		if err := errors.Join(WriteFile(keyFile, keyPEM, 0o600), WriteFile(certFile, certPEM, 0o644)); err != nil {
			return err
		}
	} else if err := errors.Join(certErr, keyErr); err != nil {
		return err
	}
	return s.use(certPEM, keyPEM)
}

// use takes the authority's certificate and key.
func (s *Set) use(certPEM, keyPEM []byte) error {
	certs, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return fmt.Errorf("parse ca.crt: %w", err)
	}
	key, err := signer(keyPEM)
	if err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return fmt.Errorf("ca.key does not belong to ca.crt: %w", err)
	}
	s.CACert, s.caCert, s.caKey = certPEM, certs[0], key
	return nil
}

func (s *Set) ensureServer(dir string, sans []string) error {
	certFile, keyFile := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	certPEM, certErr := os.ReadFile(certFile)
	keyPEM, keyErr := os.ReadFile(keyFile)
	if certErr == nil && keyErr == nil && s.serves(certPEM, keyPEM, sans) {
		s.ServerCert, s.ServerKey = certPEM, keyPEM
		return nil
	}
	certPEM, keyPEM, err := s.Server("headway", slices.Compact(sans)...)
	if err != nil {
		return err
	}
	s.ServerCert, s.ServerKey = certPEM, keyPEM
	return errors.Join(WriteFile(keyFile, keyPEM, 0o600), WriteFile(certFile, certPEM, 0o644))
}

// serves reports whether a stored serving certificate can still be used.
func (s *Set) serves(certPEM, keyPEM []byte, sans []string) bool {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil || pair.Leaf == nil {
		return false
	}
	for _, san := range sans {
		if pair.Leaf.VerifyHostname(san) != nil {
			return false
		}
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots:       s.Pool(),
		CurrentTime: time.Now().Add(renewBefore),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err == nil
}

func (s *Set) sign(template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	if template.SerialNumber, err = serialNumber(); err != nil {
		return nil, nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.NotBefore = time.Now().Add(-clockSkew)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(leafLifetime)
	}
	if template.NotAfter.After(s.caCert.NotAfter) {
		template.NotAfter = s.caCert.NotAfter
	}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, s.caCert, key.Public(), s.caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate for %q: %w", template.Subject.CommonName, err)
	}
	return encode(der, key)
}

// newAuthority makes an authority from the key in keyPEM, or from a new one if
// that is empty.
func newAuthority(keyPEM []byte, name string) (newCert, newKey []byte, err error) {
	key, err := signer(keyPEM)
	if err != nil {
		return nil, nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-clockSkew),
		NotAfter:              time.Now().Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign authority: %w", err)
	}
	return encode(der, key)
}

// signer reads the authority's key, or makes one if keyPEM is empty.
func signer(keyPEM []byte) (crypto.Signer, error) {
	if len(keyPEM) == 0 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		return key, nil
	}
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("parse ca.key: %w", err)
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("parse ca.key: a %T cannot sign", key)
	}
	return s, nil
}

func encode(der []byte, key crypto.PrivateKey) (certPEM, keyPEM []byte, err error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read back certificate: %w", err)
	}
	if certPEM, err = cert.EncodeCertificates(c); err != nil {
		return nil, nil, fmt.Errorf("encode certificate: %w", err)
	}
	if keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key); err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return certPEM, keyPEM, nil
}

func serialNumber() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

// WriteFile replaces path at once, so that a reader never sees half a file, and
// returns when the new one is on the disk.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
