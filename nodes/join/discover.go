package join

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/jws"
	"k8s.io/cluster-bootstrap/util/tokens"

	"headway.dev/nodes/wait"
)

// hashPrefix names how an authority is hashed, as for kubeadm.
const hashPrefix = "sha256:"

// clusterInfoPath is what is asked of a server that is not believed yet.
const clusterInfoPath = "/api/v1/namespaces/" + metav1.NamespacePublic + "/configmaps/" + bootstrapapi.ConfigMapClusterInfo

// askTimeout bounds each question of the discovery.
const askTimeout = 30 * time.Second

// Hash is the hash of an authority that a machine which joins is given: of its public
// key, as kubeadm's --discovery-token-ca-cert-hash. Of several it is the first one's.
func Hash(caPEM []byte) (string, error) {
	certs, err := cert.ParseCertsPEM(caPEM)
	if err != nil {
		return "", fmt.Errorf("the cluster's authority: %w", err)
	}
	return hashOf(certs[0]), nil
}

func hashOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hashPrefix + hex.EncodeToString(sum[:])
}

// trusted are the authorities among some that have one of the hashes. All others are
// left out: who is in between could have added one.
func trusted(caPEM []byte, hashes []string) ([]byte, error) {
	certs, err := cert.ParseCertsPEM(caPEM)
	if err != nil {
		return nil, fmt.Errorf("the cluster's authority: %w", err)
	}
	kept := slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return !slices.Contains(hashes, hashOf(c)) })
	if len(kept) == 0 {
		return nil, fmt.Errorf("the server's authority has the hash %s, which is not the given one: it is another cluster, or somebody answers in the server's place", hashOf(certs[0]))
	}
	return cert.EncodeCertificates(kept...)
}

// CheckHash reports what is wrong with the form of a hash.
func CheckHash(hash string) error {
	sum, ok := strings.CutPrefix(hash, hashPrefix)
	raw, err := hex.DecodeString(sum)
	if !ok || err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("%q is no hash of an authority: copy all of sha256:… from `headway token create`", hash)
	}
	return nil
}

// errAgain is an error that may be over in a moment.
type errAgain struct{ error }

func (e errAgain) Unwrap() error { return e.error }

// patience is for how long a discovery is tried again.
const patience = 10 * time.Second

// discover is Discover, and tries for a while what may be over in a moment.
func discover(ctx context.Context, cfg Config) ([]byte, error) {
	for began := time.Now(); ; {
		caPEM, err := Discover(ctx, cfg.Server, cfg.Token, cfg.Hashes)
		if _, again := errors.AsType[errAgain](err); !again || time.Since(began) > patience || !wait.Sleep(ctx, time.Second) {
			return caPEM, err
		}
	}
}

// Discover asks the server at a URL for the cluster's authority, and believes it if the
// bootstrap token has signed it and one of the hashes is that of its key. Who only
// listens in between learns nothing, and who answers instead is refused.
func Discover(ctx context.Context, server, token string, hashes []string) (caPEM []byte, err error) {
	id, secret, err := tokens.ParseToken(token)
	if err != nil {
		return nil, errors.New("the token is not of the form abcdef.0123456789abcdef: copy it from `headway token create`")
	}
	// Nothing is sent that is secret, and nothing believed that is not proven below.
	first := &rest.Config{Host: server, Timeout: askTimeout, TLSClientConfig: rest.TLSClientConfig{Insecure: true}} //nolint:gosec // see above
	info, err := clusterInfo(ctx, first)
	if err != nil {
		return nil, err
	}
	content := info.Data[bootstrapapi.KubeConfigKey]
	signature := info.Data[bootstrapapi.JWSSignatureKeyPrefix+id]
	switch {
	case content == "":
		return nil, fmt.Errorf("the server at %s does not tell its authority: is it a Headway server?", server)
	case signature == "":
		// It signs a moment after a token is made.
		return nil, errAgain{errors.New("the server does not know this token: it has expired, or was deleted; make one with `headway token create`")}
	case !jws.DetachedTokenIsValid(signature, content, id, secret):
		return nil, errors.New("the token's second half is not the one that the server knows: copy all of it from `headway token create`, or somebody answers in the server's place")
	}
	config, err := clientcmd.Load([]byte(content))
	if err != nil {
		return nil, fmt.Errorf("read what the server tells of the cluster: %w", err)
	}
	for _, cluster := range config.Clusters {
		caPEM = cluster.CertificateAuthorityData
	}
	if caPEM, err = trusted(caPEM, hashes); err != nil {
		return nil, err
	}
	return caPEM, proven(ctx, server, caPEM, content)
}

// proven asks again, and believes only the authority this time: who had answered in
// the server's place cannot.
func proven(ctx context.Context, server string, caPEM []byte, content string) error {
	info, err := clusterInfo(ctx, &rest.Config{Host: server, Timeout: askTimeout, TLSClientConfig: rest.TLSClientConfig{CAData: caPEM}})
	if err != nil {
		return err
	}
	if !bytes.Equal([]byte(info.Data[bootstrapapi.KubeConfigKey]), []byte(content)) {
		return errAgain{errors.New("the server told two different things of the cluster: try again")}
	}
	return nil
}

func clusterInfo(ctx context.Context, config *rest.Config) (*corev1.ConfigMap, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	info, err := client.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, bootstrapapi.ConfigMapClusterInfo, metav1.GetOptions{})
	if apierrors.IsUnauthorized(err) {
		return nil, fmt.Errorf("the server at %s tells its authority to nobody without a name: machines cannot join while it runs with --anonymous-auth=false, or an --authentication-config in which anonymous does not have the path %s", config.Host, clusterInfoPath)
	}
	if err != nil {
		return nil, errAgain{fmt.Errorf("ask the server at %s for the cluster's authority: %w", config.Host, err)}
	}
	return info, nil
}
