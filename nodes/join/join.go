package join

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/certificate"
	"k8s.io/client-go/util/certificate/csr"
	"k8s.io/client-go/util/keyutil"
)

// Config says how a machine joins.
type Config struct {
	// Server is the URL of the API.
	Server string
	// Token and Hashes prove the machine and the server to each other. A machine that
	// has joined needs none.
	Token  string
	Hashes []string
	// NodeName is the name of the node.
	NodeName string
	// Dir keeps what is learned: the authority and the certificates.
	Dir string
	Log *slog.Logger
}

// The files in Config.Dir, and what the pairs of certificate and key begin with.
const (
	authorityFile  = "ca.crt"
	unfinishedFile = "joining.key"
	clientPair     = "client"
	servingPair    = "serving"
)

// Node is a machine's place in a cluster.
type Node struct {
	cfg    Config
	caPEM  []byte
	client certificate.FileStore
}

// Join returns the node's place in the cluster: that of a former run, or one that the
// token gets: it waits for the approval until ctx ends.
func Join(ctx context.Context, cfg Config) (*Node, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of certificates: %w", err)
	}
	n := &Node{cfg: cfg}
	var err error
	if n.client, err = certificate.NewFileStore(clientPair, cfg.Dir, cfg.Dir, "", ""); err != nil {
		return nil, fmt.Errorf("open the node's certificates: %w", err)
	}
	if n.caPEM, err = os.ReadFile(filepath.Join(cfg.Dir, authorityFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	current, err := n.client.Current()
	missing := new(certificate.NoCertKeyError)
	switch {
	case err != nil && !errors.As(err, &missing):
		return nil, fmt.Errorf("read the node's certificate: %w", err)
	case err == nil && len(n.caPEM) > 0 && time.Now().Before(current.Leaf.NotAfter):
		return n, errors.Join(n.isOurs(current.Leaf), n.isGiven())
	case cfg.Token == "" && err == nil:
		return nil, fmt.Errorf("the node's certificate has expired on %s: give --token and --ca-hash to join again", current.Leaf.NotAfter.Format(time.DateOnly))
	case cfg.Token == "":
		return nil, errors.New("this machine has not joined yet: give --token and --ca-hash, as `headway token create` prints them")
	}
	if n.caPEM, err = discover(ctx, cfg); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(cfg.Dir, authorityFile), n.caPEM); err != nil {
		return nil, fmt.Errorf("keep the cluster's authority: %w", err)
	}
	return n, n.identify(ctx)
}

// isOurs refuses the certificate of another node: the data directory was copied, or the
// machine got another name.
func (n *Node) isOurs(leaf *x509.Certificate) error {
	if leaf.Subject.CommonName != n.subject().CommonName {
		return fmt.Errorf("%s holds the certificate of %s, and this node is to be %s: give --node-name as before, or a data directory of its own",
			n.cfg.Dir, leaf.Subject.CommonName, n.subject().CommonName)
	}
	return nil
}

// isGiven refuses a machine of another cluster than the hashes are of.
func (n *Node) isGiven() error {
	if len(n.cfg.Hashes) == 0 {
		return nil
	}
	if _, err := trusted(n.caPEM, n.cfg.Hashes); err != nil {
		return fmt.Errorf("%s is that of a node of another cluster, or of this one before it got a new authority: remove it (headway cleanup), and join again", n.cfg.Dir)
	}
	return nil
}

func (n *Node) subject() pkix.Name {
	return pkix.Name{CommonName: "system:node:" + n.cfg.NodeName, Organization: []string{"system:nodes"}}
}

// identify gets the node's certificate by the token. The key is kept until then: a start
// that is cut off goes on with the same request.
func (n *Node) identify(ctx context.Context) error {
	unfinished := filepath.Join(n.cfg.Dir, unfinishedFile)
	key, _, err := keyutil.LoadOrGenerateKeyFile(unfinished)
	if err != nil {
		return fmt.Errorf("make the node's key: %w", err)
	}
	private, err := keyutil.ParsePrivateKeyPEM(key)
	if err != nil {
		return fmt.Errorf("read the node's key: %w", err)
	}
	request, err := cert.MakeCSR(private, new(n.subject()), nil, nil)
	if err != nil {
		return fmt.Errorf("make the request for the node's certificate: %w", err)
	}
	client, err := kubernetes.NewForConfig(n.config(func(c *rest.Config) { c.BearerToken = n.cfg.Token }))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(append([]byte(n.cfg.NodeName+"/"), key...))
	name := "node-csr-" + hex.EncodeToString(sum[:16])
	const signer = certificatesv1.KubeAPIServerClientKubeletSignerName
	name, uid, err := csr.RequestCertificateWithContext(ctx, client, request, name, signer, nil, certificate.DefaultKubeletClientGetUsages(private), private)
	if err != nil {
		return fmt.Errorf("ask for the node's certificate: %w", err)
	}
	signed, err := csr.WaitForCertificate(ctx, client, name, uid)
	if err != nil {
		err = fmt.Errorf("get the node's certificate: %w", err)
		if refused(ctx, client, name) {
			err = errors.Join(err, os.Remove(unfinished)) // the next start asks anew
		}
		return err
	}
	if _, err := n.client.Update(signed, key); err != nil {
		return fmt.Errorf("keep the node's certificate: %w", err)
	}
	// The key that it was asked for with goes once the certificate is on the disk.
	if err := errors.Join(syncPath(n.client.CurrentPath()), syncPath(n.cfg.Dir)); err != nil {
		return fmt.Errorf("keep the node's certificate: %w", err)
	}
	return os.Remove(unfinished)
}

// refused reports whether a request was denied, or is not there any more.
func refused(ctx context.Context, client kubernetes.Interface, name string) bool {
	r, err := client.CertificatesV1().CertificateSigningRequests().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed
	})
}

// config is how the API is reached.
func (n *Node) config(prove func(*rest.Config)) *rest.Config {
	c := &rest.Config{Host: n.cfg.Server, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: n.caPEM}}
	prove(c)
	return c
}

// Config is how the API is reached as the node. A certificate that is renewed is used
// within minutes.
func (n *Node) Config() *rest.Config {
	return n.config(func(c *rest.Config) {
		c.CertFile, c.KeyFile = n.client.CurrentPath(), n.client.CurrentPath()
	})
}

// Authorities verify who calls the node's server.
func (n *Node) Authorities() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(n.caPEM)
	return pool
}
