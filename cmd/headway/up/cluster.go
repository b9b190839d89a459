package up

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/cmd/headway/up/datadir"
	"headway.dev/cmd/headway/up/memory"
	"headway.dev/cmd/headway/up/progress"
	"headway.dev/engine"
	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/event"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/nodes/network"
	"headway.dev/proxy"
	"headway.dev/proxy/service"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// Cluster is a server and an agent in one process.
type Cluster struct {
	cfg      *Config
	Engine   *engine.Engine
	Syncer   *syncer.Syncer
	network  *network.Network
	Listener net.Listener
	progress *progress.Progress
	// Looked is closed once the API knows what the agent found of the node's
	// pods.
	Looked chan struct{}
}

// Open checks and opens what must exist before anything starts, beginning with
// what is cheapest to refuse.
func Open(ctx context.Context, cfg *Config, start time.Time) (_ *Cluster, err error) {
	source, err := openSource(cfg)
	if err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, Looked: make(chan struct{}), progress: cfg.progress(start)}
	c.progress.Hold()
	if c.Listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	defer func() {
		if err != nil {
			c.Listener.Close()
		}
	}()
	auditLog, err := cfg.Audit.Open()
	if err != nil {
		return nil, err
	}
	methods, err := cfg.Authentication.Open(cfg.Log.With("part", "api"))
	if err != nil {
		return nil, err
	}
	authorization, err := cfg.Authorization.Open()
	if err != nil {
		return nil, err
	}
	port := c.Listener.Addr().(*net.TCPAddr).AddrPort().Port()
	c.Engine, err = engine.Open(engine.Config{
		DataDir:        cfg.DataDir,
		NewStore:       cfg.NewStore,
		Egress:         cfg.gitLimits.Egress,
		Listener:       c.Listener,
		Address:        netip.AddrPortFrom(cfg.NodeIP, port),
		ClusterCIDR:    cfg.ClusterCIDR,
		ServiceCIDR:    cfg.ServiceCIDR,
		Controllers:    cfg.Controllers,
		NodeGrace:      cfg.NodeGrace,
		TokenAuthFile:  cfg.TokenAuthFile,
		Names:          cfg.names,
		PodSecurity:    cfg.PodSecurity,
		Tolerations:    plugins.Tolerations{NotReady: &cfg.NotReadySeconds, Unreachable: &cfg.UnreachableSeconds},
		Scheduler:      cfg.scheduler,
		Audit:          auditLog,
		Authentication: methods,
		Authorization:  authorization,
		Log:            cfg.Log,

		DefaultServiceAccount:    cfg.DefaultServiceAccount,
		EncryptionProviderConfig: cfg.EncryptionProviderConfig,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Engine.Close())
		}
	}()
	if err := source.declare(ctx, c.Engine.Store()); err != nil {
		return nil, err
	}
	writer := c.Engine.Writer(change.User{Name: systemUser, Groups: []string{superusers}})
	c.Syncer = syncer.New(syncer.Config{
		Kinds:      c.Engine.Kinds(),
		Convert:    c.Engine.Converter(),
		Store:      writer,
		DataDir:    cfg.DataDir,
		Log:        cfg.Log.With("part", "syncer"),
		Local:      source.repositories(),
		Events:     syncEvents{c.Engine.Events()},
		Simulate:   simulate(c.Engine.Store(), cfg.scheduler.Profiles),
		Place:      place(c.Engine.Store(), cfg.scheduler.Profiles),
		Schedulers: cfg.scheduler.Profiles.Names(),
		Logs:       c.logs,
		Foresee:    foreseen(writer),
		Access:     access{c.Engine.Roles(), c.Engine.Authorizer()},

		DefaultServiceAccount: cfg.DefaultServiceAccount,
		JournalEntries:        cfg.JournalEntries,
		GitLimits:             cfg.gitLimits,
		Settle:                cmp.Or(cfg.Settle, -1),
		SigningKey:            cfg.signingKey,
		NoCrossNamespaceRefs:  cfg.NoCrossNamespaceRefs,

		Progress: func(e wire.Event) { c.progress.Sync(e, c.Engine.Store()) },
	})
	if err := c.Engine.Prepare(map[string]http.Handler{"/headway/v1/": withUser(c.Syncer.Handler())}, c.Syncer); err != nil {
		return nil, err
	}
	if c.network, err = newNetwork(cfg); err != nil {
		return nil, err
	}
	return c, c.Engine.WriteKubeconfig(cfg.KubeconfigPath())
}

