package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

const helloIngress = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: hello, namespace: hello}
spec:
  tls: [{hosts: [hello.example.com], secretName: hello-tls}]
  rules:
  - host: hello.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: hello, port: {name: http}}}}]}
  - host: dead.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: nobody, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: foreign}
spec: {controller: example.com/proxy}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: foreign, namespace: hello}
spec:
  ingressClassName: foreign
  rules:
  - host: foreign.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: hello, port: {number: 80}}}}]}
`

// An Ingress of Git is served with the certificate of a Secret, which may be replaced;
// rolling updates behind it lose no request; one of another controller is left alone.
func TestIngress(t *testing.T) {
	c := e2e.Start(t)
	refused := func(port string) error {
		conn, err := dialer(c)(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			return fmt.Errorf("port %s is open", port)
		}
		return nil
	}
	for _, port := range []string{"80", "443"} {
		if err := refused(port); err != nil {
			t.Errorf("before there is an Ingress: %v", err)
		}
	}
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	first := newCertificate(t)
	c.KubectlIn(first.secret(), "apply", "-f", "-")
	c.Clone.Write("ingress.yaml", helloIngress)
	c.Clone.Replace("kustomization.yaml", "resources:\n", "resources:\n  - ingress.yaml\n")
	c.Deployed(c.Clone.Push("Serve hello"))
	before := readyPods(t, c, 3)

	client := func(trust *certificate) *ingressClient { return newIngressClient(t, c, trust) }
	one := client(first)
	c.Eventually(30*time.Second, "the Ingress is served with its certificate", func() error {
		return one.answers("https://hello.example.com/", http.StatusOK, "Hello from Git!")
	})
	for url, want := range map[string]int{
		"http://hello.example.com/x": http.StatusOK, "http://foreign.example.com/": http.StatusNotFound, "http://other.example.com/": http.StatusNotFound, "http://dead.example.com/": http.StatusServiceUnavailable,
	} {
		if err := one.answers(url, want, ""); err != nil {
			t.Error(err)
		}
	}
	c.Eventually(30*time.Second, "status, columns and events tell of it", func() error {
		text := c.Kubectl("get", "ingresses", "-n", "hello")
		described := c.Kubectl("describe", "ingress", "hello", "-n", "hello")
		for in, want := range map[string]string{text: "headway   hello.example.com,dead.example.com   ", described: "there is no Service nobody"} {
			if !strings.Contains(in, want) {
				return fmt.Errorf("%q lacks %q", in, want)
			}
		}
		if ip := c.Kubectl("get", "ingress", "hello", "-n", "hello", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"); net.ParseIP(strings.TrimSpace(ip)) == nil {
			return fmt.Errorf("the status has the address %q", ip)
		}
		if status := c.Kubectl("get", "ingress", "foreign", "-n", "hello", "-o", "jsonpath={.status.loadBalancer}"); strings.TrimSpace(status) != "{}" {
			return fmt.Errorf("the status of another controller's Ingress is %s", status)
		}
		return nil
	})

	// A rolling update under load, while the certificate is replaced.
	load := one.load()
	c.Clone.Replace(baseFile, "Hello from Git!", "Hello again!")
	c.Clone.Replace(deployFile, "web:1.0.0", "web:1.1.0")
	c.Deployed(c.Clone.Push("Greet again"))
	after := readyPods(t, c, 3)
	c.Eventually(time.Minute, "the old pods are gone", func() error { return podsAre(c, after) })
	for name := range after {
		if before[name] {
			t.Errorf("pod %s is from before the commit", name)
		}
	}
	requests, failures := load.stop()
	if requests < 50 || len(failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(failures), requests, failures)
	}
	second := newCertificate(t)
	c.KubectlIn(second.secret(), "apply", "-f", "-")
	two := client(second)
	c.Eventually(30*time.Second, "the certificate is replaced", func() error {
		return two.answers("https://hello.example.com/", http.StatusOK, "Hello again! (web 1.1.0")
	})

	c.Clone.Git("rm", "-q", "ingress.yaml")
	c.Clone.Replace("kustomization.yaml", "  - ingress.yaml\n", "")
	c.Deployed(c.Clone.Push("Serve nothing"))
	c.Eventually(30*time.Second, "nothing is open", func() error {
		if err := refused("80"); err != nil {
			return err
		}
		return refused("443")
	})
}

// certificate is one that nobody but its clients trusts.
type certificate struct {
	cert, key []byte
}

func newCertificate(t *testing.T) *certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "hello"}, DNSNames: []string{"hello.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificate{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
}

func (c *certificate) secret() string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: hello-tls, namespace: hello}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n",
		base64.StdEncoding.EncodeToString(c.cert), base64.StdEncoding.EncodeToString(c.key))
}

// ingressClient sends requests to the node, whatever host they are for.
type ingressClient struct{ http *http.Client }

// dialer connects from the cluster's node.
func dialer(c *e2e.Cluster) func(ctx context.Context, network, address string) (net.Conn, error) {
	return c.HTTP.Transport.(*http.Transport).DialContext
}

func newIngressClient(t *testing.T, c *e2e.Cluster, trust *certificate) *ingressClient {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trust.cert)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return dialer(c)(ctx, network, "127.0.0.1:"+port)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &ingressClient{&http.Client{Transport: transport, Timeout: 10 * time.Second}}
}

func (c *ingressClient) answers(url string, status int, prefix string) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != status || !bytes.HasPrefix(body, []byte(prefix)) {
		return fmt.Errorf("%s is answered with %d %q, want %d %q", url, response.StatusCode, body, status, prefix)
	}
	return nil
}

// load sends requests by HTTP and HTTPS, in turn, until it is stopped.
func (c *ingressClient) load() *load {
	var sent atomic.Int64
	return loadFrom(func() error {
		scheme := []string{"http", "https"}[sent.Add(1)%2]
		return c.answers(scheme+"://hello.example.com/", http.StatusOK, "Hello")
	})
}
