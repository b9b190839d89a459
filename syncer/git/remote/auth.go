package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/net/proxy"

	"headway.dev/manifests/egress"
)

// sshTimeout bounds the connection set-up with an SSH server, which go-git
// does not end with the context.
const sshTimeout = 20 * time.Second

// Auth contains the credentials in the Secrets of a GitRepository, under Flux's
// names.
type Auth struct {
	Username, Password, BearerToken string
	// Identity is a PEM private key, KnownHosts lines of OpenSSH's file of
	// that name; Password decrypts the key.
	Identity, KnownHosts []byte
	// CAFile is a PEM bundle to trust for https, besides the system's.
	CAFile []byte
	// ClientCert and ClientKey are PEM, both or none: the client certificate
	// for https.
	ClientCert, ClientKey []byte
	// App, if set, replaces Username and Password.
	App *App
	// Proxy is an http, https or socks5 URL with its credentials; for ssh it
	// is a socks5 one.
	Proxy *url.URL
}

// AuthFromSecret reads the data of a Secret: username and password,
// bearerToken, identity and known_hosts, ca.crt or caFile, tls.crt and tls.key
// or certFile and keyFile. It fails if the Secret lacks what the URL's scheme
// needs.
func AuthFromSecret(remote string, data map[string][]byte) (*Auth, error) {
	either := func(name, old string) []byte {
		if v := data[name]; len(v) > 0 {
			return v
		}
		return data[old]
	}
	a := &Auth{
		Username: string(data["username"]), Password: string(data["password"]), BearerToken: strings.TrimSpace(string(data["bearerToken"])),
		Identity: data["identity"], KnownHosts: data["known_hosts"], CAFile: either("ca.crt", "caFile"),
		ClientCert: either("tls.crt", "certFile"), ClientKey: either("tls.key", "keyFile"),
	}
	u, err := url.Parse(remote)
	if err != nil {
		return nil, fmt.Errorf("invalid Git URL: %w", errors.Unwrap(err))
	}
	switch {
	case u.Scheme == "ssh" && len(a.Identity) == 0:
		return nil, errors.New("invalid secret for ssh: 'identity' is required")
	case u.Scheme == "ssh" && len(a.KnownHosts) == 0:
		return nil, errors.New("invalid secret for ssh: 'known_hosts' is required; ssh-keyscan prints it")
	case u.Scheme != "ssh" && a.Username == "" && a.Password != "":
		return nil, errors.New("invalid secret: 'username' is required with 'password'")
	case len(a.ClientCert) > 0 && len(a.ClientKey) == 0:
		return nil, errors.New("invalid secret: 'tls.key' is required with 'tls.crt'")
	case len(a.ClientKey) > 0 && len(a.ClientCert) == 0:
		return nil, errors.New("invalid secret: 'tls.crt' is required with 'tls.key'")
	}
	return a, nil
}

// hasSecret reports whether requests carry something for the remote alone.
func (a *Auth) hasSecret() bool {
	return a.Username != "" || a.BearerToken != "" || a.App != nil || len(a.ClientCert) > 0
}

// ProxyFromSecret reads a proxy's address, username and password. remote is the
// URL to be reached through it.
func ProxyFromSecret(remote string, data map[string][]byte) (*url.URL, error) {
	address := strings.TrimSpace(string(data["address"]))
	if address == "" {
		return nil, errors.New("key 'address' is missing")
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, errors.New("'address' is not a URL such as http://proxy.example.com:3128")
	}
	ssh := strings.HasPrefix(remote, "ssh:")
	switch {
	case u.Scheme == "socks5", !ssh && (u.Scheme == "http" || u.Scheme == "https"):
	case ssh:
		return nil, fmt.Errorf("'address' has the scheme %q: for ssh use socks5", u.Scheme)
	default:
		return nil, fmt.Errorf("'address' has the scheme %q: use http, https or socks5", u.Scheme)
	}
	if user := string(data["username"]); user != "" {
		u.User = url.UserPassword(user, string(data["password"]))
	}
	return u, nil
}

// ssh makes go-git's form of a; dir takes the known_hosts file for a moment.
func (a *Auth) ssh(u *url.URL, dir string, policy *egress.Policy) (transport.AuthMethod, error) {
	user := u.User.Username()
	if user == "" {
		user = "git"
	}
	keys, err := gitssh.NewPublicKeys(user, a.Identity, a.Password)
	if err != nil {
		return nil, fmt.Errorf("read the secret's identity: %w", err)
	}
	// The library reads known hosts from files only.
	f, err := os.CreateTemp(dir, "known_hosts-")
	if err != nil {
		return nil, fmt.Errorf("write known_hosts: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(a.KnownHosts)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("write known_hosts: %w", err)
	}
	db, err := gitssh.NewKnownHostsDb(f.Name())
	if err != nil {
		return nil, fmt.Errorf("read the secret's known_hosts: %w", err)
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	host := net.JoinHostPort(u.Hostname(), port)
	keys.HostKeyCallback = explain(db.HostKeyCallback())
	// Without this the server may present a key of another type than the
	// known one, which would read as a changed key.
	keys.HostKeyAlgorithms = db.HostKeyAlgorithms(host)
	if len(keys.HostKeyAlgorithms) == 0 {
		return nil, fmt.Errorf("host key of %s is not known: add it to 'known_hosts' in the secret", host)
	}
	auth := &sshAuth{PublicKeys: keys, egress: policy}
	if p := a.Proxy; p != nil {
		address := url.URL{Scheme: p.Scheme, Host: p.Host}
		auth.proxy.URL, auth.proxy.Username = address.String(), p.User.Username()
		auth.proxy.Password, _ = p.User.Password()
	}
	return auth, nil
}

// explain says what to do about a host key that is not the known one.
func explain(check ssh.HostKeyCallback) ssh.HostKeyCallback {
	return func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := check(host, remote, key)
		if changed, ok := errors.AsType[*knownhosts.KeyError](err); ok && len(changed.Want) > 0 {
			return fmt.Errorf("%s shows the host key %s, which is not the one in the secret's 'known_hosts': it may be another server. "+
				"If its key was replaced, ask its owner for the new one and put that into the secret: %w", host, ssh.FingerprintSHA256(key), err)
		}
		return err
	}
}

type sshAuth struct {
	*gitssh.PublicKeys
	proxy  transport.ProxyOptions
	egress *egress.Policy
}

// ClientConfig implements ssh.AuthMethod.
func (a *sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	cfg, err := a.PublicKeys.ClientConfig()
	if err == nil {
		cfg.Timeout = sshTimeout
	}
	return cfg, err
}

// dial connects to the server, through the proxy if there is one.
func (a *sshAuth) dial(ctx context.Context, addr string) (net.Conn, error) {
	direct := a.egress.Dialer(sshTimeout)
	if a.proxy.URL == "" {
		return direct.DialContext(ctx, "tcp", addr)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if err := a.egress.Target(ctx, host); err != nil {
		return nil, err
	}
	u, err := a.proxy.FullURL()
	if err != nil {
		return nil, errors.New("the proxy's address is not a URL")
	}
	via, err := proxy.FromURL(u, direct)
	if err != nil {
		return nil, fmt.Errorf("use the proxy %s: %w", u.Host, err)
	}
	through, ok := via.(proxy.ContextDialer)
	if !ok {
		return nil, fmt.Errorf("use the proxy %s: its connections cannot be cancelled", u.Host)
	}
	ctx, cancel := context.WithTimeout(ctx, sshTimeout)
	defer cancel()
	return through.DialContext(ctx, "tcp", addr)
}
