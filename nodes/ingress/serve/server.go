package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/ingress/certificates"
	"headway.dev/nodes/ingress/routes"
	"headway.dev/nodes/ingress/upstream"
)

// Config is what a server needs.
type Config struct {
	// HTTPS is the address at which TLS is served; redirects have its port. Empty: nowhere,
	// and there are no redirects.
	HTTPS string
	// Trusted are the proxies that may say who the client is, by X-Forwarded-* and, if
	// ProxyProtocol is set, by the PROXY protocol, with which each connection of theirs
	// has to begin then.
	Trusted       []netip.Prefix
	ProxyProtocol bool
	// AccessLog gets a line of JSON for each request; nil: nothing does.
	AccessLog    io.Writer
	Upstreams    *upstream.Set
	Certificates *certificates.Store
	// Requests is how many requests there may be at once, and ClientRequests how many of one
	// address that is no trusted proxy; 0: 10,000 and 500.
	Requests, ClientRequests int
	// Drain is how long requests may take to end once serving ends.
	Drain time.Duration
	Log   *slog.Logger
}

// Server answers requests.
type Server struct {
	cfg      Config
	proxy    *httputil.ReverseProxy
	table    atomic.Pointer[routes.Table]
	gateways atomic.Pointer[routes.Gateways]
	metrics  *metrics
	copies   chan struct{} // slots for mirrored requests
	buffers  chan struct{} // slots for requests whose bodies are remembered for mirrors
	log      struct {
		sync.Mutex
		*json.Encoder
	}
	limits   *limits // of connections
	requests *limits
}

// New returns a server that has no routes.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, metrics: newMetrics(), copies: make(chan struct{}, mostCopies), buffers: make(chan struct{}, mostCopies), limits: newLimits(mostConnections, mostPerClient)}
	s.requests = newLimits(cmp.Or(cfg.Requests, mostRequests), cmp.Or(cfg.ClientRequests, mostRequestsPerClient))
	s.proxy = s.newProxy()
	if cfg.AccessLog != nil {
		s.log.Encoder = json.NewEncoder(cfg.AccessLog)
	}
	return s
}

// SetRoutes has requests that begin from now on go where a table says.
func (s *Server) SetRoutes(t *routes.Table) { s.table.Store(t) }

// SetGateways does the same for Gateways, whose routes come before rules of the table that name
// the host no more exactly.
func (s *Server) SetGateways(g *routes.Gateways) { s.gateways.Store(g) }

// Metrics are those of the server.
func (s *Server) Metrics() prometheus.Gatherer { return s.metrics.registry }

func (s *Server) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.Trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// How long a client may take for the header of a request, and may be without a request; how
// large that header may be; and how many requests a connection may have at a time.
const (
	headerTime = 10 * time.Second
	idleTime   = 75 * time.Second
	headerSize = 64 << 10
	streams    = 100
)

// Place is what is served at an address.
type Place struct {
	// Port is the one that Gateways know it by.
	Port int32
	// Ingresses are served, too.
	Ingresses bool
	// Certificate chooses the one for a connection; nil: there is no TLS.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// serving is a Place while it is served.
type serving struct {
	Place
	base   context.Context //nolint:containedctx // ends when there is no more time
	copies *sync.WaitGroup // of mirrored requests
}

type servingKey struct{}

// Serve serves Ingresses as ServeAt does, by TLS if secure is set, with the certificates of
// Config.
func (s *Server) Serve(ctx context.Context, listener net.Listener, secure bool) error {
	at := Place{Port: 80, Ingresses: true}
	if secure {
		at = Place{Port: 443, Ingresses: true, Certificate: s.cfg.Certificates.Get}
	}
	return s.ServeAt(ctx, listener, at)
}

// ServeAt serves what listener accepts until ctx ends. Requests that have begun by then are
// answered if they take no longer than Config.Drain.
func (s *Server) ServeAt(ctx context.Context, listener net.Listener, at Place) error {
	secure := at.Certificate != nil
	// Its end cuts what has been upgraded, which the library does not know any more.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	var copies sync.WaitGroup
	defer copies.Wait()
	defer cut()
	here := context.WithValue(base, servingKey{}, &serving{at, base, &copies})
	server := &http.Server{
		Handler: s, ErrorLog: s.quiet(), BaseContext: func(net.Listener) context.Context { return here },
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerSize,
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: streams},
		Protocols: new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(secure)
	server.Protocols.SetUnencryptedHTTP2(!secure) // gRPC without TLS
	listener = s.guarded(listener)
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		guard.Do(base, "end serving requests", func() {
			select {
			case <-ended:
				return
			case <-ctx.Done():
			}
			drain, cancel := context.WithTimeout(base, s.cfg.Drain)
			defer cancel()
			if server.Shutdown(drain) != nil {
				_ = server.Close() // what is left has had its time
			}
			cut()
		})
	})
	var err error
	if secure {
		server.TLSConfig = &tls.Config{GetCertificate: at.Certificate, MinVersion: tls.VersionTLS12}
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	close(ended)
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// quiet is for what the library tells of its clients, who can make it tell much.
func (s *Server) quiet() *log.Logger {
	return slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)
}
