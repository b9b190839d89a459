package api

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	aggregated "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/compatibility"
	restclient "k8s.io/client-go/rest"
	"k8s.io/klog/v2" //nolint:depguard // the libraries log to it: it is routed to slog here

	chain "headway.dev/engine/admission"
	"headway.dev/engine/api/aggregate"
	"headway.dev/engine/api/audit"
	"headway.dev/engine/api/authn"
	"headway.dev/engine/api/authz"
	"headway.dev/engine/api/codec"
	"headway.dev/engine/api/custom"
	"headway.dev/engine/api/fairness"
	"headway.dev/engine/api/limits"
	"headway.dev/engine/api/nodemetrics"
	"headway.dev/engine/api/openapi"
	"headway.dev/engine/api/registry"
	"headway.dev/engine/api/storage"
	"headway.dev/engine/api/streaming"
	"headway.dev/engine/api/tunnel"
	"headway.dev/engine/rbac"
	"headway.dev/engine/satoken"
	"headway.dev/engine/store"
	"headway.dev/manifests/egress"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/nodeconfig"
)

// Config of New.
type Config struct {
	Store *store.Store
	// Listener is where the server listens. Run closes it.
	Listener net.Listener
	// Address is where clients reach the server if it listens on all addresses; it is
	// one of the certificate's.
	Address netip.AddrPort
	// ServingCert and ServingKey are the server's certificate chain and key,
	// ClientCA the authorities of client certificates, all PEM.
	ServingCert, ServingKey, ClientCA []byte
	// Serving has the server's certificate instead, if it changes while the server runs.
	Serving func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Tokens may be nil if there are none.
	Tokens authn.Tokens
	// Authentication are further ways to tell who asks. Run keeps them up; nil:
	// there are none, and requests may be anonymous.
	Authentication *authn.Methods
	// NodeTLS verifies the nodes' streaming servers and identifies this server
	// to them. Without it logs, exec, attach and port-forward fail.
	NodeTLS *tls.Config
	// FrontProxy is the certificate by which the servers of aggregated APIs know
	// this one; nil: it has none.
	FrontProxy func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Routes are further handlers by path; a path that ends in / covers what is
	// below it. Requests to them are authenticated and authorized: ClusterRoles
	// grant them as nonResourceURLs.
	Routes map[string]http.Handler
	// Roles and Graph observe the store. AccountTokens signs and checks the
	// tokens of service accounts.
	Roles         *rbac.Index
	Graph         *authz.Graph
	AccountTokens *satoken.Issuer
	// Authorizer decides about requests, and about what the process asks without
	// one. Run keeps it up (default: one for Roles and Graph).
	Authorizer *authz.Authorizer
	// Kinds observes the store, too: it knows the custom resources.
	Kinds *scheme.Registry
	// Admission is asked about requests that write (default: no plugin is).
	Admission *chain.Chain
	// Egress says which addresses conversion webhooks, and the names of Services to
	// which requests are handed on, must not have; nil denies
	// none.
	Egress *egress.Policy
	// Tunnels are those to nodes, through which they and their pods are reached (default:
	// those that agents open to this server).
	Tunnels *tunnel.Tunnels
	// Gate, if set, is asked about users' writes.
	Gate registry.Gate
	// Audit is where requests are logged; nil for nowhere. Run runs and closes
	// it.
	Audit *audit.Log
	// Ready are further conditions of /readyz, by name.
	Ready map[string]func() error
	// RequestTimeout ends requests, except for watches, streams and requests to
	// Routes (default: a minute).
	RequestTimeout time.Duration
	// Idle is how long what a custom resource needs is kept after the last request for
	// one (default 30s).
	Idle time.Duration
	// Version is what /version reports as gitVersion. Empty: what the build set
	// in k8s.io/component-base/version, else the compatible Kubernetes version.
	Version string
	Log     *slog.Logger
}

// Server is the API server.
type Server struct {
	log       *slog.Logger
	store     *store.Store
	auth      *authz.Authorizer
	listener  net.Listener
	tls       *tls.Config
	generic   *genericapiserver.GenericAPIServer
	handler   http.Handler
	nodes     *streaming.Nodes
	admission admission.Interface
	audit     *audit.Log
	fairness  *fairness.Control
	aggregate *aggregate.Aggregator
	metrics   *nodemetrics.Collector
	methods   *authn.Methods
	version   version.Info

	// requests are the in-process requests under way; closed ends new ones.
	requests inProcessRequests
	// conns are the connections that handlers took over, and count the handlers.
	conns limits.Hijacked
	// started is closed when the server's own requests are served, ready when all
	// are.
	started, ready chan struct{}
}

