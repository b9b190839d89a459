package ingress_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/nodes/ingress"
	"headway.dev/nodes/known"
)

// node is a proxy under test, with the API behind it.
type node struct {
	t           *testing.T
	client      *fake.Clientset
	http, https string
	warnings    chan string
}

// free is an address of this machine that nothing listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func start(t *testing.T, edit func(*fake.Clientset), objects ...apiruntime.Object) *node {
	t.Helper()
	n := &node{t: t, client: fake.NewClientset(objects...), http: free(t), https: free(t), warnings: make(chan string, 100)}
	if edit != nil {
		edit(n.client)
	}
	n.run(ingress.Config{
		HTTP: n.http, HTTPS: n.https, Pods: netip.MustParsePrefix("127.0.0.0/8"), Source: func() netip.Addr { return netip.MustParseAddr("127.0.0.2") }, Client: n.client,
		Warn: func(about *networkingv1.Ingress, reason, message string) {
			name := "node"
			if about != nil {
				name = about.Name
			}
			n.warnings <- name + ": " + reason + ": " + message
		},
		Log: slog.New(slog.DiscardHandler),
	})
	return n
}

// run runs a proxy until the test ends, with what is known of the API.
func (n *node) run(cfg ingress.Config) {
	cfg.Cluster = known.Open(known.Config{Client: n.client, Ingresses: true, Log: cfg.Log})
	s := ingress.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- cfg.Cluster.Run(ctx) }()
	go func() { done <- s.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				n.t.Error(err)
			}
		}
	})
}

// get is the status and the text of an answer, and the name of the certificate.
func (n *node) get(url, host string) (string, error) {
	name := ""
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{ //nolint:gosec // the certificate is looked at below
		InsecureSkipVerify: true, ServerName: host,
		VerifyConnection: func(s tls.ConnectionState) error { name = " " + s.PeerCertificates[0].Subject.CommonName; return nil },
	}}
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(text)), name), err
}

// becomes waits until a request is answered so.
func (n *node) becomes(url, host, want string) {
	n.t.Helper()
	var got string
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		got, err = n.get(url, host)
		if got == want || want == "closed" && err != nil && strings.Contains(err.Error(), "refused") {
			return
		}
	}
	n.t.Fatalf("%s for %s: %q, %v; want %q", url, host, got, err, want)
}

// told waits for a warning.
func (n *node) told(want string) {
	n.t.Helper()
	for {
		select {
		case got := <-n.warnings:
			if got == want {
				return
			}
		case <-time.After(30 * time.Second):
			n.t.Fatalf("nobody was told %q", want)
		}
	}
}

func class(name, controller string) *networkingv1.IngressClass {
	return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
}

func newIngress(name, class, host, service string) *networkingv1.Ingress {
	prefix := networkingv1.PathTypePrefix
	return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: networkingv1.IngressSpec{
		IngressClassName: &class, TLS: []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: "cert"}},
		Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
			Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}}}}}},
	}}
}

// web is a Service with an endpoint that answers with the address that asks.
func web(t *testing.T) []apiruntime.Object {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		_, _ = io.WriteString(w, host)
	}))
	t.Cleanup(s.Close)
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "web", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}
	return []apiruntime.Object{
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		&discoveryv1.EndpointSlice{ObjectMeta: meta, Ports: []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(at.Port()))}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{at.Addr().String()}}}},
	}
}

func certificate(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cert", ResourceVersion: name}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}}
}

// The proxy follows the API: it listens while there is an Ingress of its own, speaks to
// pods from the address that is given, and takes up certificates and their changes.
func TestFollows(t *testing.T) {
	n := start(t, nil, append(web(t), class("own", networking.HeadwayController), class("other", "example.com/proxy"), newIngress("foreign", "other", "b.com", "web"))...)
	ctx := t.Context()
	plain, secure := "http://"+n.http, "https://"+n.https
	ingresses, secrets := n.client.NetworkingV1().Ingresses("shop"), n.client.CoreV1().Secrets("shop")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n.becomes(plain, "a.com", "closed")
	must(ingresses.Create(ctx, newIngress("web", "own", "a.com", "web"), metav1.CreateOptions{}))
	n.becomes(plain, "a.com", "200 127.0.0.2")
	n.becomes(plain, "b.com", "404 404 page not found")
	n.becomes(secure, "a.com", "200 127.0.0.2 headway-ingress-default")
	n.told("web: CertificateNotServed: the Secret cert is not served; another one's certificate is, or one of the proxy's own: there is none of that name and of the type kubernetes.io/tls")
	must(secrets.Create(ctx, certificate(t, "first"), metav1.CreateOptions{}))
	n.becomes(secure, "a.com", "200 127.0.0.2 first")
	must(secrets.Update(ctx, certificate(t, "second"), metav1.UpdateOptions{}))
	n.becomes(secure, "a.com", "200 127.0.0.2 second")
	broken := certificate(t, "third")
	broken.Data[corev1.TLSPrivateKeyKey] = nil
	must(secrets.Update(ctx, broken, metav1.UpdateOptions{}))
	n.told("web: CertificateNotServed: the Secret cert is not served; another one's certificate is, or one of the proxy's own: tls.crt and tls.key are no certificate and its key")
	n.becomes(secure, "a.com", "200 127.0.0.2 headway-ingress-default")
	must(ingresses.Update(ctx, newIngress("web", "own", "a.com", "nobody"), metav1.UpdateOptions{}))
	n.told("web: BackendNotFound: requests are answered with 503: there is no Service nobody")
	n.becomes(plain, "a.com", "503 503 service unavailable")
	must(nil, ingresses.Delete(ctx, "web", metav1.DeleteOptions{}))
	n.becomes(plain, "a.com", "closed")
	n.becomes(secure, "a.com", "closed")
	must(n.client.NetworkingV1().IngressClasses().Update(ctx, class("other", networking.HeadwayController), metav1.UpdateOptions{}))
	n.becomes(plain, "b.com", "200 127.0.0.2")
}

