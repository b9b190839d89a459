package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/ingress/routes"
	"headway.dev/nodes/ingress/upstream"
)

// route answers a request that a route of a Gateway is for.
func (s *Server) route(w *recorder, r *http.Request, x *exchange) {
	if d := x.action.Redirect; d != nil {
		answerHeaders(x.action.Filters, w.Header())
		w.Header().Set("Location", d.Location(r, x.at.Port, x.action.Prefix))
		w.WriteHeader(d.Code)
		return
	}
	if total := x.action.Split.Total; total > 0 {
		x.target = x.action.Split.Pick(rand.Int64N(total)) //nolint:gosec // it shares requests out, and nothing is secret
	}
	if x.target == nil || x.target.Invalid != "" {
		x.fault = errors.New("the rule has no backend")
		if x.target != nil {
			x.fault = errors.New(x.target.Invalid)
		}
		if x.action.Kind == "GRPCRoute" {
			// Which gRPC's clients read as UNAVAILABLE, as the specification has it.
			http.Error(w, "503 service unavailable", http.StatusServiceUnavailable)
			return
		}
		http.Error(w, "500 internal server error", http.StatusInternalServerError)
		return
	}
	if whole := x.action.Options.Whole; whole > 0 {
		ctx, cancel := context.WithTimeoutCause(r.Context(), whole, upstream.ErrTimeout)
		defer cancel()
		r = r.WithContext(ctx)
	}
	x.chooseMirrors()
	if len(x.mirrors) > 0 {
		select {
		case s.buffers <- struct{}{}:
			defer func() { <-s.buffers }()
		default:
			x.mirrors = nil
		}
	}
	if len(x.mirrors) == 0 || r.Header.Get("Upgrade") != "" {
		x.mirrors = nil
		s.proxy.ServeHTTP(w, r)
		return
	}
	body := &copied{ReadCloser: r.Body}
	if r.Body == nil || r.Body == http.NoBody {
		body.ended = true
	} else {
		r.Body = body
	}
	s.proxy.ServeHTTP(w, r)
	if text, whole := body.whole(); whole && x.sent != nil {
		s.mirror(x, text)
	}
}

// backend is where a request goes.
func (x *exchange) backend() routes.Backend {
	if x.target != nil {
		return x.target.Backend
	}
	return x.action.Backend
}

// filters are those of the rule, and those of the target.
func (x *exchange) filters() [2]*routes.Filters {
	if x.target == nil {
		return [2]*routes.Filters{}
	}
	return [2]*routes.Filters{x.action.Filters, x.target.Filters}
}

// edit changes the request for a backend as the filters say.
func (x *exchange) edit(out *http.Request) {
	for _, f := range x.filters() {
		if f == nil {
			continue
		}
		f.Request.Edit(out.Header)
		if f.Host != "" {
			out.Host = f.Host
		}
		if f.Path != nil {
			f.Path.Edit(out.URL, x.action.Prefix)
		}
	}
}

// modify changes the answer of a backend as the filters say.
func (s *Server) modify(resp *http.Response) error {
	spreadTrailers(resp)
	x := exchangeOf(resp.Request.Context())
	if x == nil {
		return nil
	}
	list := x.filters()
	answerHeaders(list[1], resp.Header)
	answerHeaders(list[0], resp.Header)
	return nil
}

func answerHeaders(f *routes.Filters, header http.Header) {
	if f != nil {
		f.Response.Edit(header)
	}
}

const (
	// mostCopies is how many requests are mirrored at once, and of how many the bodies are
	// remembered for that; what is more is not.
	mostCopies = 100
	// largestCopy is how large the body of a request may be that is mirrored, in bytes.
	largestCopy = 1 << 20
	// copyTime is how long a mirror may take.
	copyTime = 30 * time.Second
)

// chooseMirrors finds out which mirrors get a copy.
func (x *exchange) chooseMirrors() {
	for _, f := range x.filters() {
		if f == nil {
			continue
		}
		for _, m := range f.Mirrors {
			if m.Denominator > 0 && rand.Int64N(m.Denominator) < m.Numerator { //nolint:gosec // as above
				x.mirrors = append(x.mirrors, m.Backend)
			}
		}
	}
}

// mirror sends copies of a request that has been answered, and waits for none of them.
func (s *Server) mirror(x *exchange, body []byte) {
	for _, b := range x.mirrors {
		select {
		case s.copies <- struct{}{}:
		default:
			return
		}
		x.at.copies.Go(func() {
			defer func() { <-s.copies }()
			guard.Do(x.at.base, "mirror a request", func() {
				ctx, cancel := context.WithTimeout(x.at.base, copyTime)
				defer cancel()
				r := x.sent.Clone(ctx)
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				if len(body) == 0 {
					r.Body = http.NoBody
				}
				resp, err := s.cfg.Upstreams.Send(r, b, copyTime, func() {})
				if err != nil {
					return // nobody is told what becomes of a copy
				}
				_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, largestCopy)) // so that the connection can be used again
				_ = resp.Body.Close()
			})
		})
	}
}

// copied is a body that remembers what was read of it, if that is not too much.
type copied struct {
	io.ReadCloser
	mu           sync.Mutex // it may be read for longer than the answer takes
	text         bytes.Buffer
	large, ended bool
}

// Read implements io.Reader.
func (c *copied) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.large:
	case c.text.Len()+n > largestCopy:
		c.large, c.text = true, bytes.Buffer{}
	default:
		c.text.Write(p[:n])
	}
	c.ended = c.ended || errors.Is(err, io.EOF)
	return n, err
}

// whole returns the body, if all of it is remembered: then it changes no more.
func (c *copied) whole() ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Bytes(), c.ended && !c.large
}
