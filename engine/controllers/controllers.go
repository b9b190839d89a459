package controllers

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/aggregation"
	"headway.dev/engine/controllers/bootstrap"
	"headway.dev/engine/controllers/bootstraptoken"
	"headway.dev/engine/controllers/certificates"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/cronjob"
	"headway.dev/engine/controllers/daemonset"
	"headway.dev/engine/controllers/deployment"
	"headway.dev/engine/controllers/disruption"
	"headway.dev/engine/controllers/endpoints"
	"headway.dev/engine/controllers/eventttl"
	"headway.dev/engine/controllers/gateway"
	"headway.dev/engine/controllers/gc"
	"headway.dev/engine/controllers/ingress"
	"headway.dev/engine/controllers/job"
	"headway.dev/engine/controllers/loadbalancer"
	"headway.dev/engine/controllers/migration"
	"headway.dev/engine/controllers/namespace"
	"headway.dev/engine/controllers/node"
	"headway.dev/engine/controllers/podautoscaler"
	"headway.dev/engine/controllers/policystatus"
	"headway.dev/engine/controllers/replicaset"
	"headway.dev/engine/controllers/resourcequota"
	"headway.dev/engine/controllers/rootca"
	"headway.dev/engine/controllers/serviceaccount"
	"headway.dev/engine/controllers/statefulset"
	"headway.dev/engine/controllers/volume"
	"headway.dev/engine/event"
	"headway.dev/engine/pki"
	"headway.dev/engine/satoken"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/scheme"
)

// Config of New.
type Config struct {
	Store control.Store
	// As returns the store for a user, by whose name admission judges what
	// controllers write; nil: Store is for all.
	As func(user change.User) control.Store
	// Kinds are the kinds of the store (default: Headway's own).
	Kinds *scheme.Registry
	// Convert asks the webhooks that convert custom resources; nil asks none.
	Convert custom.Converter
	// Now defaults to time.Now.
	Now func() time.Time
	Log *slog.Logger
	// Events defaults to a recorder of its own; one that is passed in is run by
	// the caller.
	Events *event.Recorder
	// Enabled selects the controllers that run, as kube-controller-manager's
	// --controllers does: "*" all, "name" that one, "-name" all but that one.
	// Empty is all.
	Enabled []string
	// ClusterCIDR is where nodes get their pod ranges from.
	ClusterCIDR netip.Prefix
	// ClusterCIDR6 is the same for IPv6; zero: they get none.
	ClusterCIDR6 netip.Prefix
	// ServiceIP is the cluster IP of the Service default/kubernetes: the first
	// address of the service CIDR.
	ServiceIP netip.Addr
	// Join is what machines that join are told.
	Join bootstrap.Join
	// APIServer is where pods reach the API.
	APIServer netip.AddrPort
	// RootCA are the certificates, in PEM, by which pods verify the API. Empty:
	// namespaces get no ConfigMap with them.
	RootCA []byte
	// FrontProxyCA are the certificates by which servers of aggregated APIs verify the
	// API server. Empty: they are not told of them.
	FrontProxyCA []byte
	// Tokens signs the tokens of service accounts that Secrets hold.
	Tokens *satoken.Issuer
	// Authority signs certificates that were requested and approved, and Review
	// says whether a node's requests are approved by themselves.
	Authority *pki.Set
	Review    certificates.Review
	// CheckTypes returns what is wrong about the expressions of an admission policy by
	// the schemas of what it matches; nil: the statuses of policies stay empty.
	CheckTypes policystatus.Check
	// NodeGrace is for how long a node may be silent (default 50 s).
	NodeGrace time.Duration
	// NodeGone is for how long a node has to be missing before its pods are
	// removed (default 40 s).
	NodeGone time.Duration
	// TerminatedPods is how many ended pods are kept (default 12500).
	TerminatedPods int
	// Metrics is where autoscalers get figures from; nil: none runs. They look at them as
	// often as AutoscalerSync says (default 15 s).
	Metrics        podautoscaler.Metrics
	AutoscalerSync time.Duration
	// QuotaSync is how often what quotas say is calculated anew (default 5 min).
	QuotaSync time.Duration
	// EventTTL is for how long Events are kept (default 1 h).
	EventTTL time.Duration
}

// Controllers runs the controllers.
type Controllers struct {
	env       control.Env
	ownEvents bool
	run       []control.Controller
}

