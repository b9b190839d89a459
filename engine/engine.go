// Package engine is the server's half of Headway: the store, the API over it,
// the controllers and the scheduler, which all work on that store.
//
//	Open ──▶ store ◀── api ◀── clients, agents
//	           ▲
//	           ├── controllers
//	           └── scheduler
//
// Open reads the store, so that whoever else works on it (the syncer) can be
// made before anything runs; Run owns every goroutine and returns when all of
// them have ended.
package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"headway.dev/engine/admission"
	"headway.dev/engine/admission/configured"
	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/admit"
	"headway.dev/engine/api"
	"headway.dev/engine/api/audit"
	"headway.dev/engine/api/authn"
	"headway.dev/engine/api/authz"
	"headway.dev/engine/api/openapi"
	"headway.dev/engine/api/registry"
	"headway.dev/engine/api/tokenfile"
	"headway.dev/engine/api/tunnel"
	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/bootstrap"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/podautoscaler"
	"headway.dev/engine/encryption"
	"headway.dev/engine/event"
	"headway.dev/engine/pki"
	"headway.dev/engine/policy"
	"headway.dev/engine/rbac"
	"headway.dev/engine/satoken"
	"headway.dev/engine/scheduler"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/egress"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/nodeconfig"
	"headway.dev/manifests/nodepolicy"
)

// StoreFile is the store's file in the data dir.
const StoreFile = "store.db"

// storeReserve is how much of the disk is kept for the store: half of it is for
// deletions and statuses alone.
const storeReserve = 32 << 20

// Config of an engine.
type Config struct {
	// DataDir holds the store and the certificates.
	DataDir string
	// NewStore allows the store to be missing.
	NewStore bool
	// Listener is where the API answers. The engine closes it.
	Listener net.Listener
	// Names are further host names and addresses that the API's certificate is
	// valid for.
	Names []string
	// Address is where agents and pods reach the API.
	Address netip.AddrPort
	// ClusterCIDR and ServiceCIDR are the ranges of pods and Services.
	ClusterCIDR, ServiceCIDR netip.Prefix
	// ClusterCIDR6 and ServiceCIDR6 are those of IPv6: zero in a cluster of IPv4 alone.
	ClusterCIDR6, ServiceCIDR6 netip.Prefix
	// ClusterDomain is the domain of the names of Services and pods, which nodes serve.
	ClusterDomain string
	// Example says that the cluster runs the example repository.
	Example bool
	// Version is that of this program, as agents are told; empty: they are not.
	Version string
	// Controllers selects controllers as kube-controller-manager's flag does.
	Controllers []string
	// NodeGrace is for how long a node may be silent; 0 is the default.
	NodeGrace time.Duration
	// PodSecurity is the level that pods are held to in namespaces whose labels
	// say nothing: privileged (also if empty), baseline or restricted.
	PodSecurity string
	// Tolerations is how long pods which say nothing about it stay on nodes that have
	// gone bad.
	Tolerations plugins.Tolerations
	// DefaultServiceAccount is the account that Kustomizations which name none act
	// as; empty is the cluster itself. Where one acts as an account, pods are held
	// to baseline at least.
	DefaultServiceAccount string
	// EncryptionProviderConfig is a file with Kubernetes' EncryptionConfiguration.
	// Empty: Secrets are encrypted with a key of their own, in DataDir.
	EncryptionProviderConfig string
	// Scheduler says how pods are scheduled.
	Scheduler profile.Configuration
	// Audit is where the API's requests are logged; nil for nowhere.
	Audit *audit.Log
	// Egress says which addresses webhooks and servers of aggregated APIs must not have;
	// nil denies none.
	Egress *egress.Policy
	// TokenAuthFile holds users' bearer tokens. Empty: there are none.
	TokenAuthFile string
	// Authentication are further ways to tell users by; nil: none.
	Authentication *authn.Methods
	// Authorization says who decides about requests; nil: nodes' rights and roles.
	Authorization *authz.Configuration
	Log           *slog.Logger
}

// Engine is an opened server.
type Engine struct {
	cfg       Config
	checks    *admit.Admission
	admission *admission.Chain
	store     *store.Store
	cipher    *encryption.Cipher
	rotating  sync.Mutex
	roles     rbac.Index
	kinds     scheme.Registry
	graph     authz.Graph
	policies  policy.Index
	auth      *authz.Authorizer
	hooks     configured.Configurations
	converter *configured.Converter
	events    *event.Recorder
	pki       *pki.Set
	names     []string // that the API's certificate is for
	proxy     *pki.Set
	tokens    authn.Tokens
	accounts  *satoken.Issuer
	server    *api.Server
	tunnels   *tunnel.Tunnels
}

