package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/up"
)

// The API's certificate is for the host name of --listen and for each --tls-san,
// as a TLS client checks it, and for no other name; the administrator's
// kubeconfig works by the name.
func TestServingNames(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, func(_ *story, up *up.Options) {
		up.Listen = "localhost:0"
		up.TLSSANs = []string{"cluster.example.com", "*.apps.example.com", "192.0.2.10"}
	})
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD")) // by the kubeconfig
	config, err := clientcmd.BuildConfigFromFlags("", s.Cfg.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	if host, _, err := net.SplitHostPort(config.Host[len("https://"):]); err != nil || host != "localhost" && host != "127.0.0.1" {
		t.Errorf("the kubeconfig's server is %s: %v", config.Host, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.CAData) {
		t.Fatal("the kubeconfig has no authority")
	}
	handshake := func(name string) error {
		dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}}
		conn, err := dialer.DialContext(t.Context(), "tcp", s.Cluster.Listener.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	for _, name := range []string{"localhost", "127.0.0.1", "cluster.example.com", "web.apps.example.com", "192.0.2.10", "kubernetes.default.svc"} {
		if err := handshake(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"other.example.com", "a.b.apps.example.com", "192.0.2.11"} {
		if err := handshake(name); err == nil {
			t.Errorf("the certificate is for %s", name)
		}
	}
}
