package pki

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Credentials prove who a client is: a certificate with its key, or a token.
type Credentials struct {
	// User names the entry in the file; it has no meaning to the server.
	User             string
	CertPEM, KeyPEM  []byte
	Token            string
	DefaultNamespace string
	ClusterName      string
}

// Kubeconfig returns a kubeconfig for the server at the URL server, which
// contains everything it needs. The cluster's name is "headway" unless given.
func Kubeconfig(server string, caPEM []byte, as Credentials) ([]byte, error) {
	cluster := as.ClusterName
	if cluster == "" {
		cluster = "headway"
	}
	name := as.User + "@" + cluster
	config := clientcmdapi.NewConfig()
	config.Clusters[cluster] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: caPEM}
	config.AuthInfos[as.User] = &clientcmdapi.AuthInfo{
		ClientCertificateData: as.CertPEM, ClientKeyData: as.KeyPEM, Token: as.Token,
	}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: as.User, Namespace: as.DefaultNamespace}
	config.CurrentContext = name
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return data, nil
}

// WriteKubeconfig writes a Kubeconfig to a file that only its owner can read.
func WriteKubeconfig(path, server string, caPEM []byte, as Credentials) error {
	data, err := Kubeconfig(server, caPEM, as)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if err := WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", path, err)
	}
	return nil
}

// ClusterInfo returns what the ConfigMap cluster-info has for machines that join: a
// kubeconfig with the server's URL and authority, and nobody's credentials.
func ClusterInfo(server string, caPEM []byte) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[""] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: caPEM}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return data, nil
}