// New returns the controllers. It fails if Enabled names one that does not
// exist.
func New(cfg Config) (*Controllers, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Controllers{ownEvents: cfg.Events == nil}
	if c.ownEvents {
		cfg.Events = event.NewRecorder(cfg.Store, cfg.Now, cfg.Log)
	}
	if cfg.Kinds == nil {
		cfg.Kinds = &scheme.Registry{}
	}
	c.env = control.Env{Store: cfg.Store, Kinds: cfg.Kinds, Feed: control.NewFeed(cfg.Store, cfg.Kinds, cfg.Log), Events: cfg.Events, Now: cfg.Now, Log: cfg.Log}
	pulse := node.NewPulse(cfg.NodeGrace)
	// as is what a controller works with, which writes as the ServiceAccount that
	// it has in Kubernetes; some share one.
	as := func(account string) control.Env {
		return c.env.As(cfg.As, change.Account(metav1.NamespaceSystem, account))
	}
	manager := c.env.As(cfg.As, change.User{Name: "system:kube-controller-manager", Groups: []string{"system:authenticated"}})
	serves := func(string) bool { return false }
	if cfg.Authority != nil {
		serves = cfg.Authority.Serves
	}
	all := []control.Controller{
		bootstrap.New(manager, bootstrap.Options{
			APIServer: cfg.APIServer, ServiceIP: cfg.ServiceIP,
			ClientCA: cfg.RootCA, FrontProxyCA: cfg.FrontProxyCA, FrontProxyNames: []string{pki.FrontProxyName}, Join: cfg.Join,
		}),
		serviceaccount.New(as("service-account-controller")),
		serviceaccount.NewTokens(manager, cfg.Tokens, cfg.RootCA),
		rootca.New(as("root-ca-cert-publisher"), cfg.RootCA),
		bootstraptoken.NewCleaner(as("token-cleaner")),
		bootstraptoken.NewSigner(as("bootstrap-signer")),
		deployment.New(as("deployment-controller")),
		daemonset.New(as("daemon-set-controller")),
		statefulset.New(as("statefulset-controller")),
		replicaset.New(as("replicaset-controller")),
		replicaset.NewReplication(as("replication-controller")),
		disruption.New(as("disruption-controller")),
		job.New(as("job-controller")),
		cronjob.New(as("cronjob-controller")),
		job.NewTTL(as("ttl-after-finished-controller")),
		volume.New(as("persistent-volume-binder")),
		volume.NewEphemeral(as("ephemeral-volume-controller")),
		volume.NewClaimProtection(as("pvc-protection-controller")),
		volume.NewVolumeProtection(as("pv-protection-controller")),
		resourcequota.New(as("resourcequota-controller"), cfg.QuotaSync),
		endpoints.New(as("endpointslice-controller")),
		endpoints.NewMirror(as("endpointslicemirroring-controller")),
		loadbalancer.New(as("service-controller"), cfg.APIServer, map[string]netip.Prefix{"pods": cfg.ClusterCIDR, "Services": cfg.Join.Nodes.ServiceCIDR}),
		gc.New(as("generic-garbage-collector")),
		namespace.New(as("namespace-controller")),
		node.NewLifecycle(as("node-controller"), pulse),
		node.NewEviction(as("node-controller"), pulse),
		node.NewIPAM(as("node-controller"), cfg.ClusterCIDR, cfg.ClusterCIDR6),
		node.NewPodGC(as("pod-garbage-collector"), pulse, cfg.TerminatedPods, cfg.NodeGone),
		// Nobody is asked whether an event may expire.
		eventttl.New(c.env, cfg.EventTTL),
		aggregation.New(as("clusterrole-aggregation-controller")),
		certificates.NewApprover(as("certificate-controller"), cfg.Review, serves),
		certificates.NewSigner(as("certificate-controller"), cfg.Authority),
		certificates.NewCleaner(as("certificate-controller")),
		migration.New(as("storage-version-migrator-controller"), cfg.Convert),
		ingress.New(manager),
		gateway.New(manager, cfg.APIServer),
		policystatus.New(as("validatingadmissionpolicy-status-controller"), cfg.CheckTypes),
	}
	if cfg.Metrics != nil {
		all = append(all, podautoscaler.New(as("horizontal-pod-autoscaler"), cfg.Metrics, cfg.AutoscalerSync))
	}
	names := make([]string, len(all))
	for i, ctl := range all {
		names[i] = ctl.Name
	}
	enabled, err := selected(names, cfg.Enabled)
	if err != nil {
		return nil, err
	}
	for _, ctl := range all {
		if enabled[ctl.Name] {
			c.run = append(c.run, ctl)
		}
	}
	if !enabled[loadbalancer.Name] { // what it has given would otherwise keep Services for ever
		c.run = append(c.run, loadbalancer.NewRelease(as("service-controller")))
	}
	return c, nil
}

// Run runs the controllers until ctx ends, and returns when all have ended.
func (c *Controllers) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if c.ownEvents {
		group.Go(func() error { return guard.Loop(ctx, "write events", c.env.Events.Run) })
	}
	group.Go(func() error {
		return guard.Call(ctx, "run controllers", func() error { return control.Run(ctx, c.env, c.run) })
	})
	return group.Wait()
}

// aliases are the older names of controllers that are not made of their names.
var aliases = map[string]string{
	"csrapproving": "certificatesigningrequest-approving-controller",
	"csrsigning":   "certificatesigningrequest-signing-controller",
	"csrcleaner":   "certificatesigningrequest-cleaner-controller",
}

// selected resolves the syntax of --controllers. The short names of older
// versions of Kubernetes ("deployment" for "deployment-controller") are known
// too.
func selected(names, flags []string) (map[string]bool, error) {
	resolve := func(name string) (string, bool) {
		name = cmp.Or(aliases[name], name)
		for _, n := range names {
			if short := strings.TrimSuffix(n, "-controller"); name == n || name == short || name == strings.ReplaceAll(short, "-", "") {
				return n, true
			}
		}
		return "", false
	}
	enabled := map[string]bool{}
	every := len(flags) == 0 || slices.Contains(flags, "*")
	for _, n := range names {
		enabled[n] = every
	}
	for _, f := range flags {
		if f == "*" {
			continue
		}
		name, off := strings.CutPrefix(f, "-")
		n, ok := resolve(name)
		if !ok {
			return nil, fmt.Errorf("%q is not in the list of known controllers: %s", name, strings.Join(names, ", "))
		}
		enabled[n] = !off
	}
	return enabled, nil
}
