// Package apitest starts a real API server for tests: over TLS on a port of its
// own, on a store in a temporary directory, with certificates and a kubeconfig.
package apitest

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/admission"
	"headway.dev/engine/admission/configured"
	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/admit"
	"headway.dev/engine/api"
	"headway.dev/engine/api/authz"
	"headway.dev/engine/api/openapi"
	"headway.dev/engine/pki"
	"headway.dev/engine/rbac"
	"headway.dev/engine/satoken"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/egress"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Server is a running API server with what is needed to reach it.
type Server struct {
	API   *api.Server
	Store *store.Store
	Kinds *scheme.Registry
	PKI   *pki.Set
	// FrontProxy is the authority of the certificate by which the server hands
	// requests on.
	FrontProxy *pki.Set
	// URL is the server's address; Kubeconfig the path of an administrator's
	// kubeconfig, Config the same for client-go.
	URL, Kubeconfig string
	// StoreFile is the path of the store's file.
	StoreFile string
	Config    *rest.Config
	// Writer writes inside the process, as admission allows it.
	Writer *admission.Writer

	dir  string
	stop func()
}

// Stop ends the server, but not the store. It returns when the server has
// ended, and may be called more than once.
func (s *Server) Stop() { s.stop() }

// Option changes the server's configuration before it starts.
type Option func(*api.Config)

// Start starts a server with the namespaces default and kube-node-lease, which
// ends with the test.
func Start(tb testing.TB, options ...Option) *Server {
	tb.Helper()
	dir := tb.TempDir()
	roles, graph, kinds, hooks := &rbac.Index{}, &authz.Graph{}, &scheme.Registry{}, &configured.Configurations{}
	checks, err := admit.New(admit.Config{ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), Kinds: kinds})
	if err != nil {
		tb.Fatalf("admission: %v", err)
	}
	file := filepath.Join(dir, "state.db")
	st, err := store.Open(store.Options{
		Path: file, Codec: record.Any, Admit: checks.Hooks(), Along: checks.Along, Observe: func(events []object.Event) {
			kinds.Observe(events)
			checks.Observe(events)
			roles.Observe(events)
			graph.Observe(events)
			hooks.Observe(events)
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatalf("open store: %v", err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Errorf("close store: %v", err)
		}
	})
	auth, err := authz.New(authz.Config{Reader: st, Graph: graph, Roles: roles})
	if err != nil {
		tb.Fatalf("authorizer: %v", err)
	}
	denied, err := egress.Parse([]string{"link-local", "metadata"})
	if err != nil {
		tb.Fatal(err)
	}
	converter, err := configured.NewConverter(st, denied, nil)
	if err != nil {
		tb.Fatal(err)
	}
	plugged, err := plugins.New(plugins.Config{
		Stored: st, Kinds: kinds, Log: slog.New(slog.DiscardHandler),
		Configured: configured.New(configured.Config{Stored: st, Kinds: kinds, Converter: converter, Configurations: hooks, Authorizer: auth, Types: openapi.TypeConverter(), Egress: denied}),
	})
	if err != nil {
		tb.Fatalf("admission plugins: %v", err)
	}
	set, err := pki.Ensure(filepath.Join(dir, "pki"), nil)
	if err != nil {
		tb.Fatalf("certificates: %v", err)
	}
	front, err := pki.EnsureFrontProxy(filepath.Join(dir, "pki"))
	if err != nil {
		tb.Fatalf("certificates of the front proxy: %v", err)
	}
	proxy := certificate(tb, front)
	key, err := pki.AccountKey(filepath.Join(dir, "pki"))
	if err != nil {
		tb.Fatalf("key of service accounts: %v", err)
	}
	tokens, err := satoken.New(key, st, time.Now)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen: %v", err)
	}
	chain := admission.NewChain(plugged...)
	chain.Kinds, chain.Converter, roles.Kinds = kinds, converter, kinds
	cfg := api.Config{
		Store: st, Listener: listener,
		ServingCert: set.ServerCert, ServingKey: set.ServerKey, ClientCA: set.CACert,
		Roles: roles, Graph: graph, Kinds: kinds, AccountTokens: tokens, Admission: chain, Egress: denied, FrontProxy: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &proxy, nil },
		Log: slog.New(slog.NewTextHandler(Output(tb), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, option := range options {
		option(&cfg)
	}
	server, err := api.New(cfg)
	if err != nil {
		tb.Fatalf("new API server: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("API server: %v", err)
		}
	})
	tb.Cleanup(stop)
	select {
	case <-server.Ready():
	case err := <-done:
		done <- nil
		tb.Fatalf("API server: %v", err)
	}
	s := &Server{API: server, Store: st, Kinds: kinds, PKI: set, FrontProxy: front, URL: "https://" + address(cfg.Listener), StoreFile: file, dir: dir, stop: stop}
	s.Writer = admission.NewWriter(st, chain, checks.Along, change.Account("kube-system", "test-controller"))
	for _, name := range []string{metav1.NamespaceDefault, corev1.NamespaceNodeLease} {
		s.Namespace(tb, name)
	}
	s.Kubeconfig = s.KubeconfigFor(tb, "kubernetes-admin", "system:masters")
	if s.Config, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig); err != nil {
		tb.Fatalf("read kubeconfig: %v", err)
	}
	s.Config.QPS = -1
	return s
}

// address is where a listener of this machine is reached.
func address(l net.Listener) string {
	at := netip.MustParseAddrPort(l.Addr().String())
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
	}
	return at.String()
}

func certificate(tb testing.TB, set *pki.Set) tls.Certificate {
	tb.Helper()
	cert, key, err := set.Client(pki.FrontProxyName)
	if err != nil {
		tb.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		tb.Fatal(err)
	}
	return pair
}

// Namespace creates a namespace if it does not exist.
func (s *Server) Namespace(tb testing.TB, name string) {
	tb.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := s.Store.Commit(tb.Context(), change.Tx{Changes: []change.Change{change.Create(ns, time.Now())}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		tb.Fatalf("create namespace %s: %v", name, err)
	}
}

// KubeconfigFor writes a kubeconfig with a client certificate for user in
// groups, and returns its path.
func (s *Server) KubeconfigFor(tb testing.TB, user string, groups ...string) string {
	tb.Helper()
	certPEM, keyPEM, err := s.PKI.Client(user, groups...)
	if err != nil {
		tb.Fatalf("certificate for %s: %v", user, err)
	}
	path := filepath.Join(s.dir, strings.ReplaceAll(user, ":", "_")+".kubeconfig")
	if err := pki.WriteKubeconfig(path, s.URL, s.PKI.CACert, pki.Credentials{User: user, CertPEM: certPEM, KeyPEM: keyPEM}); err != nil {
		tb.Fatal(err)
	}
	return path
}

// Kubectl runs the installed kubectl as the administrator and returns what it
// printed. It fails the test if kubectl is not there.
func (s *Server) Kubectl(tb testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	tb.Helper()
	return s.KubectlAs(tb, s.Kubeconfig, stdin, args...)
}

// KubectlAs is Kubectl with another kubeconfig.
func (s *Server) KubectlAs(tb testing.TB, kubeconfig, stdin string, args ...string) (stdout, stderr string, err error) {
	tb.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		tb.Fatalf("these tests need kubectl in the PATH: %v", err)
	}
	cmd := exec.CommandContext(tb.Context(), path, append([]string{"--kubeconfig", kubeconfig, "--cache-dir", filepath.Join(s.dir, "kubectl-cache")}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "KUBECONFIG=")
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}
