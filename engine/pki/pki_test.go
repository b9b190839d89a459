package pki_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/pki"
)

// A client that reads the kubeconfig and a server with the set's certificate
// know each other, and the server learns the user and the groups.
func TestKubeconfigReachesServer(t *testing.T) {
	dir := t.TempDir()
	set, err := pki.Ensure(filepath.Join(dir, "pki"), []string{"cluster.example"})
	if err != nil {
		t.Fatal(err)
	}
	var subject string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject = r.TLS.PeerCertificates[0].Subject.String()
	}))
	pair, err := tls.X509KeyPair(set.ServerCert, set.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: set.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	srv.StartTLS()
	defer srv.Close()

	certPEM, keyPEM, err := set.Client("alice", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kubeconfig")
	if err := pki.WriteKubeconfig(path, srv.URL, set.CACert, pki.Credentials{User: "alice", CertPEM: certPEM, KeyPEM: keyPEM}); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if want := "CN=alice,O=system:masters"; subject != want {
		t.Errorf("server saw %q, want %q", subject, want)
	}
	for _, f := range []string{path, filepath.Join(dir, "pki", "ca.key"), filepath.Join(dir, "pki", "server.key")} {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", f, info.Mode().Perm())
		}
	}
}

// A second Ensure keeps what is there; another name makes a new serving
// certificate under the same authority.
func TestEnsureKeeps(t *testing.T) {
	dir := t.TempDir()
	first, err := pki.Ensure(dir, []string{"10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := pki.Ensure(dir, []string{"10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.ServerCert, second.ServerCert) || !bytes.Equal(first.CACert, second.CACert) {
		t.Error("the second Ensure made new certificates")
	}
	third, err := pki.Ensure(dir, []string{"10.0.0.2"})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.CACert, third.CACert) {
		t.Error("a new name made a new authority")
	}
	pair, err := tls.X509KeyPair(third.ServerCert, third.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: first.Pool(), DNSName: "10.0.0.2"}); err != nil {
		t.Errorf("new serving certificate: %v", err)
	}
}

// The authority of the front proxy stays, and is not that of users.
func TestEnsureFrontProxy(t *testing.T) {
	dir := t.TempDir()
	users, err := pki.Ensure(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := pki.EnsureFrontProxy(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := pki.EnsureFrontProxy(dir)
	if err != nil || !bytes.Equal(first.CACert, second.CACert) {
		t.Errorf("the second call made another authority (%v)", err)
	}
	certPEM, keyPEM, err := first.Client(pki.FrontProxyName)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: first.Pool(), KeyUsages: usage}); err != nil {
		t.Error(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: users.Pool(), KeyUsages: usage}); err == nil {
		t.Error("the certificate of the front proxy is that of a user")
	}
}

// A crash between the writes of the authority's key and certificate is made
// good with the same key, so that certificates signed before stay valid.
func TestEnsureAfterCrash(t *testing.T) {
	dir := t.TempDir()
	first, err := pki.Ensure(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	second, err := pki.Ensure(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(first.ServerCert, first.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: second.Pool()}); err != nil {
		t.Errorf("a certificate from before: %v", err)
	}
}

// A damaged authority is reported and left for a person to look at.
func TestEnsureRefusesDamagedAuthority(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Ensure(dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Ensure(dir, nil); err == nil {
		t.Error("Ensure accepted a damaged authority")
	}
}
