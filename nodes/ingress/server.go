package ingress

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/nodes/ingress/certificates"
	"headway.dev/nodes/ingress/routes"
	"headway.dev/nodes/ingress/serve"
	"headway.dev/nodes/ingress/upstream"
	"headway.dev/nodes/known"
	"headway.dev/nodes/objects"
)

// Config is what a proxy needs.
type Config struct {
	// HTTP and HTTPS are the addresses to listen at, such as :80; empty: not at all.
	HTTP, HTTPS string
	// Pods are the addresses of pods, to which the proxy speaks from the address that Source
	// returns, if that is valid.
	Pods netip.Prefix
	// Pods6 and Source6 are the same for IPv6; Pods6 is zero where pods have none.
	Pods6   netip.Prefix
	Source6 func() netip.Addr
	Source  func() netip.Addr
	// Trusted, ProxyProtocol and AccessLog are as in serve.Config.
	Trusted       []netip.Prefix
	ProxyProtocol bool
	AccessLog     io.Writer
	// Cluster has what the proxy serves by, but for the Secrets that Client reads.
	Cluster *known.Cluster
	Client  kubernetes.Interface
	// Custom reads Gateways and their routes; nil: none are served.
	Custom dynamic.Interface
	// Taken are ports that no Gateway gets, by what has them.
	Taken map[int32]string
	// Warn is told what users have to know: of an Ingress, or if it is nil, of the node.
	Warn func(about *networkingv1.Ingress, reason, message string)
	// WarnGateway is told what users of a Gateway have to know.
	WarnGateway func(about *gatewayv1.Gateway, reason, message string)
	Log         *slog.Logger
}

// drain is how long requests may take to end once the proxy ends.
const drain = 10 * time.Second

// Server is the proxy of a node.
type Server struct {
	cfg          Config
	web          *serve.Server
	upstreams    *upstream.Set
	certificates certificates.Store

	// What has been read of the API for the first time.
	read struct{ ingresses, classes, services, slices atomic.Bool }
	mu   sync.Mutex
	// ingresses and classes are all that there are.
	ingresses map[types.NamespacedName]*networkingv1.Ingress
	classes   map[string]*networkingv1.IngressClass
	// secrets are what the routes name, for hosts.
	secrets []routes.Certificate
	// of are the Ingresses that name a secret.
	of map[types.NamespacedName][]*networkingv1.Ingress

	gateways gateways
	// ports are those that Gateways are served at, and whether by TLS.
	ports map[int32]bool
	// forPorts are the certificates of the ports' listeners, and portCertificates those that
	// could be read, by their hosts.
	forPorts         map[int32][]routes.Certificate
	portCertificates atomic.Pointer[map[int32]map[string][]*tls.Certificate]
	listeners        loop.Flag // look at the ports

	// version counts what has been wanted of the certificates; looked is the one that has
	// been looked at, and needed the one that has to be before HTTPS is served, but for
	// certificatesWait after since.
	version, looked, needed int
	since                   time.Time

	// active: there is something to serve.
	active  atomic.Bool
	routes  loop.Flag // look at the routes
	certs   loop.Flag // look at the certificates
	told    told
	serving []*listener
	served  map[types.NamespacedName]bool   // by lookRoutes alone: what it served last
	routed  map[types.NamespacedName]bool   // and which routes, by their labels
	parsed  map[types.NamespacedName]parsed // for lookCertificates alone
}

// parsed is the certificate of a version of a Secret.
type parsed struct {
	version     string
	certificate *tls.Certificate
}

// New returns a proxy that serves nothing yet.
func New(cfg Config) *Server {
	if cfg.Warn == nil {
		cfg.Warn = func(*networkingv1.Ingress, string, string) {}
	}
	if cfg.WarnGateway == nil {
		cfg.WarnGateway = func(*gatewayv1.Gateway, string, string) {}
	}
	s := &Server{
		cfg: cfg, ingresses: map[types.NamespacedName]*networkingv1.Ingress{}, classes: map[string]*networkingv1.IngressClass{},
		routes: loop.NewFlag(), certs: loop.NewFlag(), listeners: loop.NewFlag(), parsed: map[types.NamespacedName]parsed{},
	}
	s.gateways.init()
	s.told.warn = cfg.Warn
	s.upstreams = upstream.New(dialer{cfg.Pods, cfg.Source, cfg.Pods6, cfg.Source6}.dial)
	s.web = serve.New(serve.Config{
		HTTPS: cfg.HTTPS, Trusted: cfg.Trusted, ProxyProtocol: cfg.ProxyProtocol, AccessLog: cfg.AccessLog,
		Upstreams: s.upstreams, Certificates: &s.certificates, Drain: drain, Log: cfg.Log,
	})
	for _, l := range []*listener{{address: cfg.HTTP, port: 80, fixed: true}, {address: cfg.HTTPS, port: 443, fixed: true, secure: true}} {
		if l.address != "" {
			l.wake = loop.NewFlag()
			s.serving = append(s.serving, l)
		}
	}
	return s
}

// Metrics are those of the proxy.
func (s *Server) Metrics() prometheus.Gatherer { return s.web.Metrics() }

// backoff is how long to wait after something failed.
var backoff = loop.Backoff{First: 200 * time.Millisecond, Last: 30 * time.Second}

// Run serves until ctx ends, and then returns nil.
func (s *Server) Run(ctx context.Context) error {
	secrets := objects.NewCache(ctx, s.cfg.Client, func(types.UID) { s.certs.Set() })
	var wg sync.WaitGroup
	defer s.upstreams.Close()
	defer secrets.Stop()
	defer wg.Wait()
	again := func(what string, run func(context.Context)) {
		wg.Go(func() {
			_ = guard.Loop(ctx, what, func(ctx context.Context) error { run(ctx); return nil }) // they have no error
		})
	}
	again("watch ingresses", s.followIngresses)
	again("watch ingress classes", s.followClasses)
	again("watch services for ingresses", s.followServices)
	again("watch endpointslices for ingresses", s.followSlices)
	again("routes of ingresses", func(ctx context.Context) {
		loop.Follow(ctx, "routes of ingresses", s.routes, backoff, func(context.Context) (time.Duration, error) { s.lookRoutes(); return 0, nil })
	})
	again("certificates of ingresses", func(ctx context.Context) {
		loop.Follow(ctx, "certificates of ingresses", s.certs, backoff, func(ctx context.Context) (time.Duration, error) {
			return s.lookCertificates(ctx, secrets), nil
		})
	})
	if s.cfg.Custom != nil {
		s.followGateways(again)
	}
	for _, l := range s.serving {
		again("serve ingresses", func(ctx context.Context) { s.listen(ctx, l) })
	}
	return nil
}