// HTTPS is served once the certificates have been read, so that after a start nobody gets
// the one that the proxy makes itself.
func TestWaitsForCertificates(t *testing.T) {
	objects := append(web(t), class("own", networking.HeadwayController), newIngress("web", "own", "a.com", "web"), certificate(t, "first"))
	var late atomic.Bool
	late.Store(true)
	n := start(t, func(c *fake.Clientset) {
		refusal := apierrors.NewServiceUnavailable("not yet")
		c.PrependReactor("list", "secrets", func(clienttesting.Action) (bool, apiruntime.Object, error) { return late.Load(), nil, refusal })
		c.PrependWatchReactor("secrets", func(clienttesting.Action) (bool, watch.Interface, error) { return late.Load(), nil, refusal })
	}, objects...)
	n.becomes("http://"+n.http, "a.com", "200 127.0.0.2")
	if got, err := n.get("https://"+n.https, "a.com"); err == nil {
		t.Errorf("before there are certificates HTTPS answers %s", got)
	}
	late.Store(false)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		if got, err := n.get("https://"+n.https, "a.com"); err == nil {
			if got != "200 127.0.0.2 first" {
				t.Errorf("the first answer is %s", got)
			}
			return
		}
	}
	t.Error("HTTPS is not served")
}

// Of two certificates for a host that of the oldest Ingress is served, if it can be read,
// and one of another namespace in no case.
func TestNextCertificate(t *testing.T) {
	old, next, foreign := newIngress("old", "own", "a.com", "web"), newIngress("next", "own", "a.com", "web"), newIngress("foreign", "own", "a.com", "web")
	old.Namespace, next.Namespace, foreign.Namespace = "shop", "shop", "evil"
	old.CreationTimestamp, foreign.CreationTimestamp, next.CreationTimestamp = metav1.Unix(1, 0), metav1.Unix(2, 0), metav1.Unix(3, 0)
	broken, good, stolen := certificate(t, "broken"), certificate(t, "good"), certificate(t, "stolen")
	broken.Namespace, good.Namespace, stolen.Namespace = "shop", "shop", "evil"
	broken.Name, good.Name = "first", "second"
	broken.Data = nil
	old.Spec.TLS[0].SecretName, next.Spec.TLS[0].SecretName = broken.Name, good.Name
	n := start(t, byName, append(web(t), class("own", networking.HeadwayController), old, next, foreign, broken, good, stolen)...)
	n.becomes("https://"+n.https, "a.com", "200 127.0.0.2 good")
	n.told("foreign: CertificateConflict: the host a.com is the namespace shop's, whose Ingress names it for longer; the certificate of the Secret cert is not served for it")
}

// byName has lists of Secrets kept to the name that they are asked for, which the library
// does not.
func byName(c *fake.Clientset) {
	c.PrependReactor("list", "secrets", func(a clienttesting.Action) (bool, apiruntime.Object, error) {
		list := a.(clienttesting.ListAction)
		all, err := c.Tracker().List(corev1.SchemeGroupVersion.WithResource("secrets"), corev1.SchemeGroupVersion.WithKind("Secret"), a.GetNamespace())
		if err != nil {
			return true, nil, err
		}
		kept := &corev1.SecretList{}
		for _, s := range all.(*corev1.SecretList).Items {
			if list.GetListRestrictions().Fields.Matches(fields.Set{"metadata.name": s.Name, "type": string(s.Type)}) {
				kept.Items = append(kept.Items, s)
			}
		}
		return true, kept, nil
	})
}

// Many certificates are read at once.
func TestManyCertificates(t *testing.T) {
	objects := append(web(t), class("own", networking.HeadwayController))
	const many = 20
	for n := range many {
		name := fmt.Sprint("cert", n)
		i, secret := newIngress(name, "own", name+".com", "web"), certificate(t, name)
		i.Namespace, secret.Namespace = name, name // where there is no Service
		objects = append(objects, i, secret)
	}
	n := start(t, nil, objects...)
	for c := range many {
		name := fmt.Sprint("cert", c)
		n.becomes("https://"+n.https, name+".com", "503 503 service unavailable "+name)
	}
}

// A port that is taken is told of, and served as soon as it is free.
func TestPortIsTaken(t *testing.T) {
	n := start(t, nil, append(web(t), class("own", networking.HeadwayController))...)
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", n.http)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := n.client.NetworkingV1().Ingresses("shop").Create(t.Context(), newIngress("web", "own", "a.com", "web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	problem := fmt.Sprintf("IngressNotServed: %s is not served: listen tcp %s: bind: address already in use", n.http, n.http)
	n.told("node: " + problem)
	n.told("web: " + problem)
	n.becomes("https://"+n.https, "a.com", "200 127.0.0.2 headway-ingress-default")
	if err := taken.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	n.becomes("http://"+n.http, "a.com", "200 127.0.0.2")
}
