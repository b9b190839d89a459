package remote

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"headway.dev/manifests/egress"
)

// httpAuth is what one source talks HTTP with.
type httpAuth struct {
	client *http.Client
	header githttp.AuthMethod // nil: none
}

func (*httpAuth) Name() string   { return "headway-http" }
func (*httpAuth) String() string { return "headway-http" }

// link is the way to a remote. Its connections are kept until it is closed;
// nothing of it is shared with another one.
type link struct {
	mu    sync.Mutex
	mark  [sha256.Size]byte // of what client was made from
	http  *http.Client
	token appToken
	sent  []string // secrets that the remote may repeat
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.http != nil {
		l.http.CloseIdleConnections()
	}
	l.http, l.token = nil, appToken{}
}

// client is the HTTP client for auth, the same one as long as auth says the
// same about the connection.
func (l *link) client(remote *url.URL, auth *Auth, policy *egress.Policy) (*http.Client, error) {
	conn := connection{Remote: remote.Host, Secret: remote.User != nil}
	if auth != nil {
		conn.CA, conn.Cert, conn.Key = auth.CAFile, auth.ClientCert, auth.ClientKey
		conn.Secret = conn.Secret || auth.hasSecret()
		if auth.Proxy != nil {
			conn.Proxy = auth.Proxy.String()
		}
	}
	text, err := json.Marshal(conn)
	if err != nil {
		return nil, fmt.Errorf("identify the connection: %w", err)
	}
	mark := sha256.Sum256(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.http != nil && l.mark == mark {
		return l.http, nil
	}
	c, err := conn.client(auth, policy)
	if err != nil {
		return nil, err
	}
	if l.http != nil {
		l.http.CloseIdleConnections()
	}
	l.http, l.mark = c, mark
	return c, nil
}

// connection is what shapes an HTTP client.
type connection struct {
	Remote        string
	CA, Cert, Key []byte
	Proxy         string
	// Secret says that requests carry something that is for the remote alone.
	Secret bool
}

func (c connection) client(auth *Auth, policy *egress.Policy) (*http.Client, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 20 * time.Second, IdleConnTimeout: 90 * time.Second,
		MaxIdleConns: 2, MaxResponseHeaderBytes: 64 << 10,
	}
	if len(c.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("read the secret's ca.crt: it holds no PEM certificate")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if len(c.Cert) > 0 {
		pair, err := tls.X509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("read the secret's tls.crt and tls.key: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	if c.Proxy != "" {
		t.Proxy = http.ProxyURL(auth.Proxy)
	}
	policy.Transport(t, 30*time.Second)
	return &http.Client{Transport: t, CheckRedirect: c.checkRedirect}, nil
}

// checkRedirect keeps what is meant for one host from another. Headers the
// library would drop by itself, a client certificate not.
func (c connection) checkRedirect(req *http.Request, _ []*http.Request) error {
	if c.Secret && !strings.EqualFold(req.URL.Host, c.Remote) {
		return fmt.Errorf("the server redirects to another host, %s, which does not get this one's credentials: set spec.url to where the repository is", req.URL.Host)
	}
	return nil
}

// method makes go-git's form of auth.
func (r *Remote) method(ctx context.Context, auth *Auth) (transport.AuthMethod, error) {
	u, err := url.Parse(r.url)
	if err != nil {
		return nil, fmt.Errorf("invalid Git URL: %w", errors.Unwrap(err))
	}
	if u.Scheme == "ssh" {
		if auth == nil || len(auth.Identity) == 0 {
			return nil, errors.New("ssh needs a secretRef with 'identity' and 'known_hosts'")
		}
		return auth.ssh(u, r.dir, r.egress)
	}
	c, err := r.link.client(u, auth, r.egress)
	if err != nil {
		return nil, err
	}
	method := &httpAuth{client: c}
	password, _ := u.User.Password()
	r.link.learn(append(auth.secrets(), basic(u.User.Username(), password)...)...)
	switch {
	case auth == nil:
	case auth.App != nil:
		token, err := r.link.appToken(ctx, c, auth.App)
		if err != nil {
			return nil, err
		}
		method.header = &githttp.BasicAuth{Username: "x-access-token", Password: token}
		r.link.learn(append(auth.secrets(), basic("x-access-token", token)...)...)
	case auth.BearerToken != "":
		method.header = &githttp.TokenAuth{Token: auth.BearerToken}
	case auth.Username != "":
		method.header = &githttp.BasicAuth{Username: auth.Username, Password: auth.Password}
	}
	return method, nil
}
