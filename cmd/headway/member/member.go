package member

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	kube "k8s.io/component-base/version"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/manifests/guard"
	"headway.dev/nodes"
	"headway.dev/nodes/announce"
	"headway.dev/nodes/ingress"
	"headway.dev/nodes/known"
	"headway.dev/nodes/network"
	"headway.dev/nodes/peers"
	"headway.dev/nodes/policy"
	"headway.dev/nodes/runtime/containerd"
	"headway.dev/nodes/runtime/runc"
	"headway.dev/proxy"
	"headway.dev/proxy/service"
)

// Member is one machine of a cluster.
type Member struct {
	Config
	// API is how the API is reached as the node.
	API *rest.Config
	// Streaming is how the agent serves logs and exec: to clients with a certificate of
	// the cluster's authority; what they may then is asked of the API.
	Streaming *tls.Config
	// Remote says that the server is another process, which the agent keeps a tunnel to.
	Remote bool
	// Warn tells the person who started the program something.
	Warn func(format string, args ...any)
	// Looked is called once, when the API knows what the agent found; nil: nothing.
	Looked func()

	network  *network.Network
	cluster  *known.Cluster
	policies *policy.Agent
	// ingress is the proxy for Ingresses, nil if the machine has none; ingressEvents is
	// by whom it tells users something, while it runs.
	ingress       *ingress.Server
	ingressEvents atomic.Pointer[record.EventRecorder]
}

// Open prepares the member, and changes nothing on the machine. Close is to be called
// then, once nothing of it runs.
func (m *Member) Open() (err error) {
	if m.network, err = newNetwork(m.Config); err != nil {
		return err
	}
	client, err := NewClient(m.API)
	if err != nil {
		return err
	}
	keep := known.Config{Client: client, Ingresses: m.servesIngress(), Warn: m.Warn, Log: m.Log.With("part", "cluster")}
	if m.Remote { // else the API is here when the agent is
		sum := sha256.Sum256(m.API.CAData)
		keep.Path, keep.Of = filepath.Join(m.DataDir, "network", "known.db"), hex.EncodeToString(sum[:])
	}
	m.cluster = known.Open(keep)
	m.policies = policy.New(policy.Config{
		NodeName: m.Name, Client: client.CoreV1().RESTClient(), Attached: m.network.Attached, Dual: m.ClusterCIDR6.IsValid(), Warn: m.Warn, Log: m.Log.With("part", "policies"),
	})
	return m.openIngress()
}

// Close ends what Open began.
func (m *Member) Close() error { return m.cluster.Close() }

// RunAgent runs the pods of the machine until ctx ends.
func (m *Member) RunAgent(ctx context.Context) (err error) {
	machine, err := containerd.Start(ctx, runtimeConfig(m.Config, m.network))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	if warning := runc.Warning(ctx); warning != "" {
		m.Warn("warning: %s", warning)
	}
	if m.example {
		m.loadExample(ctx, machine)
	}
	client, err := NewClient(m.API)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(m.IP.String(), strconv.Itoa(m.AgentPort)))
	if err != nil {
		return fmt.Errorf("listen for logs and exec: %w; give --agent-port another port, or 0 for any that is free", err)
	}
	defer listener.Close()
	version, err := machine.Version(ctx)
	if err != nil {
		return err
	}
	var ingressMetrics prometheus.Gatherer
	if m.ingress != nil {
		ingressMetrics = m.ingress.Metrics()
	}
	var api *rest.Config
	if m.Remote {
		api = m.API
	}
	agent, err := nodes.New(nodes.Config{
		API:      api,
		NodeName: m.Name,
		NodeIP:   m.IP.String(),
		Client:   client,
		Cluster:  m.cluster,
		Runtime:  machine,
		NodeIP6:  text(m.IP6),
		SetPodCIDRs: func(cidrs []string) error {
			four, six, err := podRanges(cidrs, m.ClusterCIDR6.IsValid())
			if err != nil {
				return err
			}
			return m.network.SetPodCIDRs(four, six)
		},
		DataDir:           m.DataDir,
		ImagesDir:         m.ImagesDir,
		EvictionHard:      m.eviction,
		PodPidsLimit:      m.PodMaxPids,
		StreamingListener: listener,
		StreamingTLS:      m.Streaming,
		Version:           kube.Get().GitVersion,
		RuntimeVersion:    version,
		RuntimeHandlers:   m.handlers.Names(),
		NameServer:        m.nameServer(),
		Policies:          m.policies,
		IngressMetrics:    ingressMetrics,
		ResolvConf:        m.ResolvConf,
		Looked:            m.Looked,
		Log:               m.Log.With("part", "agent"),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		_ = guard.Loop(ctx, "network of the pods", func(ctx context.Context) error { m.network.Run(ctx); return nil }) // it has no error
	})
	return agent.Run(ctx)
}

