package pki

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// shortLife is the life from which on a certificate ends earlier by clockSkew, as
// it begins earlier by that: five minutes are about a hundredth of it.
const shortLife = 8 * time.Hour

var (
	keyUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
		certificatesv1.UsageSigning:           x509.KeyUsageDigitalSignature,
		certificatesv1.UsageDigitalSignature:  x509.KeyUsageDigitalSignature,
		certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment,
		certificatesv1.UsageKeyEncipherment:   x509.KeyUsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement:      x509.KeyUsageKeyAgreement,
		certificatesv1.UsageDataEncipherment:  x509.KeyUsageDataEncipherment,
		certificatesv1.UsageEncipherOnly:      x509.KeyUsageEncipherOnly,
		certificatesv1.UsageDecipherOnly:      x509.KeyUsageDecipherOnly,
	}
	extendedUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
		certificatesv1.UsageServerAuth: x509.ExtKeyUsageServerAuth,
		certificatesv1.UsageClientAuth: x509.ExtKeyUsageClientAuth,
	}
)

// Sign signs the certificate that a request asks for, whose signature the caller
// has checked, for so long: the request's subject and names, and none of its
// other extensions. It is never an authority. Usages that no certificate of the
// cluster has, such as that of authorities, are refused.
func (s *Set) Sign(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage, lifetime time.Duration, now time.Time) (certPEM []byte, err error) {
	t := &x509.Certificate{
		Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses,
		EmailAddresses: request.EmailAddresses, URIs: request.URIs,
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(lifetime), BasicConstraintsValid: true,
	}
	for _, usage := range usages {
		if key, ok := keyUsages[usage]; ok {
			t.KeyUsage |= key
		} else if extended, ok := extendedUsages[usage]; ok {
			t.ExtKeyUsage = append(t.ExtKeyUsage, extended)
		} else {
			return nil, fmt.Errorf("the usage %q is not signed", usage)
		}
	}
	if lifetime >= shortLife {
		t.NotAfter = t.NotAfter.Add(-clockSkew)
	}
	if !now.Before(s.caCert.NotAfter) {
		return nil, fmt.Errorf("the authority's certificate has expired on %s: make a new one by removing ca.crt", s.caCert.NotAfter.Format(time.DateOnly))
	}
	if t.NotAfter.After(s.caCert.NotAfter) {
		t.NotAfter = s.caCert.NotAfter
	}
	if t.SerialNumber, err = serialNumber(); err != nil {
		return nil, err
	}
	if request.PublicKey == nil {
		return nil, errors.New("the request has a key of an unknown kind")
	}
	der, err := x509.CreateCertificate(rand.Reader, t, s.caCert, request.PublicKey, s.caKey)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %q: %w", request.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
