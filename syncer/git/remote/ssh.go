package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"
)

// sshConversation runs the service on the remote.
type sshConversation struct {
	client  *ssh.Client
	session *ssh.Session
	stop    func() bool // ends closing the connection with the context
	in      io.WriteCloser
	out     io.Reader
	said    *said
	began   bool // the program has answered
}

// dialSSH logs in and starts the program. The connection ends with ctx.
func dialSSH(ctx context.Context, u *url.URL, service string, method transport.AuthMethod) (conversation, error) {
	auth, ok := method.(*sshAuth)
	if !ok {
		return nil, transport.ErrInvalidAuthMethod
	}
	cfg, err := auth.ClientConfig()
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	conn, err := auth.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &sshConversation{said: &said{}}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	trusted := false
	check := cfg.HostKeyCallback
	cfg.HostKeyCallback = func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := check(host, remote, key)
		trusted = err == nil
		return err
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, addr, cfg)
	if err != nil {
		c.stop()
		_ = conn.Close()
		// After the server's key comes ours; the library has no error of its own
		// for that one.
		if trusted && !broken(err) {
			return nil, fmt.Errorf("%w: %w", transport.ErrAuthorizationFailed, err)
		}
		return nil, err
	}
	c.client = ssh.NewClient(sc, chans, reqs)
	if err := c.start(service, u.Path); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// broken reports whether an error is that of a connection.
func broken(err error) bool {
	var failed net.Error
	return errors.As(err, &failed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

func (c *sshConversation) start(service, path string) error {
	var err error
	if c.session, err = c.client.NewSession(); err != nil {
		return err
	}
	c.session.Stderr = c.said
	if c.in, err = c.session.StdinPipe(); err != nil {
		return err
	}
	if c.out, err = c.session.StdoutPipe(); err != nil {
		return err
	}
	if strings.HasPrefix(path, "/~") {
		path = path[1:] // a user's home
	}
	return c.session.Start(service + " " + quote(path))
}

// quote quotes for a POSIX shell.
func quote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}

func (c *sshConversation) refs(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(&explained{c}), nil
}

func (c *sshConversation) ask(_ context.Context, request []byte) (io.ReadCloser, error) {
	if _, err := io.Copy(c.in, bytes.NewReader(request)); err != nil {
		return nil, err
	}
	if err := c.in.Close(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return io.NopCloser(&explained{c}), nil
}

func (c *sshConversation) close() {
	c.stop()
	if c.session != nil {
		_ = c.session.Close()
	}
	_ = c.client.Close()
}

// explained reads what the program writes, and if that ends early says what
// the program says about it.
type explained struct{ c *sshConversation }

// exitFatal is how Git's programs end that cannot begin: of the services, if
// there is no repository that they may serve.
const exitFatal = 128

func (e *explained) Read(p []byte) (int, error) {
	n, err := e.c.out.Read(p)
	e.c.began = e.c.began || n > 0
	if n > 0 || !errors.Is(err, io.EOF) {
		return n, err
	}
	ended := e.c.session.Wait() // the program has ended, or is ended by its input
	if text := e.c.said.String(); text != "" {
		if exit, ok := errors.AsType[*ssh.ExitError](ended); ok && exit.ExitStatus() == exitFatal && !e.c.began {
			return 0, fmt.Errorf("%w: %s", transport.ErrRepositoryNotFound, text)
		}
		return 0, fmt.Errorf("the server says: %s", text)
	}
	return 0, io.EOF
}

// said keeps the beginning of what a remote program writes to its standard
// error.
type said struct {
	mu   sync.Mutex
	text []byte
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := maxSaid - len(s.text); left > 0 {
		s.text = append(s.text, p[:min(left, len(p))]...)
	}
	return len(p), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(string(s.text))
}
