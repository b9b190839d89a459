package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/certificate"
)

// Renew renews the node's certificate before it ends, at a moment between 70 and 90
// percent of its life, until ctx ends.
func (n *Node) Renew(ctx context.Context) error {
	m, err := n.manager(certificatesv1.KubeAPIServerClientKubeletSignerName, n.client, func() *x509.CertificateRequest {
		return &x509.CertificateRequest{Subject: n.subject()}
	})
	if err != nil {
		return err
	}
	m.Start()
	defer m.Stop()
	<-ctx.Done()
	return nil
}

// Serving is the certificate of the node's server.
type Serving struct{ manager certificate.Manager }

// Serving prepares the certificate of the node's server at an address. The server of the
// cluster signs it once the Node has that address.
func (n *Node) Serving(ip net.IP) (*Serving, error) {
	store, err := certificate.NewFileStore(servingPair, n.cfg.Dir, n.cfg.Dir, "", "")
	if err != nil {
		return nil, fmt.Errorf("open the node's serving certificates: %w", err)
	}
	m, err := n.manager(certificatesv1.KubeletServingSignerName, store, func() *x509.CertificateRequest {
		return &x509.CertificateRequest{Subject: n.subject(), DNSNames: []string{n.cfg.NodeName}, IPAddresses: []net.IP{ip}}
	})
	if err != nil {
		return nil, err
	}
	return &Serving{m}, nil
}

// Get is tls.Config's GetCertificate.
func (s *Serving) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.manager.Current(); c != nil {
		return c, nil
	}
	return nil, errors.New("the node's serving certificate is not there yet")
}

// Run gets the certificate and renews it until ctx ends.
func (s *Serving) Run(ctx context.Context) error {
	s.manager.Start()
	defer s.manager.Stop()
	<-ctx.Done()
	return nil
}

// manager keeps one certificate.
func (n *Node) manager(signer string, store certificate.Store, template func() *x509.CertificateRequest) (certificate.Manager, error) {
	usages := certificate.DefaultKubeletClientGetUsages
	if signer == certificatesv1.KubeletServingSignerName {
		usages = certificate.DefaultKubeletServingGetUsages
	}
	m, err := certificate.NewManager(&certificate.Config{
		ClientsetFn:      func(*tls.Certificate) (kubernetes.Interface, error) { return kubernetes.NewForConfig(n.Config()) },
		GetTemplate:      template,
		SignerName:       signer,
		GetUsages:        usages,
		CertificateStore: store,
	})
	if err != nil {
		return nil, fmt.Errorf("manage the certificate of %s: %w", signer, err)
	}
	return m, nil
}
