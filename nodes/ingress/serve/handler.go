package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/ingress/routes"
	"headway.dev/nodes/ingress/upstream"
)

// What the header of a request says about who sent it first. Strangers do not say it.
const (
	forwardedFor   = "X-Forwarded-For"
	forwardedHost  = "X-Forwarded-Host"
	forwardedProto = "X-Forwarded-Proto"
	forwardedPort  = "X-Forwarded-Port"
	realIP         = "X-Real-Ip"
)

// statusClientGone is what the log has for a client that went before there was an answer,
// as nginx has it.
const statusClientGone = 499

// exchange is what is known of one request while it is served.
type exchange struct {
	began  time.Time
	at     *serving
	action *routes.Action
	// target is the backend of a route that gets the request.
	target *routes.Target
	// mirrors get copies of it.
	mirrors []routes.Backend
	sent    *http.Request // as a backend gets it, if there are mirrors
	// retries are how many endpoints were tried in vain.
	retries int
	// fault is why there is no answer of a backend.
	fault error
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

func (s *Server) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        s.rewrite,
		Transport:      roundTripper(s.send),
		ModifyResponse: s.modify,
		FlushInterval:  -1, // what a backend sends is sent on at once
		BufferPool:     &buffers{},
		ErrorLog:       s.quiet(),
		ErrorHandler:   s.failed,
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{began: time.Now()}
	if x.at, _ = r.Context().Value(servingKey{}).(*serving); x.at == nil {
		x.at = &serving{Place: Place{Ingresses: true}, base: r.Context(), copies: &sync.WaitGroup{}}
		defer x.at.copies.Wait()
	}
	seen := &recorder{ResponseWriter: w}
	s.metrics.open.Inc()
	defer func() {
		s.metrics.open.Dec()
		if value := recover(); value != nil {
			if value != http.ErrAbortHandler { //nolint:errorlint // the very value
				guard.Report(r.Context(), "serve a request", value)
			}
			s.done(r, x, seen)
			panic(http.ErrAbortHandler) // the client has to notice
		}
		s.done(r, x, seen)
	}()
	client := s.bounded(r)
	switch s.requests.enter(client) {
	case admitted:
		defer s.requests.leave(client)
	case tooManyOfClient:
		x.fault = errManyOfClient
		http.Error(seen, "429 too many requests", http.StatusTooManyRequests)
		return
	case tooMany:
		x.fault = errMany
		http.Error(seen, "503 service unavailable", http.StatusServiceUnavailable)
		return
	}
	misdirected := false
	if x.at.Ingresses {
		x.action, misdirected = routes.Match(s.gateways.Load(), s.table.Load(), x.at.Port, r)
	} else {
		x.action, misdirected = s.gateways.Load().Match(x.at.Port, r)
	}
	switch {
	case misdirected:
		http.Error(seen, "421 misdirected request", http.StatusMisdirectedRequest)
		return
	case r.Method == http.MethodConnect:
		http.Error(seen, "405 method not allowed", http.StatusMethodNotAllowed)
		return
	case x.action == nil:
		http.Error(seen, "404 page not found", http.StatusNotFound)
		return
	case x.action.Options.Redirect && s.cfg.HTTPS != "" && r.TLS == nil && !s.cameByTLS(r):
		s.redirect(seen, r)
		return
	case x.action.Unserved != "":
		x.fault = errors.New(x.action.Unserved)
		http.Error(seen, "503 service unavailable", http.StatusServiceUnavailable)
		return
	}
	if limit := x.action.Options.BodyLimit; limit > 0 && r.Body != nil {
		if r.ContentLength > limit {
			http.Error(seen, "413 request entity too large", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	if r.ProtoMajor == 1 {
		// A backend may answer before it has read all, and go on reading.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	ctx := context.WithValue(r.Context(), exchangeKey{}, x)
	if x.action.Split == nil {
		s.proxy.ServeHTTP(seen, r.WithContext(ctx))
		return
	}
	s.route(seen, r.WithContext(ctx), x)
}

// Why a request is refused before anything else is looked at.
var (
	errMany         = errors.New("there are too many requests at once")
	errManyOfClient = errors.New("the client has too many requests at once")
)

// bounded is the client whose requests are counted; not valid for a trusted proxy, which
// sends those of many.
func (s *Server) bounded(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if client := addr.Addr().Unmap(); err == nil && !s.trusts(client) {
		return client
	}
	return netip.Addr{}
}

// cameByTLS reports whether a trusted proxy says that the client speaks TLS with it.
func (s *Server) cameByTLS(r *http.Request) bool {
	return s.trusted(r) && strings.EqualFold(r.Header.Get(forwardedProto), "https")
}

func (s *Server) redirect(w http.ResponseWriter, r *http.Request) {
	host := routes.Hostname(r.Host)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if _, port, err := net.SplitHostPort(s.cfg.HTTPS); err == nil && port != "443" {
		host += ":" + port
	}
	u := *r.URL
	u.Scheme, u.Host = "https", host
	http.Redirect(w, r, u.String(), http.StatusPermanentRedirect)
}

// trusted reports whether a request is from a proxy whose word counts.
func (s *Server) trusted(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && s.trusts(addr.Addr().Unmap())
}

// rewrite makes the request for the backend. The library has dropped Forwarded and
// X-Forwarded-* of the client's by now.
func (s *Server) rewrite(p *httputil.ProxyRequest) {
	p.Out.Host = p.In.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery // also what the library cannot read
	header := p.Out.Header
	trusted := s.trusted(p.In)
	if trusted {
		header[forwardedFor] = p.In.Header[forwardedFor]
	}
	p.SetXForwarded()
	port := "80"
	if local, ok := p.In.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, own, err := net.SplitHostPort(local.String()); err == nil {
			port = own
		}
	}
	client := ""
	if addr, err := netip.ParseAddrPort(p.In.RemoteAddr); err == nil {
		client = addr.Addr().Unmap().String()
	}
	header.Set(forwardedPort, port)
	header.Set(realIP, client)
	if trusted {
		for _, name := range []string{forwardedHost, forwardedProto, forwardedPort, realIP} {
			if v := p.In.Header.Get(name); v != "" {
				header.Set(name, v)
			}
		}
	}
	// Many backends take a _ in a name for a -, so that a client could forge with it what is
	// set above.
	for name := range header {
		if strings.Contains(name, "_") {
			delete(header, name)
		}
	}
	// Only WebSocket is known to leave the rules in force: by h2c, for one, a client could
	// send requests through the connection that no rule has seen.
	if up := header.Get("Upgrade"); up != "" && !strings.EqualFold(up, "websocket") {
		header.Del("Upgrade")
		header.Del("Connection")
	}
	if x := exchangeOf(p.In.Context()); x != nil {
		x.edit(p.Out)
	}
}

// send sends a request to its backend.
func (s *Server) send(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	if len(x.mirrors) > 0 {
		x.sent = r.Clone(x.at.base)
	}
	return s.cfg.Upstreams.Send(r, x.backend(), x.action.Options.Timeout, func() {
		x.retries++
		s.metrics.retries.Inc()
	})
}

// failed answers a request that no backend has answered.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.fault = err
	var none *upstream.NoEndpoint
	var large *http.MaxBytesError
	code := http.StatusBadGateway
	switch {
	case errors.Is(context.Cause(r.Context()), upstream.ErrTimeout):
		code = http.StatusGatewayTimeout
	case r.Context().Err() != nil:
		code = statusClientGone
	case errors.As(err, &large):
		code = http.StatusRequestEntityTooLarge
	case errors.As(err, &none):
		code = http.StatusServiceUnavailable
	case errors.Is(err, upstream.ErrTimeout):
		code = http.StatusGatewayTimeout
	}
	if code == statusClientGone {
		if seen, ok := w.(*recorder); ok {
			seen.status = code
		}
		panic(http.ErrAbortHandler)
	}
	http.Error(w, strconv.Itoa(code)+" "+strings.ToLower(http.StatusText(code)), code)
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(code int) {
	if code >= http.StatusOK || code == http.StatusSwitchingProtocols {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// buffers are those by which answers are copied.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

var _ io.Writer = (*recorder)(nil)
