package certificates_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/ingress/certificates"
)

// Which certificate a client gets for the name it asks for.
func TestGet(t *testing.T) {
	var s certificates.Store
	get := func(name string) *tls.Certificate {
		t.Helper()
		c, err := s.Get(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	own := get("a.com")
	if own.Leaf == nil || own.Leaf.Subject.CommonName != "headway-ingress-default" || get("b.com") != own {
		t.Errorf("without any, the certificate is %v", own.Leaf)
	}
	exact, wildcard, rest := &tls.Certificate{}, &tls.Certificate{}, &tls.Certificate{}
	s.Set(map[string]*tls.Certificate{"a.com": exact, "*.a.com": wildcard})
	for name, want := range map[string]*tls.Certificate{"a.com": exact, "A.COM.": exact, "b.a.com": wildcard, "c.b.a.com": own, "b.com": own, "": own} {
		if get(name) != want {
			t.Errorf("%q gets another certificate", name)
		}
	}
	s.Set(map[string]*tls.Certificate{"": rest})
	for _, name := range []string{"a.com", "", "com"} {
		if get(name) != rest {
			t.Errorf("%q does not get the one for all others", name)
		}
	}
}

// Beside listeners of Gateways the most exact host's certificate is chosen.
func TestGetBeside(t *testing.T) {
	var s certificates.Store
	exact, wildcard, listener, other := &tls.Certificate{}, &tls.Certificate{}, &tls.Certificate{}, &tls.Certificate{}
	s.Set(map[string]*tls.Certificate{"a.com": exact, "*.b.com": wildcard})
	for _, tc := range []struct {
		listeners string
		name      string
		want      *tls.Certificate
	}{
		{"", "a.com", exact},
		{"", "x.b.com", wildcard},
		{"", "y.x.b.com", listener}, // an Ingress' wildcard has one label
		{"", "c.com", listener},
		{"", "", listener},
		{"*.com", "a.com", exact},
		{"*.com", "x.b.com", wildcard},
		{"*.b.com", "x.b.com", listener},
		{"x.b.com", "x.b.com", listener},
		{"a.com", "A.com.", listener},
		{"z.com", "a.com", exact},
	} {
		c, err := s.GetBeside(map[string][]*tls.Certificate{tc.listeners: {listener}, "other.org": {other}}, &tls.ClientHelloInfo{ServerName: tc.name})
		if err != nil || c != tc.want {
			t.Errorf("with a listener of %q, %q gets another certificate (%v)", tc.listeners, tc.name, err)
		}
	}
	if c, err := s.GetBeside(nil, &tls.ClientHelloInfo{ServerName: "c.com"}); err != nil || c.Leaf.Subject.CommonName != "headway-ingress-default" {
		t.Errorf("what nobody has a certificate for: %v", err)
	}
}

// What is no certificate is told without telling what it is.
func TestParse(t *testing.T) {
	var s certificates.Store
	c, err := s.Get(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	good := func() *corev1.Secret {
		return &corev1.Secret{Type: corev1.SecretTypeTLS, Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		}}
	}
	if got, err := certificates.Parse(good()); err != nil || got.Leaf.Subject.CommonName != "headway-ingress-default" {
		t.Errorf("a certificate: %v, %v", got, err)
	}
	opaque, broken := good(), good()
	opaque.Type = corev1.SecretTypeOpaque
	broken.Data[corev1.TLSPrivateKeyKey] = []byte("hidden")
	for want, secret := range map[string]*corev1.Secret{`its type is "Opaque", not "kubernetes.io/tls"`: opaque, "tls.crt and tls.key are no certificate and its key": broken} {
		if _, err := certificates.Parse(secret); err == nil || err.Error() != want || strings.Contains(err.Error(), "hidden") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
