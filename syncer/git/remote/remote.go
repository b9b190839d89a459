package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"headway.dev/manifests/egress"
)

// Remote is a repository behind http, https or ssh.
type Remote struct {
	url    string
	dir    string
	egress *egress.Policy
	link   link
}

// New returns the remote at a URL that CheckURL accepts. dir is for short-lived
// files; addresses that policy denies are not connected to.
func New(url, dir string, policy *egress.Policy) *Remote {
	return &Remote{url: url, dir: dir, egress: policy}
}

// Close closes the connections that are kept.
func (r *Remote) Close() { r.link.close() }

// maxURL bounds a URL, in bytes.
const maxURL = 2048

// CheckURL returns an error if a mirror cannot follow the URL. Other schemes,
// file among them, are refused: an object of the cluster must not name files of
// the machine. A URL that a program could take for an option is refused as
// well.
func CheckURL(remote string) error {
	u, err := url.Parse(remote)
	if err != nil {
		return fmt.Errorf("invalid Git URL: %w", errors.Unwrap(err))
	}
	switch u.Scheme {
	case "http", "https", "ssh":
	default:
		return fmt.Errorf("unsupported Git URL %q: use http://, https:// or ssh://", u.Redacted())
	}
	switch {
	case u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("invalid Git URL %q: it names no host", u.Redacted())
	case strings.HasPrefix(u.Host, "-") || strings.HasPrefix(u.User.Username(), "-"):
		return fmt.Errorf("invalid Git URL %q: a host or user must not start with '-'", u.Redacted())
	case len(remote) > maxURL:
		return fmt.Errorf("invalid Git URL: it is longer than %d bytes", maxURL)
	case strings.ContainsFunc(u.Path, unicode.IsControl):
		return fmt.Errorf("invalid Git URL %q: its path has control characters", u.Redacted())
	}
	return nil
}

// Session is an exchange with a service of a remote.
type Session struct {
	// Advertised is what the service has announced: its references and its
	// capabilities.
	Advertised *packp.AdvRefs
	talk       conversation
}

// Open starts a session with a service, UploadPack or ReceivePack, and reads
// its announcement. It fails with transport.ErrEmptyRemoteRepository if there
// are no references.
func (r *Remote) Open(ctx context.Context, service string, auth *Auth) (*Session, error) {
	talk, err := r.converse(ctx, service, auth)
	if err != nil {
		return nil, err
	}
	adv, err := advertised(ctx, talk)
	if err != nil {
		talk.close()
		return nil, err
	}
	return &Session{Advertised: adv, talk: talk}, nil
}

func (r *Remote) converse(ctx context.Context, service string, auth *Auth) (conversation, error) {
	method, err := r.method(ctx, auth)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(r.url)
	if err != nil {
		return nil, fmt.Errorf("invalid Git URL: %w", errors.Unwrap(err))
	}
	if u.Scheme == "ssh" {
		return dialSSH(ctx, u, service, method)
	}
	return overHTTP(u, service, method)
}

// Close ends the session.
func (s *Session) Close() { s.talk.close() }

// Fetch requests a pack, and reads the answer up to it.
func (s *Session) Fetch(ctx context.Context, q Request) (Answer, error) {
	request, err := q.encode(s.Advertised.Capabilities)
	if err != nil {
		return Answer{}, err
	}
	body, err := s.talk.ask(ctx, request)
	if err != nil {
		return Answer{}, err
	}
	a, err := readAnswer(body, q.Depth > 0)
	if err != nil {
		_ = body.Close()
		return Answer{}, err
	}
	a.body = body
	return a, nil
}

// Push requests that a reference be moved. pack writes the objects that this
// needs, with deltas that name their base by its hash if ofs is false. It fails
// with a RefusedError if the remote does not allow it.
func (s *Session) Push(ctx context.Context, command *packp.Command, pack func(w io.Writer, ofs bool) error) error {
	caps := s.Advertised.Capabilities
	if !caps.Supports(capability.ReportStatus) {
		return errors.New("the server does not report what becomes of a push")
	}
	var buf bytes.Buffer
	request := packp.NewReferenceUpdateRequestFromCapabilities(caps)
	request.Commands = []*packp.Command{command}
	if err := request.Encode(&buf); err != nil {
		return fmt.Errorf("ask for the push: %w", err)
	}
	if err := pack(&buf, caps.Supports(capability.OFSDelta)); err != nil {
		return err
	}
	body, err := s.talk.ask(ctx, buf.Bytes())
	if err != nil {
		return err
	}
	defer body.Close()
	return readReport(body, command.Name)
}

// Statuses of a reference in the report about a push.
const (
	statusOK = "ok"
	// NotUpdated is what Git's receive-pack says if it cannot write the
	// reference, mostly because another push is just about to.
	NotUpdated = "failed to update ref"
)

// maxReport bounds what a remote says about a push, in bytes.
const maxReport = 1 << 20

// readReport reads what became of a push of one reference.
func readReport(body io.Reader, name plumbing.ReferenceName) error {
	report := packp.NewReportStatus()
	if err := report.Decode(io.LimitReader(body, maxReport)); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	for _, c := range report.CommandStatuses {
		if c.ReferenceName == name && c.Status != statusOK && report.UnpackStatus == statusOK {
			return &RefusedError{Ref: name.String(), Status: c.Status}
		}
	}
	return report.Error()
}
