package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"headway.dev/nodes/ingress/routes"
)

const (
	// dialTime is how long an endpoint may take to accept a connection.
	dialTime = 3 * time.Second
	// attempts is how many endpoints are tried for one request.
	attempts = 4
	// draws is how often an endpoint is drawn before all are looked at.
	draws = 4
)

// ErrTimeout is that a backend did not answer in time.
var ErrTimeout = errors.New("the backend did not answer in time")

// NoEndpoint is that there is nothing to send a request to.
type NoEndpoint struct {
	Backend routes.Backend
	// Problem says why, for people; empty: nothing is ready at present.
	Problem string
}

func (e *NoEndpoint) Error() string {
	if e.Problem != "" {
		return e.Problem
	}
	return fmt.Sprintf("no endpoint of the Service %s is ready", e.Backend.Service.Name)
}

// pick chooses an endpoint that was not tried; nil if all were. One that is avoided is
// chosen only if there is no other.
func (p *pool) pick(tried []*endpoint, now time.Time) *endpoint {
	n := len(p.endpoints)
	if n == 0 {
		return nil
	}
	good := func(e *endpoint) bool { return !e.avoided(now) && !slices.Contains(tried, e) }
	var best *endpoint
	for i, found := 0, 0; i < draws && found < 2; i++ {
		e := p.endpoints[rand.IntN(n)] //nolint:gosec // a balance, no secret
		if e == best || !good(e) {
			continue
		}
		if found++; best == nil || e.requests.Load() < best.requests.Load() {
			best = e
		}
	}
	if best != nil {
		return best
	}
	begin := rand.IntN(n) //nolint:gosec // as above
	for i := range n {
		e := p.endpoints[(begin+i)%n]
		if good(e) {
			return e
		}
		if best == nil && !slices.Contains(tried, e) {
			best = e
		}
	}
	return best
}

// Send sends a request to an endpoint of a backend. timeout is how long the answer may take to
// begin after the last part of the request was sent; 0: for ever. retried is called before
// another endpoint is tried.
func (s *Set) Send(req *http.Request, b routes.Backend, timeout time.Duration, retried func()) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	out := req.WithContext(ctx)
	limit := newDeadline(ctx, timeout, cancel)
	if req.Body != nil && req.Body != http.NoBody {
		out.Body = &sending{req.Body, limit}
	}
	resp, e, err := s.try(out, b, retried)
	if limit.stop() && err == nil {
		_ = resp.Body.Close()
		err = ErrTimeout
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && req.Context().Err() == nil {
			err = cause
		}
		if e != nil {
			e.requests.Add(-1)
		}
		cancel(nil)
		return nil, err
	}
	end := sync.OnceFunc(func() { e.requests.Add(-1); cancel(nil) })
	if both, ok := resp.Body.(io.ReadWriteCloser); ok {
		resp.Body = &upgraded{both, end}
	} else {
		resp.Body = &answer{resp.Body, end}
	}
	return resp, nil
}

// try returns the answer, or the error, of the endpoint that the request was sent to,
// which counts the request.
func (s *Set) try(req *http.Request, b routes.Backend, retried func()) (*http.Response, *endpoint, error) {
	var tried []*endpoint
	var last error
	for range attempts {
		now := time.Now()
		p := s.pool(b) // it may have changed
		e := p.pick(tried, now)
		if e == nil {
			if last == nil {
				last = &NoEndpoint{b, p.problem}
			}
			return nil, nil, last
		}
		if last != nil {
			retried()
		}
		u := *req.URL
		u.Scheme, u.Host = e.scheme(), e.key.addr.String()
		one := req.WithContext(req.Context())
		one.URL = &u
		e.requests.Add(1)
		resp, err := e.transport.RoundTrip(one)
		if err == nil || !unsent(err) || req.Context().Err() != nil {
			return resp, e, err
		}
		e.requests.Add(-1)
		e.failed(now)
		tried, last = append(tried, e), err
	}
	return nil, nil, last
}

// unsent reports whether an error is that there was no connection, so that nothing was
// sent.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// sending is the body of a request. It outlives a transport that could not connect;
// whoever made the request closes it.
type sending struct {
	io.ReadCloser
	limit *deadline
}

func (b *sending) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.limit.extend()
	return n, err
}

func (b *sending) Close() error { return nil }

// answer is the body of an answer.
type answer struct {
	io.ReadCloser
	end func()
}

func (b *answer) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// upgraded is a connection that speaks another protocol now.
type upgraded struct {
	io.ReadWriteCloser
	end func()
}

func (b *upgraded) Close() error {
	defer b.end()
	return b.ReadWriteCloser.Close()
}