// RunProxy gives Services their addresses until ctx ends. Its rules stay.
func (m *Member) RunProxy(ctx context.Context) error {
	client, err := NewClient(m.API)
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	events := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kube-proxy", Host: m.Name})
	if m.ClusterCIDR6.IsValid() { // the proxy would have it forward, and lose routes by it
		if err := network.Forward6(); err != nil {
			return err
		}
	}
	p, err := proxy.New(proxy.Config{
		Cluster: proxy.Cluster{Services: m.cluster.Services, EndpointSlices: m.cluster.EndpointSlices, Nodes: m.cluster.Nodes},
		Services: service.Config{
			NodeName: m.Name, NodeIPs: m.ips(), ClusterCIDRs: m.ranges().Pods(), ServiceCIDRs: m.ranges().Services(),
		},
		Mode: m.proxyMode,
		Warn: func(about types.NamespacedName, uid types.UID, reason, message string) {
			events.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: about.Namespace, Name: about.Name, UID: uid}, corev1.EventTypeWarning, reason, message)
		},
		Log: m.Log.With("part", "proxy"),
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// runPeers makes the pods of other nodes reachable until ctx ends. The routes stay.
func (m *Member) runPeers(ctx context.Context) error {
	return peers.New(peers.Config{
		NodeName: m.Name, IP: m.IP, ClusterCIDR: m.ClusterCIDR, ClusterCIDR6: m.ClusterCIDR6, Tunnel: tunnel, Nodes: m.cluster.Nodes, Log: m.Log.With("part", "network"),
	}).Run(ctx)
}

// runAnnouncer answers for addresses of load balancers until ctx ends. They stay.
func (m *Member) runAnnouncer(ctx context.Context) error {
	return announce.New(announce.Config{
		NodeName: m.Name, IP: m.IP, Link: balancersLink, Services: m.cluster.Services, Log: m.Log.With("part", "network"),
	}).Run(ctx)
}

// NewClient is a client without a rate limit.
func NewClient(config *rest.Config) (kubernetes.Interface, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the API: %w", err)
	}
	return client, nil
}

// The links that a machine has once.
const bridge, tunnel = "headway0", "headway.vx"

func newNetwork(cfg Config) (*network.Network, error) {
	return network.New(network.Config{
		Bridge:      bridge,
		Owner:       cfg.DataDir,
		ClusterCIDR: cfg.ClusterCIDR, ClusterCIDR6: cfg.ClusterCIDR6,
		StateDir: filepath.Join(cfg.DataDir, "network"),

		NameServer:     cfg.NameServer,
		NameServerLink: nameServerLink,
	}, cfg.Log.With("part", "network"))
}

// ClaimNetwork fails if this machine's pod network is that of another data dir.
func ClaimNetwork(cfg Config) error {
	net, err := newNetwork(cfg)
	if err != nil {
		return err
	}
	return net.Claim()
}

func runtimeConfig(cfg Config, net *network.Network) containerd.Config {
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

// Cleanup removes containers, networks, cgroups and mounts. What another
// data dir's cluster has of the machine stays: owned says which.
func Cleanup(ctx context.Context, cfg Config) (owned *network.OwnedError, err error) {
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
	if owned == nil {
		if err := errors.Join(peers.Cleanup(tunnel), policy.Cleanup(ctx), announce.Cleanup(balancersLink)); err != nil {
			return owned, err
		}
	}
	return owned, nodes.Cleanup(cfg.DataDir)
}