// Gate reviews users' writes through the API before they are stored.
type Gate = registry.Gate

// Open opens the store and prepares certificates. Close it if it is not run.
func Open(cfg Config) (*Engine, error) {
	e := &Engine{cfg: cfg}
	if err := ensureStore(cfg.DataDir, cfg.NewStore); err != nil {
		return nil, err
	}
	if cfg.TokenAuthFile != "" {
		tokens, err := tokenfile.Open(cfg.TokenAuthFile, cfg.Log.With("part", "api"))
		if err != nil {
			return nil, err
		}
		e.tokens = tokens
	}
	var err error
	names := append([]string{
		cfg.Address.Addr().String(), e.host(), "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		cfg.ServiceCIDR.Masked().Addr().Next().String(),
	}, cfg.Names...)
	if e.pki, err = pki.Ensure(filepath.Join(cfg.DataDir, "pki"), names); err == nil {
		e.names, err = e.pki.Names()
	}
	if err != nil {
		return nil, err
	}
	if e.proxy, err = pki.EnsureFrontProxy(filepath.Join(cfg.DataDir, "pki")); err != nil {
		return nil, err
	}
	e.checks, err = admit.New(admit.Config{ServiceCIDR: cfg.ServiceCIDR, ServiceCIDR6: cfg.ServiceCIDR6, RootCA: e.pki.CACert, Kinds: &e.kinds})
	if err != nil {
		return nil, err
	}
	if e.cipher, err = encryption.Open(encryptionConfig(cfg.DataDir, cfg.EncryptionProviderConfig, &e.kinds)); err != nil {
		return nil, err
	}
	e.roles.Kinds = &e.kinds
	e.store, err = store.Open(store.Options{
		Path:  filepath.Join(cfg.DataDir, StoreFile),
		Admit: e.checks.Hooks(),
		Along: e.checks.Along,
		Define: func(events []object.Event) {
			guard.Do(context.Background(), "learn of the definitions", func() { e.kinds.Observe(events) })
		},
		Observe: func(events []object.Event) {
			for _, observe := range []func([]object.Event){e.kinds.Observe, e.checks.Observe, e.roles.Observe, e.graph.Observe, e.hooks.Observe, e.policies.Observe} {
				// The panic of one does not keep the others from the events.
				guard.Do(context.Background(), "observe the store", func() { observe(events) })
			}
		},
		Codec:   record.Any,
		Reserve: storeReserve,
		Cipher:  e.cipher,
		Log:     cfg.Log.With("part", "store"),
	})
	if err != nil {
		e.cipher.Close()
		return nil, err
	}
	if err := encryptStore(e.store, e.cipher, cfg.Log.With("part", "store")); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if err := checkRanges(e.store, nodeconfig.Config{ClusterCIDR: cfg.ClusterCIDR, ServiceCIDR: cfg.ServiceCIDR, ClusterCIDR6: cfg.ClusterCIDR6, ServiceCIDR6: cfg.ServiceCIDR6}); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.auth, err = authz.New(authz.Config{
		Reader: e.store, Graph: &e.graph, Roles: &e.roles, Configuration: cfg.Authorization, Log: cfg.Log.With("part", "api"),
	})
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if cfg.Authorization.AllowsAll() && cfg.Authentication == nil {
		cfg.Authentication = &authn.Methods{}
	}
	if cfg.Authorization.AllowsAll() && cfg.Authentication != nil && cfg.Authentication.Anonymous() {
		cfg.Log.Warn("Nobody is anonymous, because everybody may do everything (--authorization-mode=AlwaysAllow)")
		cfg.Authentication.ForbidAnonymous()
	}
	if e.tunnels, err = tunnel.New(e.store, cfg.Log.With("part", "api")); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if e.converter, err = configured.NewConverter(e.store, cfg.Egress, e.tunnels.DialPod); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	plugged, err := plugins.New(plugins.Config{
		Stored: e.store, Kinds: &e.kinds, PodSecurity: plugins.Levels{Enforce: cfg.PodSecurity, Account: cfg.DefaultServiceAccount}, Tolerations: cfg.Tolerations, Log: cfg.Log.With("part", "admission"),
		Configured: configured.New(configured.Config{Stored: e.store, Kinds: &e.kinds, Converter: e.converter, Configurations: &e.hooks, Authorizer: e.auth, Types: openapi.TypeConverter(), Egress: cfg.Egress, Pods: e.tunnels.DialPod}),
	})
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.admission = admission.NewChain(plugged...)
	e.admission.Kinds, e.admission.Converter = &e.kinds, e.converter
	e.events = event.NewRecorder(e.store, time.Now, cfg.Log.With("part", "events"))
	e.tunnels.Twins = func(node *corev1.Node, one, other string) {
		e.events.Warning("headway-server", node, "TwoAgents", "Two agents, at %s and %s, have the identity of this node and take its tunnel from each other: end the one whose data directory is a copy", one, other)
	}
	return e, nil
}

