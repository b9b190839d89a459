package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

const (
	infoRefs    = "/info/refs"
	maxRedirect = 5
)

// httpConversation speaks Git's smart HTTP protocol.
type httpConversation struct {
	client  *http.Client
	service string
	base    *url.URL // without credentials; where a redirect led
	auth    githttp.AuthMethod
}

func overHTTP(u *url.URL, service string, method transport.AuthMethod) (conversation, error) {
	a, ok := method.(*httpAuth)
	if !ok {
		return nil, transport.ErrInvalidAuthMethod
	}
	c := &httpConversation{client: a.client, service: service, auth: a.header}
	if password, ok := u.User.Password(); c.auth == nil && (ok || u.User.Username() != "") {
		c.auth = &githttp.BasicAuth{Username: u.User.Username(), Password: password}
	}
	base := *u
	base.User, base.RawQuery, base.Fragment = nil, "", ""
	c.base = &base
	if service == UploadPack {
		c.client = &http.Client{Transport: a.client.Transport, CheckRedirect: checkRedirect}
	}
	return c, nil
}

// checkRedirect follows redirects on one host only. A redirect elsewhere
// would make whoever answers for the URL choose what this machine, which may
// reach more than they do, asks.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	upgrade := from.Scheme == "http" && to.Scheme == "https" && from.Port() == "" && to.Port() == ""
	switch {
	case len(via) > maxRedirect:
		return errors.New("too many redirects")
	case via[0].Method != http.MethodGet:
		return fmt.Errorf("the server redirects to %s in the middle of a fetch", to.Redacted())
	case !strings.EqualFold(from.Hostname(), to.Hostname()), !upgrade && (from.Scheme != to.Scheme || from.Port() != to.Port()):
		return fmt.Errorf("the server redirects to %s, which is not followed: set spec.url to where the repository is", to.Redacted())
	case !strings.HasSuffix(to.Path, infoRefs):
		return fmt.Errorf("the server redirects to %s, which is no Git repository", to.Redacted())
	}
	req.URL.User = nil
	return nil
}

func (c *httpConversation) refs(ctx context.Context) (io.ReadCloser, error) {
	u := *c.base
	u.Path, u.RawQuery = strings.TrimSuffix(u.Path, "/")+infoRefs, "service="+c.service
	u.RawPath = ""
	res, err := c.do(ctx, http.MethodGet, &u, nil, "application/x-"+c.service+"-advertisement")
	if err != nil {
		return nil, err
	}
	if final := res.Request.URL; final != nil {
		base := *final
		base.Path, base.RawPath, base.RawQuery, base.User = strings.TrimSuffix(final.Path, infoRefs), "", "", nil
		c.base = &base
	}
	return res.Body, nil
}

func (c *httpConversation) ask(ctx context.Context, request []byte) (io.ReadCloser, error) {
	u := *c.base
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/"+c.service, ""
	res, err := c.do(ctx, http.MethodPost, &u, request, "application/x-"+c.service+"-result")
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

func (c *httpConversation) close() {}

// do sends a request, and makes errors of answers that are none.
func (c *httpConversation) do(ctx context.Context, method string, u *url.URL, body []byte, want string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", capability.DefaultAgent())
	req.Header.Set("Accept", want)
	if body != nil {
		req.Header.Set("Content-Type", "application/x-"+c.service+"-request")
	}
	if c.auth != nil {
		c.auth.SetAuth(req)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := checkResponse(res, want); err != nil {
		_ = res.Body.Close()
		return nil, err
	}
	return res, nil
}

func checkResponse(res *http.Response, want string) error {
	switch res.StatusCode {
	case http.StatusOK:
		if res.Header.Get("Content-Type") != want {
			return errors.New("the answer is not of a Git repository")
		}
		return nil
	case http.StatusUnauthorized:
		return transport.ErrAuthenticationRequired
	case http.StatusForbidden:
		return transport.ErrAuthorizationFailed
	case http.StatusNotFound:
		return transport.ErrRepositoryNotFound
	}
	// Not what it says: whoever writes spec.url may not reach that server, and
	// would read it by us.
	return fmt.Errorf("unexpected status %d %s", res.StatusCode, http.StatusText(res.StatusCode))
}