// syncEvents hands the syncer's events to the engine's recorder, under the
// names of the Flux controllers that write them elsewhere.
type syncEvents struct{ recorder *event.Recorder }

// Event implements env.Events.
func (e syncEvents) Event(obj object.Object, typ, reason, message string) {
	source := "kustomize-controller"
	if _, ok := obj.(*sourcev1.GitRepository); ok {
		source = "source-controller"
	}
	if typ == corev1.EventTypeWarning {
		e.recorder.Warning(source, obj, reason, "%s", message)
		return
	}
	e.recorder.Normal(source, obj, reason, "%s", message)
}

// serverParts are the parts that need no node.
func (c *Cluster) serverParts() []part {
	return []part{
		{name: "engine", run: c.Engine.Run},
		{name: "syncer", run: c.Syncer.Run},
		{name: "progress of pods", run: func(ctx context.Context) error { return c.progress.Pods(ctx, c.Engine.Store()) }, again: true},
		{name: "progress", run: func(ctx context.Context) error { return c.progress.Ready(ctx, c.Running()) }, again: true},
	}
}

// RunServer runs the components that need no node, until ctx ends or one of
// them fails.
func (c *Cluster) RunServer(ctx context.Context) error { return runParts(ctx, c.serverParts()...) }

// run runs all parts until ctx ends or one of them fails.
//
// The order of the end: everything is cancelled together. The agent stops
// watching its pods and leaves them running; the proxy leaves its rules, so
// that Services go on working; the store closes last, within the engine.
func (c *Cluster) run(ctx context.Context) error {
	held, err := datadir.Hold(c.cfg.DataDir)
	if err != nil {
		return err
	}
	return runParts(ctx, append(c.serverParts(),
		part{name: "agent", run: c.runNode},
		part{name: "service proxy", run: c.runProxy, again: true},
		part{name: "watch over the data dir", run: func(ctx context.Context) error { return held.Keep(ctx, lookPeriod) }, again: true},
		part{name: "what gives memory back", run: memory.Trim, again: true},
	)...)
}

// Running is the cluster as progress sees it.
func (c *Cluster) Running() progress.Cluster {
	return progress.Cluster{Answers: c.Engine.Ready(), Address: c.Listener.Addr(), Store: c.Engine.Store(), Looked: c.Looked, Status: c.Syncer.Status}
}

// lookPeriod is how often it is looked whether the data dir is there.
const lookPeriod = 2 * time.Second

// part is one of those that run as long as the cluster.
type part struct {
	name string
	run  func(context.Context) error
	// again says that it can begin anew after a panic. The others guard what
	// they start, and can only panic while they start it: that ends all parts
	// in order, and is the error.
	again bool
}

func (p part) keep(ctx context.Context) error {
	if p.again {
		return guard.Loop(ctx, p.name, p.run)
	}
	return p.run(ctx)
}

// runParts runs parts until ctx ends or one of them fails.
func runParts(ctx context.Context, parts ...part) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		group.Go(func() error {
			return guard.Call(ctx, p.name, func() error { return p.keep(ctx) })
		})
	}
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (c *Cluster) runProxy(ctx context.Context) error {
	client, err := newClient(c.Engine.Client("system:node:"+c.cfg.NodeName, "system:nodes"))
	if err != nil {
		return err
	}
	p, err := proxy.New(proxy.Config{
		Client: client,
		Services: service.Config{
			NodeName: c.cfg.NodeName, ClusterCIDRs: []netip.Prefix{c.cfg.ClusterCIDR}, ServiceCIDRs: []netip.Prefix{c.cfg.ServiceCIDR},
		},
		Mode: c.cfg.proxyMode,
		Log:  c.cfg.Log.With("part", "proxy"),
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// newClient is a client without a rate limit: it shares the server's process.
func newClient(config *rest.Config) (kubernetes.Interface, error) {
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the API: %w", err)
	}
	return client, nil
}

// Run runs the cluster until ctx ends.
func Run(ctx context.Context, cfg *Config) error {
	start := time.Now()
	if err := datadir.CheckNew(cfg.DataDir); err != nil {
		return err
	}
	unlock, err := datadir.Lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := claimNetwork(cfg); err != nil {
		return err
	}
	cluster, err := Open(ctx, cfg, start)
	if err != nil {
		return err
	}
	if err := cluster.run(ctx); err != nil {
		return err
	}
	cluster.progress.Line("stopped; containers keep running, and the next start adopts them")
	return nil
}
