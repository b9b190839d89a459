package git

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"golang.org/x/crypto/ssh"
)

// sshTimeout bounds the connection set-up with an SSH server, which go-git
// does not end with the context.
const sshTimeout = 20 * time.Second

// Auth holds what a Secret of a GitRepository says, under Flux's names.
type Auth struct {
	Username, Password, BearerToken string
	// Identity is a PEM private key, KnownHosts lines of OpenSSH's file of
	// that name; Password decrypts the key.
	Identity, KnownHosts []byte
	// CAFile is a PEM bundle to trust for https.
	CAFile []byte
}

// AuthFromSecret reads the data of a Secret: username and password,
// bearerToken, identity and known_hosts, caFile or ca.crt. It fails for what
// the URL's scheme needs and the Secret lacks.
func AuthFromSecret(remote string, data map[string][]byte) (*Auth, error) {
	a := &Auth{
		Username: string(data["username"]), Password: string(data["password"]), BearerToken: strings.TrimSpace(string(data["bearerToken"])),
		Identity: data["identity"], KnownHosts: data["known_hosts"], CAFile: data["caFile"],
	}
	if a.CAFile == nil {
		a.CAFile = data["ca.crt"]
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
	}
	return a, nil
}

// method makes go-git's form of a for the URL; dir takes the known_hosts file.
func (a *Auth) method(remote, dir string) (transport.AuthMethod, error) {
	u, err := url.Parse(remote)
	if err != nil {
		return nil, fmt.Errorf("invalid Git URL: %w", errors.Unwrap(err))
	}
	switch {
	case u.Scheme == "ssh":
		if a == nil {
			return nil, errors.New("ssh needs a secretRef with 'identity' and 'known_hosts'")
		}
		return a.ssh(u, dir)
	case a == nil:
		return nil, nil
	case a.BearerToken != "":
		return &githttp.TokenAuth{Token: a.BearerToken}, nil
	case a.Username != "":
		return &githttp.BasicAuth{Username: a.Username, Password: a.Password}, nil
	}
	return nil, nil
}

func (a *Auth) ssh(u *url.URL, dir string) (transport.AuthMethod, error) {
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
	keys.HostKeyCallback = db.HostKeyCallback()
	// Without this the server may present a key of another type than the
	// known one, which would read as a changed key.
	keys.HostKeyAlgorithms = db.HostKeyAlgorithms(host)
	if len(keys.HostKeyAlgorithms) == 0 {
		return nil, fmt.Errorf("host key of %s is not known: add it to 'known_hosts' in the secret", host)
	}
	return &sshAuth{PublicKeys: keys}, nil
}

type sshAuth struct{ *gitssh.PublicKeys }

// ClientConfig implements ssh.AuthMethod.
func (a *sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	cfg, err := a.PublicKeys.ClientConfig()
	if err == nil {
		cfg.Timeout = sshTimeout
	}
	return cfg, err
}
