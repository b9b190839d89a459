package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"

	kube "k8s.io/component-base/version"

	"headway.dev/manifests/guard"
	"headway.dev/nodes"
	"headway.dev/nodes/network"
	"headway.dev/nodes/runtime/containerd"
	"headway.dev/nodes/runtime/runc"
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

func (c *cluster) runNode(ctx context.Context) (err error) {
	machine, err := containerd.Start(ctx, runtimeConfig(c.cfg, c.network))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	if warning := runc.Warning(ctx); warning != "" {
		c.progress.line("warning: %s", warning)
	}
	if c.cfg.ownExample {
		c.loadExample(ctx, machine)
	}
	client, err := newClient(c.engine.Client("system:node:"+c.cfg.nodeName, "system:nodes"))
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(c.cfg.nodeIP.String(), "0"))
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
		EvictionHard:      c.cfg.eviction,
		PodPidsLimit:      c.cfg.podMaxPids,
		StreamingListener: listener,
		StreamingTLS:      streaming,
		Version:           kube.Get().GitVersion,
		RuntimeVersion:    version,
		Looked:            func() { close(c.looked) },
		Log:               c.cfg.log.With("part", "agent"),
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

func newNetwork(cfg *upConfig) (*network.Network, error) {
	return network.New(network.Config{
		Bridge:      "headway0",
		Owner:       cfg.dataDir,
		ClusterCIDR: cfg.clusterCIDR,
		StateDir:    filepath.Join(cfg.dataDir, "network"),
	}, cfg.log.With("part", "network"))
}

// claimNetwork fails if this machine's pod network is that of another data dir.
func claimNetwork(cfg *upConfig) error {
	net, err := newNetwork(cfg)
	if err != nil {
		return err
	}
	return net.Claim()
}

func runtimeConfig(cfg *upConfig, net *network.Network) containerd.Config {
	return containerd.Config{
		Root:              filepath.Join(cfg.dataDir, "runtime"),
		RunDir:            runDir(cfg.dataDir),
		LogDir:            filepath.Join(cfg.dataDir, "logs"),
		ContainerdAddress: cfg.containerd,
		CgroupRoot:        cfg.cgroupRoot,
		Network:           net,
		Log:               cfg.log.With("part", "runtime"),
	}
}

// cleanupNode removes containers, networks, cgroups and mounts. What another
// data dir's cluster has of the machine stays: owned says which.
func cleanupNode(ctx context.Context, cfg *upConfig) (owned *network.OwnedError, err error) {
	cfg.log = slog.New(slog.DiscardHandler)
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
	return owned, nodes.Cleanup(cfg.dataDir)
}

// streamingTLS lets in who has a client certificate of the cluster's authority;
// what they may then is asked of the API.
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