// Writer is the store for who writes inside the process as user: what they write
// is admitted as requests are.
func (e *Engine) Writer(user change.User) *admission.Writer {
	return admission.NewWriter(e.store, e.admission, e.checks.Along, user)
}

// Store is the opened store.
func (e *Engine) Store() *store.Store { return e.store }

// Kinds are Headway's own, and those that the stored definitions define.
func (e *Engine) Kinds() *scheme.Registry { return &e.kinds }

// Converter converts custom resources by webhooks.
func (e *Engine) Converter() custom.Converter { return e.converter }

// Roles decides who may do what according to roles and their bindings.
func (e *Engine) Roles() *rbac.Index { return &e.roles }

// Authorizer decides who may do what, by roles or by whom the flags name.
func (e *Engine) Authorizer() *authz.Authorizer { return e.auth }

// Events records events about objects, while the engine runs.
func (e *Engine) Events() *event.Recorder { return e.events }

// PKI is the cluster's certificate authority.
func (e *Engine) PKI() *pki.Set { return e.pki }

// Close closes the store of an engine that does not run.
func (e *Engine) Close() error {
	defer e.cipher.Close()
	return e.store.Close()
}

// Prepare creates the API server, with routes as further paths of it, which
// ClusterRoles grant as nonResourceURLs. gate is asked about users' writes; it
// may be nil.
func (e *Engine) Prepare(routes map[string]http.Handler, gate Gate) error {
	own, err := tls.X509KeyPair(e.pki.ServerCert, e.pki.ServerKey)
	if err != nil {
		return fmt.Errorf("certificate of the API server: %w", err)
	}
	serving, err := pki.NewRenewing(&own, time.Now, func() ([]byte, []byte, error) {
		return e.pki.Server(own.Leaf.Subject.CommonName, e.names...)
	})
	if err != nil {
		return fmt.Errorf("certificate of the API server: %w", err)
	}
	client, err := clientCertificate(e.pki, "kube-apiserver-kubelet-client", rbac.NodeClients)
	if err != nil {
		return fmt.Errorf("certificate of the API server towards nodes: %w", err)
	}
	proxy, err := clientCertificate(e.proxy, pki.FrontProxyName)
	if err != nil {
		return fmt.Errorf("certificate of the API server towards aggregated APIs: %w", err)
	}
	accountKey, err := pki.AccountKey(filepath.Join(e.cfg.DataDir, "pki"))
	if err != nil {
		return err
	}
	if e.accounts, err = satoken.New(accountKey, e.store, time.Now); err != nil {
		return err
	}
	routes = maps.Clone(routes)
	if routes == nil {
		routes = map[string]http.Handler{}
	}
	routes[RotatePath] = http.HandlerFunc(e.serveRotation)
	routes[nodepolicy.Prefix] = servePolicies(&e.policies, authz.IsNode)
	e.server, err = api.New(api.Config{
		Store:      e.store,
		Listener:   e.cfg.Listener,
		Address:    e.cfg.Address,
		Serving:    serving.Serve,
		ClientCA:   e.pki.CACert,
		NodeTLS:    &tls.Config{RootCAs: e.pki.Pool(), GetClientCertificate: client.Present, MinVersion: tls.VersionTLS12},
		FrontProxy: proxy.Present,
		Tokens:     e.tokens,
		Routes:     routes,
		Roles:      &e.roles,
		Kinds:      &e.kinds,
		Graph:      &e.graph,
		Authorizer: e.auth,
		Gate:       gate,
		Admission:  e.admission,
		Egress:     e.cfg.Egress,
		Tunnels:    e.tunnels,

		Audit:          e.cfg.Audit,
		Authentication: e.cfg.Authentication,
		AccountTokens:  e.accounts,
		Ready: map[string]func() error{
			"store":         e.store.Err,
			"kms-providers": func() error { return e.cipher.Healthy(context.Background()) },
		},
		Log: e.cfg.Log.With("part", "api"),
	})
	return err
}

