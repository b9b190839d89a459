package nodes_test

import (
	"bytes"
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
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"

	"headway.dev/nodes/nodetest"
)

// identity is a certificate with its key, signed by itself.
func identity(t *testing.T) (tls.Certificate, *x509.Certificate, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, cert,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// streams makes the cluster's agent serve on a port of its own, and returns how
// the API server would reach it.
func (c *cluster) streams() *rest.Config {
	c.t.Helper()
	c.stop()
	cert, parsed, certPEM, keyPEM := identity(c.t)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	listener, err := (&net.ListenConfig{}).Listen(c.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.config.StreamingListener = listener
	c.config.StreamingTLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	c.start()
	c.t.Cleanup(func() { c.config.StreamingListener = nil })
	return &rest.Config{Host: "https://" + listener.Addr().String(), TLSClientConfig: rest.TLSClientConfig{CAData: certPEM, CertData: certPEM, KeyData: keyPEM}}
}

func client(t *testing.T, config *rest.Config) *http.Client {
	t.Helper()
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c, ok := transport.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	})
	return &http.Client{Transport: transport}
}

func fetch(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data)
}

func TestLogsOfContainers(t *testing.T) {
	c := newCluster(t)
	config := c.streams()
	base, http := config.Host+"/containerLogs/default/", client(t, config)
	job := one(tool("both"))
	job.RestartPolicy = corev1.RestartPolicyNever
	c.run("job", job)
	c.run("loop", one(tool("exit", "1")))
	c.run("web", one(tool("serve", ":8080")))
	p := c.wait("web", ready)
	done := c.wait("job", phase(corev1.PodSucceeded))
	nodetest.Eventually(t, 20*time.Second, func() string { // the log outlives the containers
		if o, err := c.node.Get(context.Background(), string(done.UID)); err != nil || len(o.Containers) > 0 {
			return fmt.Sprintf("not torn down: %+v, %v", o, err)
		}
		return ""
	})
	c.wait("loop", first(func(s corev1.ContainerStatus) string {
		if s.RestartCount < 1 {
			return "not restarted"
		}
		return ""
	}))
	for _, tc := range []struct {
		path string
		code int
		want []string
	}{
		{"job/app", 200, []string{"to stdout\n", "to stderr\n", "no newline"}},
		{"job/app?tailLines=0", 200, nil},
		{"job/app?stream=Stderr", 200, []string{"to stderr\n"}},
		{"loop/app?previous=true", 200, []string{"exiting\n"}},
		{"web/app?previous=true", 400, []string{`previous terminated container "app" in pod "web" not found`}},
		{"web/none", 400, []string{`container "none" in pod "web" is not available`}},
		{"none/app", 404, []string{`pod "none" does not exist`}},
		{"web/app?tailLines=-1", 422, []string{"tailLines"}},
	} {
		code, body := fetch(t, http, base+tc.path)
		if code != tc.code {
			t.Errorf("%s: got %d %q, want %d", tc.path, code, body, tc.code)
		}
		for _, want := range tc.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: got %q, want it to hold %q", tc.path, body, want)
			}
		}
		if tc.want == nil && body != "" {
			t.Errorf("%s: got %q, want nothing", tc.path, body)
		}
	}
	// A follower sees the last line and ends with the container.
	followed := make(chan string, 1)
	go func() {
		_, body := fetch(t, http, base+"web/app?follow=true")
		followed <- body
	}()
	get(t, "http://"+p.Status.PodIP+":8080/")
	c.delete("web", 5)
	select {
	case body := <-followed:
		if !strings.Contains(body, "terminating") {
			t.Errorf("followed: got %q", body)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the follower does not end with the container")
	}
	// Nobody without the API server's certificate gets anything.
	anonymous := client(t, &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: config.CAData}})
	if code, body := fetch(t, anonymous, config.Host+"/healthz"); code != 0 || !strings.Contains(body, "certificate") {
		t.Errorf("without a certificate: got %d %q", code, body)
	}
}

func TestExecAndPortForward(t *testing.T) {
	c := newCluster(t)
	config := c.streams()
	c.run("web", one(tool("serve", ":8080")))
	p := c.wait("web", ready)
	run := func(t *testing.T, stdin io.Reader, websocket bool, command ...string) (string, string, error) {
		t.Helper()
		q := url.Values{"command": command, "output": {"1"}, "error": {"1"}}
		if stdin != nil {
			q.Set("input", "1")
		}
		u, err := url.Parse(config.Host + "/exec/default/web/app?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		var e remotecommand.Executor
		if websocket {
			e, err = remotecommand.NewWebSocketExecutorForProtocols(config, "GET", u.String(), "v4.channel.k8s.io")
		} else {
			e, err = remotecommand.NewSPDYExecutor(config, "POST", u)
		}
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Stderr: &errOut})
		return out.String(), errOut.String(), err
	}
	for _, websocket := range []bool{false, true} {
		t.Run(fmt.Sprintf("websocket=%t", websocket), func(t *testing.T) {
			out, errOut, err := run(t, nil, websocket, "/tool", "both")
			if err != nil || out != "to stdout\nno newline" || errOut != "to stderr\n" {
				t.Errorf("got %q, %q, %v", out, errOut, err)
			}
			_, _, err = run(t, nil, websocket, "/tool", "exit", "42")
			if code, ok := errors.AsType[exec.CodeExitError](err); !ok || code.Code != 42 {
				t.Errorf("exit code: got %v", err)
			}
			if websocket {
				return // protocol 4 has no way to close stdin alone
			}
			big := strings.Repeat("0123456789", 100_000)
			if out, _, err = run(t, strings.NewReader(big), websocket, "/tool", "cat"); err != nil || out != big {
				t.Errorf("stdin: got %d of %d bytes, %v", len(out), len(big), err)
			}
		})
	}
	u, err := url.Parse(config.Host + "/portForward/default/web")
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	stop, up := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u), []string{"0:8080"}, stop, up, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	finished := make(chan error, 1)
	go func() { finished <- forwarder.ForwardPorts() }()
	select {
	case <-up:
	case err := <-finished:
		t.Fatalf("port-forward: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("port-forward does not start")
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if body := get(t, fmt.Sprintf("http://127.0.0.1:%d/hostname", ports[0].Local)); body != p.Name+"\n" {
			t.Errorf("through the forward: got %q", body)
		}
	}
	close(stop)
	if err := <-finished; err != nil {
		t.Errorf("port-forward: %v", err)
	}
}
