package remote

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing/transport"
)

// ErrTooLarge reports that a fetch exceeded its limit.
var ErrTooLarge = errors.New("the repository is larger than allowed")

// RefusedError reports that the remote received what was pushed, but does not
// move the branch to it, because a hook or a rule of the remote forbids that.
type RefusedError struct {
	Ref string
	// Status is the remote's explanation.
	Status string
}

func (e *RefusedError) Error() string { return "command error on " + e.Ref + ": " + e.Status }

// Final reports whether an error is an answer that would be the same if the
// remote were asked again: about the credentials, the repository or its size,
// or the refusal of a push.
func Final(err error) bool {
	for _, final := range []error{transport.ErrAuthenticationRequired, transport.ErrAuthorizationFailed, transport.ErrRepositoryNotFound, ErrTooLarge} {
		if errors.Is(err, final) {
			return true
		}
	}
	_, refused := errors.AsType[*RefusedError](err)
	return refused
}

// SHA256Error reports that a repository names its objects by SHA-256.
func SHA256Error(where string) error {
	return fmt.Errorf("%s has SHA-256 object names, which are not supported: use a repository with SHA-1 (git init --object-format=sha1)", where)
}

// Error is an error with text from a remote: terminal control sequences are
// removed from it.
type Error struct {
	text string
	err  error
}

func (e *Error) Error() string { return e.text }
func (e *Error) Unwrap() error { return e.err }

// Printable returns text without control characters, of bounded length.
func Printable(text string, most int) string {
	var out strings.Builder
	n := 0
	for _, c := range text {
		if n == most {
			out.WriteString("…")
			break
		}
		switch {
		case c == '\n' || c == '\t':
			c = ' '
		case c == utf8.RuneError || !unicode.IsPrint(c):
			c = '?'
		}
		out.WriteRune(c)
		n++
	}
	return out.String()
}

// Error names the step and the host, without credentials.
func (r *Remote) Error(ctx context.Context, step string, err error) error {
	endpoint := r.url
	if u, perr := url.Parse(r.url); perr == nil {
		u.User = nil
		endpoint = u.String()
	}
	// A connection that was closed because time was up fails with any error.
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	said := Printable(r.link.redact(err.Error()), maxSaid)
	text := fmt.Sprintf("%s %s: %s", step, endpoint, said)
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		r.link.forgetToken()
		text += "; check the credentials in the secret of spec.secretRef"
	case errors.Is(err, context.DeadlineExceeded):
		text = fmt.Sprintf("%s %s: no answer within spec.timeout: %s", step, endpoint, said)
	case errors.Is(err, ErrTooLarge):
		text += "; see docs/gitops/sources.md for the limits"
	}
	return &Error{text: text, err: err}
}
