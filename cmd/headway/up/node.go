package up

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"

	kube "k8s.io/component-base/version"

	"headway.dev/cmd/headway/up/datadir"
	"headway.dev/manifests/guard"
	"headway.dev/nodes"
	"headway.dev/nodes/network"
	"headway.dev/nodes/runtime/containerd"
	"headway.dev/nodes/runtime/runc"
)

func (c *Cluster) runNode(ctx context.Context) (err error) {
	machine, err := containerd.Start(ctx, runtimeConfig(c.cfg, c.network))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	if warning := runc.Warning(ctx); warning != "" {
		c.progress.Line("warning: %s", warning)
	}
	if c.cfg.ownExample {
		c.loadExample(ctx, machine)
	}
	client, err := newClient(c.Engine.Client("system:node:"+c.cfg.NodeName, "system:nodes"))
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(c.cfg.NodeIP.String(), "0"))
	if err != nil {
		return fmt.Errorf("listen for logs and exec: %w", err)
	}
	defer listener.Close()
	version, err := machine.Version(ctx)
	if err != nil {
		return err
	}
	streaming, err := c.streamingTLS()
	if err != nil {
		return err
	}
	agent, err := nodes.New(nodes.Config{
		NodeName: c.cfg.NodeName,
		NodeIP:   c.cfg.NodeIP.String(),
		Client:   client,
		Runtime:  machine,
		SetPodCIDR: func(cidr string) error {
			prefix, err := netip.ParsePrefix(cidr)
			if err != nil {
				return err
			}
			return c.network.SetPodCIDR(prefix)
		},
		DataDir:           c.cfg.DataDir,
		ImagesDir:         c.cfg.ImagesDir,
		EvictionHard:      c.cfg.eviction,
		PodPidsLimit:      c.cfg.PodMaxPids,
		StreamingListener: listener,
		StreamingTLS:      streaming,
		Version:           kube.Get().GitVersion,
		RuntimeVersion:    version,
		RuntimeHandlers:   c.cfg.handlers.Names(),
		NameServer:        c.nameServer(),
		ResolvConf:        c.cfg.ResolvConf,
		Looked:            func() { close(c.Looked) },
		Log:               c.cfg.Log.With("part", "agent"),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		_ = guard.Loop(ctx, "network of the pods", func(ctx context.Context) error { c.network.Run(ctx); return nil }) // it has no error
	})
	return agent.Run(ctx)
}

func newNetwork(cfg *Config) (*network.Network, error) {
	return network.New(network.Config{
		Bridge:      "headway0",
		Owner:       cfg.DataDir,
		ClusterCIDR: cfg.ClusterCIDR,
		StateDir:    filepath.Join(cfg.DataDir, "network"),

		NameServer:     cfg.NameServer,
		NameServerLink: nameServerLink,
	}, cfg.Log.With("part", "network"))
}

// claimNetwork fails if this machine's pod network is that of another data dir.
func claimNetwork(cfg *Config) error {
	net, err := newNetwork(cfg)
	if err != nil {
		return err
	}
	return net.Claim()
}

func runtimeConfig(cfg *Config, net *network.Network) containerd.Config {
	return containerd.Config{
		Root:              filepath.Join(cfg.DataDir, "runtime"),
		RunDir:            datadir.RunDir(cfg.DataDir),
		LogDir:            filepath.Join(cfg.DataDir, "logs"),
		ContainerdAddress: cfg.Containerd,
		Handlers:          cfg.handlers,
		CgroupRoot:        cfg.CgroupRoot,
		Network:           net,
		Log:               cfg.Log.With("part", "runtime"),
	}
}

// cleanupNode removes containers, networks, cgroups and mounts. What another
// data dir's cluster has of the machine stays: owned says which.
func cleanupNode(ctx context.Context, cfg *Config) (owned *network.OwnedError, err error) {
	cfg.Log = slog.New(slog.DiscardHandler)
	net, err := newNetwork(cfg)
	if err != nil {
		return nil, err
	}
	if err := net.Claim(); err != nil && !errors.As(err, &owned) {
		return nil, err
	}
	machine := runtimeConfig(cfg, net)
	machine.Shared = owned != nil
	if err := containerd.Cleanup(ctx, machine); err != nil {
		return owned, err
	}
	return owned, nodes.Cleanup(cfg.DataDir)
}

// streamingTLS lets in who has a client certificate of the cluster's authority;
// what they may then is asked of the API.
func (c *Cluster) streamingTLS() (*tls.Config, error) {
	cert, key, err := c.Engine.PKI().Server("system:node:"+c.cfg.NodeName, c.cfg.NodeIP.String(), c.cfg.NodeName)
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
		ClientCAs:    c.Engine.PKI().Pool(),
		MinVersion:   tls.VersionTLS12,
	}, nil
}
