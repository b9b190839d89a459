package remote_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/gittest"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	a := &authority{}
	a.cert, a.key, a.pem, _ = issue(tb, nil, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue makes a certificate, signed by the authority or by itself.
func issue(tb testing.TB, by *authority, template *x509.Certificate) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM []byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		tb.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// serveTLS serves h with a certificate of the authority; it asks for client
// certificates of clients, if that is set.
func (a *authority) serveTLS(tb testing.TB, h http.Handler, clients *authority) *httptest.Server {
	tb.Helper()
	_, _, certPEM, keyPEM := issue(tb, a, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		tb.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		pool := x509.NewCertPool()
		pool.AddCert(clients.cert)
		srv.TLS.ClientAuth, srv.TLS.ClientCAs = tls.RequireAndVerifyClientCert, pool
	}
	srv.StartTLS()
	tb.Cleanup(srv.Close)
	return srv
}

func (a *authority) client(tb testing.TB) (cert, key []byte) {
	tb.Helper()
	_, _, cert, key = issue(tb, a, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return cert, key
}

// Certificates are one source's, also where another one asks the same server
// at the same time.
func TestClientCertificates(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	servers, clients, strangers := newAuthority(t), newAuthority(t), newAuthority(t)
	srv := servers.serveTLS(t, gitserver.New(t, filepath.Dir(bare)), clients)
	origin := srv.URL + "/repo.git"
	cert, key := clients.client(t)
	other, otherKey := strangers.client(t)
	good := map[string]string{"ca.crt": string(servers.pem), "tls.crt": string(cert), "tls.key": string(key)}
	with := gittest.Mirror(t, origin)
	for _, data := range []map[string]string{
		good,
		{"caFile": string(servers.pem), "certFile": string(cert), "keyFile": string(key)},
		{"caFile": string(strangers.pem), "ca.crt": string(servers.pem), "tls.crt": string(cert), "tls.key": string(key)},
	} {
		if h := gittest.Fetch(t, with, git.Ref{Branch: "main"}, gittest.Auth(t, origin, data)); h.Commit != sha {
			t.Errorf("head = %s, want %s", h.Commit, sha)
		}
	}
	for what, data := range map[string]map[string]string{
		"no client certificate": {"ca.crt": string(servers.pem)},
		"a stranger's":          {"ca.crt": string(servers.pem), "tls.crt": string(other), "tls.key": string(otherKey)},
		"an unknown authority":  {"tls.crt": string(cert), "tls.key": string(key)},
		"nothing":               {},
	} {
		r := gittest.Mirror(t, origin)
		if _, err := r.Fetch(t.Context(), git.Ref{Branch: "main"}, gittest.Auth(t, origin, data)); err == nil {
			t.Errorf("%s: fetched", what)
		}
		// The same repository, when the secret is put right and wrong again.
		gittest.Fetch(t, r, git.Ref{Branch: "main"}, gittest.Auth(t, origin, good))
		if _, err := r.Fetch(t.Context(), git.Ref{Branch: "main"}, gittest.Auth(t, origin, data)); err == nil {
			t.Errorf("%s: fetched with what the secret said before", what)
		}
	}
	for what, data := range map[string]map[string]string{
		"a certificate alone": {"tls.crt": string(cert)},
		"a key alone":         {"tls.key": string(key)},
	} {
		secret := map[string][]byte{}
		for k, v := range data {
			secret[k] = []byte(v)
		}
		if _, err := remote.AuthFromSecret(origin, secret); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	bad := gittest.Auth(t, origin, map[string]string{"ca.crt": "not PEM canary"})
	if _, err := gittest.Mirror(t, origin).Fetch(t.Context(), git.Ref{Branch: "main"}, bad); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a CA that is not PEM: %v", err)
	}
}

// No redirect takes credentials to another host, of whatever kind they are.
func TestRedirectsKeepCredentials(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	servers, clients := newAuthority(t), newAuthority(t)
	var mu sync.Mutex
	var reached []string
	backend := gitserver.New(t, filepath.Dir(bare))
	evil := servers.serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		reached = append(reached, r.URL.Path+" "+r.Header.Get("Authorization"))
		backend.ServeHTTP(w, r)
	}), nil)
	srv := servers.serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, evil.URL+r.URL.RequestURI(), http.StatusMovedPermanently)
	}), nil)
	cert, key := clients.client(t)
	origin := srv.URL + "/repo.git"
	for what, data := range map[string]map[string]string{
		"password":    {"username": "ada", "password": "canary"},
		"token":       {"bearerToken": "canary"},
		"certificate": {"tls.crt": string(cert), "tls.key": string(key)},
	} {
		data["ca.crt"] = string(servers.pem)
		_, err := gittest.Mirror(t, origin).Fetch(t.Context(), git.Ref{Branch: "main"}, gittest.Auth(t, origin, data))
		if err == nil || !strings.Contains(err.Error(), "redirects to") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", what, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(reached) > 0 {
		t.Errorf("the other host was asked: %q", reached)
	}
}

