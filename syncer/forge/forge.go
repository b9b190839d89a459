package forge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"headway.dev/manifests/egress"
)

// Kind is a forge's API.
type Kind string

// The kinds of forges.
const (
	GitHub Kind = "github"
	GitLab Kind = "gitlab"
	Gitea  Kind = "gitea"
)

// Kinds are the names that ParseKind accepts.
const Kinds = "github, gitlab, gitea or forgejo"

// ParseKind reads a kind; forgejo uses Gitea's API.
func ParseKind(word string) (Kind, error) {
	switch k := Kind(word); k {
	case GitHub, GitLab, Gitea:
		return k, nil
	case "forgejo":
		return Gitea, nil
	}
	return "", fmt.Errorf("forge %q is not known: use %s", word, Kinds)
}

// State is the outcome of a commit.
type State string

// The states, for each of which a forge has its own word.
const (
	Pending  State = "pending"
	Running  State = "running"
	Success  State = "success"
	Failure  State = "failure"
	Canceled State = "canceled"
)

// Status is a commit's status under one name.
type Status struct {
	State State
	// Context identifies it among the commit's statuses.
	Context string
	// Description is shortened to what forges accept.
	Description string
	// Link is the address of more information, or empty.
	Link string
}

// Config is the configuration of a Client.
type Config struct {
	Kind Kind
	// Repository is the URL that the repository is cloned from.
	Repository string
	// Address is the API's URL, such as https://git.example.com/api/v4
	// (default: derived from Repository).
	Address string
	Token   string
	// CA is a PEM bundle to trust besides the system's, or nil.
	CA []byte
	// Egress denies addresses; nil denies none.
	Egress *egress.Policy
}

// Client is a client of one repository's forge.
type Client struct {
	kind  Kind
	base  string // without a slash at the end
	path  []string
	token string
	http  *http.Client
}

// timeout bounds one request.
const timeout = 15 * time.Second

// New returns a client; it connects to nothing.
func New(cfg Config) (*Client, error) {
	if cfg.Token == "" {
		return nil, errors.New("no token for the forge")
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token for the forge has characters that no token has")
	}
	c := &Client{kind: cfg.Kind, token: cfg.Token}
	if err := c.locate(cfg.Repository, cfg.Address); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout, IdleConnTimeout: timeout, MaxIdleConns: 2,
	}
	if len(cfg.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(cfg.CA) {
			return nil, errors.New("the CA for the forge is no PEM certificate")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	cfg.Egress.Transport(transport, timeout)
	c.http = &http.Client{
		Transport: transport, Timeout: timeout,
		// A redirect could take the token elsewhere, and turns a POST into a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// locate finds the API and the repository's path in it.
func (c *Client) locate(repository, address string) error {
	repo, err := url.Parse(repository)
	if err != nil || repo.Host == "" {
		return errors.New("the repository's URL has no host: forges are reached by https, http or ssh URLs")
	}
	c.path = strings.Split(strings.Trim(strings.TrimSuffix(strings.Trim(repo.Path, "/"), ".git"), "/"), "/")
	if len(c.path) < 2 || slices.ContainsFunc(c.path, func(s string) bool { return s == "" || s == "." || s == ".." }) {
		return fmt.Errorf("the repository's path %q is not OWNER/NAME", repo.Path)
	}
	prefix := ""
	if c.kind != GitLab && len(c.path) > 2 { // the forge is not at the root of its host
		prefix = "/" + strings.Join(c.path[:len(c.path)-2], "/")
		c.path = c.path[len(c.path)-2:]
	}
	if address == "" {
		c.base = defaultAddress(c.kind, repo, prefix)
		return nil
	}
	api, err := url.Parse(address)
	if err != nil || api.Host == "" || api.User != nil || api.RawQuery != "" || api.Scheme != "https" && api.Scheme != "http" {
		return errors.New("the forge's address is not a URL such as https://git.example.com/api/v4")
	}
	c.base = strings.TrimSuffix(api.String(), "/")
	if root := strings.Trim(strings.TrimSuffix(strings.TrimSuffix(api.Path, "/"), "/api/v4"), "/"); c.kind == GitLab && root != "" {
		// GitLab below a path of its host: that is no group.
		c.path = strings.Split(strings.TrimPrefix(strings.Join(c.path, "/"), root+"/"), "/")
	}
	return nil
}

// defaultAddress is where a forge has its API.
func defaultAddress(kind Kind, repo *url.URL, prefix string) string {
	scheme, host := "https", repo.Hostname() // the port of ssh is not the web's
	if repo.Scheme == "http" || repo.Scheme == "https" {
		scheme, host = repo.Scheme, repo.Host
	}
	root := scheme + "://" + host + prefix
	switch {
	case kind == GitHub && strings.EqualFold(host, "github.com"):
		return "https://api.github.com"
	case kind == GitHub:
		return root + "/api/v3"
	case kind == GitLab:
		return root + "/api/v4"
	}
	return root + "/api/v1"
}