// clientCertificate is a certificate for the user cn in the groups orgs.
func clientCertificate(set *pki.Set, cn string, orgs ...string) (*pki.Renewing, error) {
	return pki.NewRenewing(nil, time.Now, func() ([]byte, []byte, error) { return set.Client(cn, orgs...) })
}

// Ready is closed when the API answers.
func (e *Engine) Ready() <-chan struct{} { return e.server.Ready() }

// Client reaches the API without a network, as the given user.
func (e *Engine) Client(user string, groups ...string) *rest.Config {
	return e.server.InProcess(user, groups...)
}

// RequestUser returns the user of a request to one of Prepare's routes.
func RequestUser(r *http.Request) (u rbac.User, ok bool) { return api.RequestUser(r) }

// host is where clients on this machine reach the API.
func (e *Engine) host() string {
	ip := e.cfg.Listener.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return ip.String()
}

// joinURL is where other machines reach the API; empty: they do not.
func (e *Engine) joinURL() string {
	if e.cfg.Listener.Addr().(*net.TCPAddr).IP.IsLoopback() || !e.cfg.Address.IsValid() {
		return ""
	}
	return "https://" + e.cfg.Address.String()
}

// WriteKubeconfig writes the administrator's kubeconfig.
func (e *Engine) WriteKubeconfig(path string) error {
	cert, key, err := e.pki.Client("kubernetes-admin", "system:masters")
	if err != nil {
		return fmt.Errorf("certificate of the administrator: %w", err)
	}
	port := e.cfg.Listener.Addr().(*net.TCPAddr).Port
	server := "https://" + net.JoinHostPort(e.host(), strconv.Itoa(port))
	return pki.WriteKubeconfig(path, server, e.pki.CACert, pki.Credentials{User: "admin", CertPEM: cert, KeyPEM: key})
}

// Run serves the API and runs controllers and scheduler until ctx ends or one
// of them fails, and closes the store.
func (e *Engine) Run(ctx context.Context) error {
	autoscaler := change.Account(metav1.NamespaceSystem, "horizontal-pod-autoscaler")
	metrics, err := podautoscaler.NewMetrics(e.Client(autoscaler.Name, autoscaler.Groups...), &e.kinds)
	if err != nil {
		return errors.Join(err, e.Close())
	}
	manager, err := controllers.New(controllers.Config{
		Metrics:     metrics,
		Store:       e.store,
		Kinds:       &e.kinds,
		Convert:     e.converter,
		As:          func(user change.User) control.Store { return e.Writer(user) },
		Events:      e.events,
		Enabled:     e.cfg.Controllers,
		NodeGrace:   e.cfg.NodeGrace,
		ClusterCIDR: e.cfg.ClusterCIDR, ClusterCIDR6: e.cfg.ClusterCIDR6,
		ServiceIP: e.checks.KubernetesIP(),
		APIServer: e.cfg.Address,
		RootCA:    e.pki.CACert,
		Join:      bootstrap.Join{Server: e.joinURL(), Nodes: nodeconfig.Config{ClusterCIDR: e.cfg.ClusterCIDR, ServiceCIDR: e.cfg.ServiceCIDR, ClusterCIDR6: e.cfg.ClusterCIDR6, ServiceCIDR6: e.cfg.ServiceCIDR6, ClusterDomain: e.cfg.ClusterDomain, Example: e.cfg.Example, Version: e.cfg.Version}},

		FrontProxyCA: e.proxy.CACert,

		Tokens:    e.accounts,
		Authority: e.pki,
		Review:    e.server.Review,
		CheckTypes: func(policy *admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning {
			return configured.CheckTypes(policy, e.store, openapi.NewSchemas(e.store))
		},
		Log: e.cfg.Log.With("part", "controllers"),
	})
	if err != nil {
		return errors.Join(err, e.Close())
	}
	placer := scheduler.New(scheduler.Config{Store: e.Writer(change.User{Name: "system:kube-scheduler", Groups: []string{"system:authenticated"}}), Events: e.events, Configuration: e.cfg.Scheduler, Log: e.cfg.Log.With("part", "scheduler")})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return guard.Call(ctx, "API server", func() error { return e.server.Run(ctx) }) })
	group.Go(func() error { return guard.Call(ctx, "controllers", func() error { return manager.Run(ctx) }) })
	group.Go(func() error { return guard.Loop(ctx, "write events", e.events.Run) })
	group.Go(func() error { return guard.Loop(ctx, "scheduler", placer.Run) })
	err = group.Wait()
	// The store is closed after its last user has ended: what they wrote
	// behind would be lost otherwise.
	return errors.Join(err, e.Close())
}
