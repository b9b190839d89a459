package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine"
	"headway.dev/engine/event"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
	"headway.dev/nodes/network"
	"headway.dev/proxy"
	"headway.dev/proxy/rules"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// cluster is a server and an agent in one process.
type cluster struct {
	cfg      *upConfig
	engine   *engine.Engine
	syncer   *syncer.Syncer
	network  *network.Network
	listener net.Listener
	progress *progress
	// looked is closed once the API has what the agent saw of the node's pods.
	looked chan struct{}
}

// openCluster checks and opens what must be there before anything starts, in
// the order of what is cheapest to refuse.
func openCluster(ctx context.Context, cfg *upConfig) (_ *cluster, err error) {
	source, err := openSource(cfg)
	if err != nil {
		return nil, err
	}
	c := &cluster{cfg: cfg, looked: make(chan struct{})}
	if c.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.listen); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	defer func() {
		if err != nil {
			c.listener.Close()
		}
	}()
	port := c.listener.Addr().(*net.TCPAddr).AddrPort().Port()
	c.engine, err = engine.Open(engine.Config{
		DataDir:       cfg.dataDir,
		NewStore:      cfg.newStore,
		Listener:      c.listener,
		Address:       netip.AddrPortFrom(cfg.nodeIP, port),
		ClusterCIDR:   cfg.clusterCIDR,
		ServiceCIDR:   cfg.serviceCIDR,
		Controllers:   cfg.controllers,
		NodeGrace:     cfg.nodeGrace,
		TokenAuthFile: cfg.tokenAuthFile,
		Names:         cfg.names,
		PodSecurity:   cfg.podSecurity,
		Log:           cfg.log,

		DefaultServiceAccount: cfg.defaultServiceAccount,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.engine.Close())
		}
	}()
	if err := source.declare(ctx, c.engine.Store()); err != nil {
		return nil, err
	}
	c.syncer = syncer.New(syncer.Config{
		Store:    c.engine.Store(),
		DataDir:  cfg.dataDir,
		Log:      cfg.log.With("part", "syncer"),
		Local:    source.local(),
		Events:   syncEvents{c.engine.Events()},
		Simulate: simulate(c.engine.Store()),
		Logs:     c.logs,
		Foresee:  c.engine.Security().Foresee,
		Access:   access{c.engine.Roles()},

		DefaultServiceAccount: cfg.defaultServiceAccount,
		JournalEntries:        cfg.journalEntries,
		GitLimits:             cfg.gitLimits,
		Settle:                cmp.Or(cfg.settle, -1),
		SigningKey:            cfg.signingKey,
		NoCrossNamespaceRefs:  cfg.noCrossNamespaceRefs,

		Progress: func(e wire.Event) { c.progress.sync(e, c.engine.Store()) },
	})
	if err := c.engine.Prepare(map[string]http.Handler{"/headway/v1/": withUser(c.syncer.Handler())}, c.syncer); err != nil {
		return nil, err
	}
	if c.network, err = newNetwork(cfg); err != nil {
		return nil, err
	}
	return c, c.engine.WriteKubeconfig(cfg.kubeconfigPath())
}

// syncEvents hands the syncer's events to the engine's recorder, under the
// names of the Flux controllers that write them elsewhere.
type syncEvents struct{ recorder *event.Recorder }

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

// run runs all parts until ctx ends or one of them fails.
//
// The order of the end: everything is cancelled together. The agent stops
// watching its pods and leaves them running; the proxy leaves its rules, so
// that Services go on working; the store closes last, within the engine.
func (c *cluster) run(ctx context.Context) error {
	held, err := heldDataDir(c.cfg.dataDir)
	if err != nil {
		return err
	}
	return runParts(ctx,
		part{name: "engine", run: c.engine.Run},
		part{name: "syncer", run: c.syncer.Run},
		part{name: "agent", run: c.runNode},
		part{name: "service proxy", run: c.runProxy, again: true},
		part{name: "progress of pods", run: func(ctx context.Context) error { return c.progress.pods(ctx, c.engine.Store()) }, again: true},
		part{name: "watch over the data dir", run: func(ctx context.Context) error { return held.keep(ctx, dataDirPeriod) }, again: true},
		part{name: "what gives memory back", run: trim, again: true},
		part{name: "progress", run: func(ctx context.Context) error { return c.progress.ready(ctx, c) }, again: true},
	)
}

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

func (c *cluster) runProxy(ctx context.Context) error {
	client, err := newClient(c.engine.Client("system:node:"+c.cfg.nodeName, "system:nodes"))
	if err != nil {
		return err
	}
	p, err := proxy.New(proxy.Config{
		Client: client,
		Rules:  rules.Config{NodeName: c.cfg.nodeName, ClusterCIDR: c.cfg.clusterCIDR, ServiceCIDR: c.cfg.serviceCIDR},
		Log:    c.cfg.log.With("part", "proxy"),
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