// processOnce guards what is the process's: klog's logger, and what becomes of
// panics.
var processOnce sync.Once

func setUpProcess(log *slog.Logger) {
	processOnce.Do(func() {
		klog.SetSlogLogger(libraryLog(log.With("component", "apiserver")))
		guard.Install(limits.Panics.Inc)
	})
}

// New wires the server. It serves nothing before Run. InProcess clients may be
// created earlier, but used only once Run has started.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Admission == nil {
		cfg.Admission = chain.NewChain()
	}
	if cfg.Kinds == nil {
		cfg.Kinds = &scheme.Registry{}
	}
	setUpProcess(cfg.Log)
	if cfg.Tunnels == nil {
		var err error
		if cfg.Tunnels, err = tunnel.New(cfg.Store, cfg.Log); err != nil {
			return nil, err
		}
	}
	cfg.Routes = maps.Clone(cfg.Routes)
	if cfg.Routes == nil {
		cfg.Routes = map[string]http.Handler{}
	}
	if _, taken := cfg.Routes[nodeconfig.TunnelPrefix]; taken {
		return nil, fmt.Errorf("%s is served by something else than tunnels", nodeconfig.TunnelPrefix)
	}
	cfg.Routes[nodeconfig.TunnelPrefix] = cfg.Tunnels
	if cfg.Serving == nil {
		pair, err := tls.X509KeyPair(cfg.ServingCert, cfg.ServingKey)
		if err != nil {
			return nil, fmt.Errorf("serving certificate: %w", err)
		}
		cfg.Serving = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	clientCAs := x509.NewCertPool()
	if !clientCAs.AppendCertsFromPEM(cfg.ClientCA) {
		return nil, errors.New("client authorities: no certificate in the PEM data")
	}
	var err error
	auth := cfg.Authorizer
	if auth == nil {
		if auth, err = authz.New(authz.Config{Reader: cfg.Store, Graph: cfg.Graph, Roles: cfg.Roles, Log: cfg.Log}); err != nil {
			return nil, fmt.Errorf("authorizer: %w", err)
		}
	}
	s := &Server{
		store: cfg.Store, auth: auth,
		admission: requestAdmission{cfg.Admission, cfg.Store, cfg.Roles, auth},
		audit:     cfg.Audit,
		methods:   cfg.Authentication,
		log:       cfg.Log, listener: cfg.Listener, nodes: streaming.NewNodes(cfg.Store, cfg.NodeTLS, cfg.Tunnels),
		version: versionInfo(cfg.Version), started: make(chan struct{}), ready: make(chan struct{}),
		// A request without or with a foreign certificate is let in to be
		// refused by authentication, which then can tell why.
		tls: &tls.Config{
			MinVersion: tls.VersionTLS12, GetCertificate: cfg.Serving,
			ClientAuth: tls.RequestClientCert, ClientCAs: clientCAs, NextProtos: []string{"h2", "http/1.1"},
		},
	}
	if s.fairness, err = fairness.New(s.loopback(), cfg.Store, cfg.Kinds, cfg.Log); err != nil {
		return nil, err
	}
	if err := s.assemble(cfg, clientCAs); err != nil {
		return nil, err
	}
	return s, nil
}

// external is the address that clients are told.
func (cfg *Config) external() string {
	at, err := netip.ParseAddrPort(cfg.Listener.Addr().String())
	if err == nil && at.Addr().IsUnspecified() && cfg.Address.IsValid() {
		return cfg.Address.String()
	}
	return cfg.Listener.Addr().String()
}

