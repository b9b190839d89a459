package up

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/cmd/headway/member"
	"headway.dev/cmd/headway/up/progress"
	"headway.dev/engine"
	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/event"
	"headway.dev/engine/pki"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// Cluster is a server and an agent in one process.
type Cluster struct {
	cfg      *Config
	Engine   *engine.Engine
	Syncer   *syncer.Syncer
	node     *member.Member
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
		Address:        netip.AddrPortFrom(c.reached(), port),
		ClusterCIDR:    cfg.ClusterCIDR,
		ServiceCIDR:    cfg.ServiceCIDR,
		ClusterCIDR6:   cfg.ClusterCIDR6,
		ServiceCIDR6:   cfg.ServiceCIDR6,
		ClusterDomain:  cfg.ClusterDomain,
		Example:        cfg.Repo == "",
		Version:        cfg.Version,
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
	if cfg.ServerOnly {
		close(c.Looked) // at nothing: other machines have the pods
	} else if c.node, err = c.member(); err != nil {
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
func (c *Cluster) serverParts() []member.Part {
	return []member.Part{
		{Name: "engine", Run: c.Engine.Run},
		{Name: "syncer", Run: c.Syncer.Run},
		{Name: "progress of pods", Run: func(ctx context.Context) error { return c.progress.Pods(ctx, c.Engine.Store()) }, Again: true},
		{Name: "progress", Run: func(ctx context.Context) error { return c.progress.Ready(ctx, c.Running()) }, Again: true},
	}
}

// RunServer runs the components that need no node, until ctx ends or one of
// them fails.
func (c *Cluster) RunServer(ctx context.Context) error {
	return member.RunParts(ctx, c.serverParts()...)
}

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
	parts := append(c.serverParts(), member.Background(held)...)
	if c.node != nil {
		parts = append(parts, c.node.Parts()...)
	}
	return member.RunParts(ctx, parts...)
}

// Running is the cluster as progress sees it.
func (c *Cluster) Running() progress.Cluster {
	return progress.Cluster{Answers: c.Engine.Ready(), Address: c.address(), Store: c.Engine.Store(), Looked: c.Looked, Status: c.Syncer.Status}
}

// reached is the address at which nodes and pods reach the API: the one at which it
// listens, unless that is all or this machine's loopback.
func (c *Cluster) reached() netip.Addr {
	ip := c.Listener.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if ip.IsUnspecified() || ip.IsLoopback() {
		return c.cfg.Node.IP
	}
	return ip
}

// address is where people reach the API, also if it listens at all addresses.
func (c *Cluster) address() net.Addr {
	at := *c.Listener.Addr().(*net.TCPAddr)
	if at.IP.IsUnspecified() {
		at.IP = c.cfg.Node.IP.AsSlice()
	}
	return &at
}

// member is the cluster's own machine.
func (c *Cluster) member() (*member.Member, error) {
	user := "system:node:" + c.cfg.Node.Name
	serving, err := pki.NewRenewing(nil, time.Now, func() ([]byte, []byte, error) {
		return c.Engine.PKI().Server(user, c.cfg.Node.IP.String(), c.cfg.Node.Name)
	})
	if err != nil {
		return nil, fmt.Errorf("serving certificate of the node: %w", err)
	}
	m := &member.Member{
		Config: c.cfg.Node,
		API:    c.Engine.Client(user, "system:nodes"),
		Streaming: &tls.Config{
			GetCertificate: serving.Serve,
			ClientAuth:     tls.RequireAndVerifyClientCert,
			ClientCAs:      c.Engine.PKI().Pool(),
			MinVersion:     tls.VersionTLS12,
		},
		Warn:   c.progress.Line,
		Looked: func() { close(c.Looked) },
	}
	return m, m.Open()
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
	if !cfg.ServerOnly {
		if err := member.ClaimNetwork(cfg.Node); err != nil {
			return err
		}
	}
	cluster, err := Open(ctx, cfg, start)
	if err != nil {
		return err
	}
	if err := cluster.run(ctx); err != nil {
		return err
	}
	if cfg.ServerOnly {
		cluster.progress.Line("stopped; the nodes keep their pods running, and served")
		return nil
	}
	cluster.progress.Line("stopped; containers keep running, and the next start adopts them")
	return nil
}