// An HTTP proxy gets its own credentials and the remote's go past it.
func TestHTTPProxy(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	var mu sync.Mutex
	seen := 0
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("prox:canary"))
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen++
		mu.Unlock()
		if r.Header.Get("Proxy-Authorization") != want {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method == http.MethodConnect {
			tunnel(w, r.Host)
			return
		}
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL = p.In.URL }}).ServeHTTP(w, r)
	}))
	defer proxy.Close()
	servers := newAuthority(t)
	plain := gitserver.New(t, filepath.Dir(bare))
	plain.Require("ada", "secret")
	secure := servers.serveTLS(t, plain, nil)
	for _, base := range []string{plain.URL, secure.URL} {
		origin := base + "/repo.git"
		a := gittest.Auth(t, origin, map[string]string{"username": "ada", "password": "secret", "ca.crt": string(servers.pem)})
		var err error
		if a.Proxy, err = remote.ProxyFromSecret(origin, map[string][]byte{"address": []byte(proxy.URL), "username": []byte("prox"), "password": []byte("canary")}); err != nil {
			t.Fatal(err)
		}
		before := seen
		if h := gittest.Fetch(t, gittest.Mirror(t, origin), git.Ref{Branch: "main"}, a); h.Commit != sha {
			t.Errorf("head = %s, want %s", h.Commit, sha)
		}
		if seen == before {
			t.Errorf("%s: the proxy was not used", base)
		}
		a.Proxy.User = url.UserPassword("prox", "canary-wrong")
		if _, err := gittest.Mirror(t, origin).Fetch(t.Context(), git.Ref{Branch: "main"}, a); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("wrong password of the proxy: %v", err)
		}
	}
	for origin, address := range map[string]string{
		"https://example.com/x": "", "https://example.com/y": "ftp://proxy.example.com", "https://example.com/z": "proxy.example.com",
		"ssh://git@example.com/x": "http://proxy.example.com",
	} {
		if _, err := remote.ProxyFromSecret(origin, map[string][]byte{"address": []byte(address)}); err == nil {
			t.Errorf("proxy %q for %s: accepted", address, origin)
		}
	}
}

// tunnel connects the client to a host.
func tunnel(w http.ResponseWriter, host string) {
	there, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = there.Close()
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	join(here, there)
}

// join copies between two connections until either ends.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = a.Close()
			_ = b.Close()
		})
	}
	wg.Wait()
}

// SSH goes through a SOCKS5 proxy, and a changed host key is found there too.
func TestSSHProxy(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	identity, user := gitserver.Keys(t)
	host, hostKey := gitserver.Keys(t)
	_, otherKey := gitserver.Keys(t)
	addr := gitserver.SSH(t, host, user)
	proxy, used := socks(t)
	origin := "ssh://root@" + addr + bare
	a := gittest.Auth(t, origin, map[string]string{"identity": string(identity), "known_hosts": string(gitserver.KnownHosts(addr, hostKey))})
	a.Proxy = &url.URL{Scheme: "socks5", Host: proxy}
	if h := gittest.Fetch(t, gittest.Mirror(t, origin), git.Ref{Branch: "main"}, a); h.Commit != sha {
		t.Errorf("head = %s, want %s", h.Commit, sha)
	}
	if used() == 0 {
		t.Error("the proxy was not used")
	}
	a.KnownHosts = gitserver.KnownHosts(addr, otherKey)
	_, err := gittest.Mirror(t, origin).Fetch(t.Context(), git.Ref{Branch: "main"}, a)
	if err == nil || !strings.Contains(err.Error(), "which is not the one in the secret's 'known_hosts'") {
		t.Errorf("a changed host key: %v", err)
	}
}

// socks is a SOCKS5 proxy without a password; used counts its connections.
func socks(tb testing.TB) (addr string, used func() int) {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	n := 0
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			n++
			mu.Unlock()
			wg.Go(func() { serveSocks(c) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func serveSocks(c net.Conn) {
	r := bufio.NewReader(c)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		_ = c.Close()
		return
	}
	_, _ = r.Discard(int(head[1]))
	_, _ = c.Write([]byte{5, 0})
	ask := make([]byte, 10) // version, command, 0, IPv4, address, port
	if _, err := io.ReadFull(r, ask); err != nil || ask[3] != 1 {
		_ = c.Close()
		return
	}
	to := &net.TCPAddr{IP: net.IP(ask[4:8]), Port: int(ask[8])<<8 | int(ask[9])}
	there, err := net.DialTCP("tcp", nil, to)
	if err != nil {
		_ = c.Close()
		return
	}
	_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	join(c, there)
}