// assemble builds the library's server and installs everything it serves.
func (s *Server) assemble(cfg Config, clientCAs *x509.CertPool) error {
	c := genericapiserver.NewConfig(scheme.Codecs)
	c.Serializer = codec.Serializer{NegotiatedSerializer: scheme.Codecs}
	c.EffectiveVersion = effectiveVersion{compatibility.DefaultBuildEffectiveVersion(), s.version}
	c.ExternalAddress = cfg.external()
	c.LoopbackClientConfig = &restclient.Config{}
	requests, tokens := authn.New(authn.Config{
		Inside: authenticator.RequestFunc(inProcessUser), ClientCAs: clientCAs, Users: cfg.Tokens,
		Accounts: cfg.AccountTokens, Secrets: cfg.Store, Methods: cfg.Authentication,
	})
	c.Authentication.Authenticator, c.Authentication.APIAudiences = requests, authn.Audiences
	c.Authorization.Authorizer = s.auth
	c.AdmissionControl = s.admission
	if cfg.Audit != nil {
		c.AuditBackend, c.AuditPolicyRuleEvaluator = cfg.Audit.Backend, cfg.Audit.Evaluator
	}
	c.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis") // one for all servers
	s.aggregate = aggregate.New(aggregate.Config{
		Store: cfg.Store, Certificate: cfg.FrontProxy, Egress: cfg.Egress, Pods: cfg.Tunnels.DialPod, Groups: c.AggregatedDiscoveryGroupManager, Serializer: c.Serializer, Log: cfg.Log,
	})
	c.LongRunningFunc = longRunning(cfg.Routes, s.aggregate.Upgrades)
	c.RequestTimeout = cmp.Or(cfg.RequestTimeout, c.RequestTimeout)
	c.FlowControl = nil
	c.SkipOpenAPIInstallation = true
	c.StorageObjectCountTracker = nil
	c.BuildHandlerChainFunc = s.filters
	// It only measures how much is in flight, every second.
	c.DisabledPostStartHooks.Insert("max-in-flight-filter")
	// It ends the process if the server is stopped early; Run waits instead.
	c.DisabledPostStartHooks.Insert("crd-informer-synced")
	// The library's check of its log has a goroutine that never ends.
	c.HealthzChecks = []healthz.HealthChecker{healthz.PingHealthz}
	c.LivezChecks = []healthz.HealthChecker{healthz.PingHealthz}
	c.ReadyzChecks = []healthz.HealthChecker{healthz.PingHealthz}
	for name, check := range cfg.Ready {
		c.ReadyzChecks = append(c.ReadyzChecks, healthz.NamedCheck(name, func(*http.Request) error { return check() }))
	}
	getter := storage.Options{Store: cfg.Store, Codec: codec.Storage()}
	resources, err := custom.New(custom.Config{
		Generic: c, Storage: getter, Reader: cfg.Store, Kinds: cfg.Kinds, Client: s.loopback(), Egress: cfg.Egress, Pods: cfg.Tunnels.DialPod, Idle: cfg.Idle,
		Gate: cfg.Gate, Convert: cfg.Admission.Converter,
	})
	if err != nil {
		return err
	}
	if s.generic, err = c.Complete(nil).New("headway", resources.Delegate); err != nil {
		return fmt.Errorf("assemble the API server: %w", err)
	}
	groups, err := registry.Groups(registry.Options{REST: getter, Reader: cfg.Store, DryRun: cfg.Store.DryRun, Tokens: cfg.AccountTokens, Nodes: s.nodes, Authorizer: s.auth, Now: time.Now, Gate: cfg.Gate})
	if err != nil {
		return err
	}
	groups = append(groups, registry.Reviews(s.auth, tokens, authn.Audiences)...)
	s.metrics = nodemetrics.New(cfg.Store, s.nodes.Get, s.log)
	figures := registry.Group{GroupVersion: nodemetrics.GroupVersion, Storage: nodemetrics.Storage(s.metrics)}
	groups = append(groups, figures)
	if err := s.install(groups, s.auth); err != nil {
		return fmt.Errorf("install the API groups: %w", err)
	}
	s.aggregate.Serves(versionsOf(groups), figures.GroupVersion)
	s.generic.AddPostStartHookOrDie("list-groups-of-custom-resources", func(ctx genericapiserver.PostStartHookContext) error {
		go guard.Do(ctx, "list the groups of custom resources", func() { resources.List(ctx, s.generic.DiscoveryGroupManager, ownGroup(groups)) })
		return nil
	})
	mux := s.generic.Handler.NonGoRestfulMux
	openapi.Install(mux, s.generic.Handler.GoRestfulContainer, s.version.GitVersion, resources, s.aggregate.Documents, s.log)
	aggregation, err := s.aggregate.Metrics()
	if err != nil {
		return err
	}
	metrics, err := metricsHandler(cfg.Store, cfg.Kinds, aggregation)
	if err != nil {
		return fmt.Errorf("set up the metrics: %w", err)
	}
	s.fairness.Install(mux)
	mux.Unregister("/metrics") // the library's, which knows the process only
	mux.Handle("/metrics", metrics)
	documents, err := issuerRoutes(cfg.AccountTokens, c.ExternalAddress)
	if err != nil {
		return err
	}
	for path, handler := range documents {
		mux.Handle(path, handler)
	}
	for path, handler := range cfg.Routes {
		if path != "" && path[len(path)-1] == '/' {
			mux.UnlistedHandlePrefix(path, handler)
		} else {
			mux.UnlistedHandle(path, handler)
		}
	}
	s.generic.PrepareRun()
	s.handler = s.generic.Handler
	return nil
}
