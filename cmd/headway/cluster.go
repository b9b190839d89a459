package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	kube "k8s.io/component-base/version"

	"headway.dev/engine"
	"headway.dev/nodes"
	"headway.dev/nodes/network"
	"headway.dev/nodes/runtime"
	"headway.dev/proxy"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// defaultDataDir's cluster keeps what ends with a reboot in /run/headway.
const defaultDataDir = "/var/lib/headway"

// runDir is where sockets and namespaces of a data dir's cluster are. Not in
// the data dir: it must be empty after a reboot, and socket paths must be
// short.
func runDir(dataDir string) string {
	if dataDir == defaultDataDir {
		return "/run/headway"
	}
	sum := sha256.Sum256([]byte(dataDir))
	return "/run/headway-" + hex.EncodeToString(sum[:4])
}

// cluster is a server and an agent in one process.
type cluster struct {
	cfg      *upConfig
	engine   *engine.Engine
	syncer   *syncer.Syncer
	network  *network.Network
	listener net.Listener
	progress *progress
}

// openCluster checks and opens what must be there before anything starts, in
// the order of what is cheapest to refuse.
func openCluster(ctx context.Context, cfg *upConfig) (_ *cluster, err error) {
	source, err := openSource(cfg)
	if err != nil {
		return nil, err
	}
	c := &cluster{cfg: cfg}
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
		DataDir:     cfg.dataDir,
		Listener:    c.listener,
		Address:     netip.AddrPortFrom(cfg.nodeIP, port),
		ClusterCIDR: cfg.clusterCIDR,
		ServiceCIDR: cfg.serviceCIDR,
		Controllers: cfg.controllers,
		Log:         cfg.log,
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
		Progress: func(e wire.Event) { c.progress.sync(e, c.engine.Store()) },
	})
	if err := c.engine.Prepare(map[string]http.Handler{"/headway/v1/": c.syncer.Handler()}); err != nil {
		return nil, err
	}
	c.network, err = network.New(network.Config{
		Bridge:      "headway0",
		ClusterCIDR: cfg.clusterCIDR,
		StateDir:    filepath.Join(cfg.dataDir, "network"),
	}, cfg.log.With("part", "network"))
	if err != nil {
		return nil, err
	}
	return c, c.engine.WriteKubeconfig(cfg.kubeconfigPath())
}

// run runs all parts until ctx ends or one of them fails.
//
// The order of the end: everything is cancelled together. The agent stops
// watching its pods and leaves them running; the proxy leaves its rules, so
// that Services go on working; the store closes last, within the engine.
func (c *cluster) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.engine.Run(ctx) })
	group.Go(func() error { return c.syncer.Run(ctx) })
	group.Go(func() error { return c.runNode(ctx) })
	group.Go(func() error { return c.runProxy(ctx) })
	group.Go(func() error { return c.progress.pods(ctx, c.engine.Store()) })
	c.progress.line("API at https://%s (%s)", c.listener.Addr(), c.progress.elapsed())
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (c *cluster) runNode(ctx context.Context) error {
	machine, err := runtime.Start(ctx, c.runtimeConfig())
	if err != nil {
		return err
	}
	defer machine.Close()
	client, err := newClient(c.engine.Client("system:node:"+c.cfg.nodeName, "system:nodes"))
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(c.cfg.nodeIP.String(), "0"))
	if err != nil {
		return fmt.Errorf("listen for logs and exec: %w", err)
	}
	defer listener.Close()
	streaming, err := c.streamingTLS()
	if err != nil {
		return err
	}
	agent, err := nodes.New(nodes.Config{
		NodeName: c.cfg.nodeName,
		NodeIP:   c.cfg.nodeIP.String(),
		Client:   client,
		Runtime:  machine,
		SetPodCIDR: func(cidr string) error {
			prefix, err := netip.ParsePrefix(cidr)
			if err != nil {
				return err
			}
			return c.network.SetPodCIDR(prefix)
		},
		DataDir:           c.cfg.dataDir,
		ImagesDir:         c.cfg.imagesDir,
		StreamingListener: listener,
		StreamingTLS:      streaming,
		Version:           kube.Get().GitVersion,
		RuntimeVersion:    machine.Version(),
		Log:               c.cfg.log.With("part", "agent"),
	})
	if err != nil {
		return err
	}
	return agent.Run(ctx)
}

func (c *cluster) runtimeConfig() runtime.Config {
	return runtime.Config{
		Root:              filepath.Join(c.cfg.dataDir, "runtime"),
		RunDir:            runDir(c.cfg.dataDir),
		LogDir:            filepath.Join(c.cfg.dataDir, "logs"),
		ContainerdAddress: c.cfg.containerd,
		CgroupRoot:        c.cfg.cgroupRoot,
		Network:           c.network,
		Log:               c.cfg.log.With("part", "runtime"),
	}
}

// streamingTLS lets in the API server alone, by its client certificate.
func (c *cluster) streamingTLS() (*tls.Config, error) {
	cert, key, err := c.engine.PKI().Server("system:node:"+c.cfg.nodeName, c.cfg.nodeIP.String(), c.cfg.nodeName)
	if err != nil {
		return nil, fmt.Errorf("serving certificate of the node: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("serving certificate of the node: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    c.engine.PKI().Pool(),
		MinVersion:   tls.VersionTLS12,
	}, nil
}

func (c *cluster) runProxy(ctx context.Context) error {
	client, err := newClient(c.engine.Client("system:node:"+c.cfg.nodeName, "system:nodes"))
	if err != nil {
		return err
	}
	p, err := proxy.New(proxy.Config{
		Client:      client,
		NodeName:    c.cfg.nodeName,
		ClusterCIDR: c.cfg.clusterCIDR,
		ServiceCIDR: c.cfg.serviceCIDR,
		Log:         c.cfg.log.With("part", "proxy"),
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

// kubeconfigPath is where the administrator's kubeconfig is written.
func (cfg *upConfig) kubeconfigPath() string { return filepath.Join(cfg.dataDir, "kubeconfig") }
