package nodes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"

	"headway.dev/nodes/worker"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/dns"
	"headway.dev/nodes/dns/resolv"
	"headway.dev/nodes/eviction"
	"headway.dev/nodes/known"
	"headway.dev/nodes/machine"
	"headway.dev/nodes/objects"
	"headway.dev/nodes/probe"
	"headway.dev/nodes/pull"
	"headway.dev/nodes/registration"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/slot"
	"headway.dev/nodes/status"
	"headway.dev/nodes/volume"
)

// Config is what an agent needs. Fields without a default are required.
type Config struct {
	NodeName string
	// NodeIP is the address at which other nodes and the API server reach this
	// one.
	NodeIP string
	// NodeIP6 is the one of IPv6, empty if pods have none.
	NodeIP6 string
	Client  kubernetes.Interface
	// Cluster is what the node knows of the cluster, which the caller runs.
	Cluster *known.Cluster
	Runtime runtime.Interface
	// SetPodCIDRs is called with node.spec.podCIDRs as soon as they are known, and
	// before any pod starts. Nil: pods start without waiting for one.
	SetPodCIDRs func(cidrs []string) error
	// DataDir holds the volumes of pods below pods/, and those that outlive pods below
	// volumes/.
	DataDir string
	// ImagesDir holds image archives (*.tar) to import at the start and when
	// they appear; empty: none.
	ImagesDir string
	// StreamingListener serves logs, exec, attach and port-forward. The TLS
	// configuration must require and verify the API server's client
	// certificate. If it is nil these are not served.
	StreamingListener net.Listener
	StreamingTLS      *tls.Config
	// API is how the server is reached, to which the agent keeps a tunnel open; nil: the
	// server is in this process, or reaches the node by itself.
	API    *rest.Config
	Labels map[string]string
	Taints []corev1.Taint
	// MaxPods defaults to 110.
	MaxPods int
	// PodPidsLimit is the largest number of processes and threads in a pod, the
	// kubelet's podPidsLimit. It defaults to DefaultPodPidsLimit; negative is
	// no limit.
	PodPidsLimit int64
	// SystemReserved is kept from pods: capacity minus it is allocatable.
	SystemReserved corev1.ResourceList
	// ClusterDNS are the name servers of pods, ClusterDomain their domain.
	ClusterDNS    []string
	ClusterDomain string
	// NameServer is the agent's own name server, which takes the place of ClusterDNS
	// and ClusterDomain; nil: none. Its Cluster, Client, Log and Warn are the
	// agent's.
	NameServer *dns.Config
	// Policies has NetworkPolicies kept to; nil: nobody does.
	Policies worker.Policies
	// IngressMetrics are those of the proxy by which this node serves Ingresses; nil: it
	// serves none.
	IngressMetrics prometheus.Gatherer
	// ResolvConf is the file of the node's own name servers, for pods and for
	// NameServer; default resolv.Own.
	ResolvConf string
	// Version is the kubelet version to report, RuntimeVersion the container
	// runtime's, for example containerd://1.6.20.
	Version, RuntimeVersion string
	// RuntimeHandlers are the names of the handlers that the container runtime has.
	RuntimeHandlers []string
	// EvictionHard are the amounts of free disk below which pods are evicted;
	// zero watches nothing. EvictionPeriod is how often the disk and the pods'
	// limits are checked; default 10 seconds.
	EvictionHard   eviction.Thresholds
	EvictionPeriod time.Duration
	// ParallelStarts bounds how many pods are started in parallel; default
	// twice the number of CPUs: more only adds latency.
	ParallelStarts int
	// Looked is called once, when the API knows what this agent found of each
	// pod that the node had when it began. Until then pods have the statuses of
	// the previous agent. It may be nil.
	Looked func()
	Log    *slog.Logger
}

// DefaultPodPidsLimit is more than programs need, and too few to exhaust a
// node.
const DefaultPodPidsLimit = 4096

func (c *Config) check() error {
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"NodeName", c.NodeName == ""},
		{"NodeIP", net.ParseIP(c.NodeIP) == nil},
		{"Client", c.Client == nil},
		{"Cluster", c.Cluster == nil},
		{"Runtime", c.Runtime == nil},
		{"DataDir", c.DataDir == ""},
		{"Log", c.Log == nil},
		{"StreamingTLS", c.StreamingListener != nil && (c.StreamingTLS == nil || c.StreamingTLS.ClientAuth != tls.RequireAndVerifyClientCert)},
	} {
		if field.missing {
			return fmt.Errorf("node agent: config field %s is missing or invalid", field.name)
		}
	}
	if c.MaxPods <= 0 {
		c.MaxPods = 110
	}
	if c.PodPidsLimit == 0 {
		c.PodPidsLimit = DefaultPodPidsLimit
	}
	if c.EvictionPeriod <= 0 {
		c.EvictionPeriod = eviction.DefaultPeriod
	}
	if c.ResolvConf == "" {
		c.ResolvConf = resolv.Own
	}
	if c.NameServer != nil {
		c.ClusterDNS, c.ClusterDomain = []string{c.NameServer.Address.Addr().String()}, c.NameServer.Domain
	}
	if c.Looked == nil {
		c.Looked = func() {}
	}
	if c.ParallelStarts <= 0 {
		c.ParallelStarts = 2 * goruntime.NumCPU()
	}
	return nil
}

// Agent runs the pods of one node.
type Agent struct {
	cfg       Config
	log       *slog.Logger
	events    record.EventRecorder
	volumes   *volume.Manager
	probes    *probe.Manager
	statuses  *status.Writer
	objects   *objects.Cache
	tokens    *objects.Tokens
	services  *objects.Services
	images    *pull.Puller
	evictor   *eviction.Evictor
	node      *registration.Node
	machine   machine.Machine
	names     *dns.Server                    // nil: none
	podRanges atomic.Pointer[[]netip.Prefix] // nil: not known yet

	workers *worker.Set
	ctx     context.Context //nolint:containedctx // the life of Run
}

// startTime is the longest that the start of one pod keeps others waiting.
const startTime = 10 * time.Second

// New checks the configuration and reads the properties of the machine. It
// starts nothing.
func New(cfg Config) (*Agent, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("node agent: data directory: %w", err)
	}
	cfg.DataDir = dir
	m, err := machine.Read(dir, cfg.SystemReserved)
	if err != nil {
		return nil, fmt.Errorf("node agent: %w", err)
	}
	a := &Agent{cfg: cfg, log: cfg.Log, machine: m, workers: worker.NewSet()}
	a.volumes = volume.New(filepath.Join(dir, "pods"), cfg.Log)
	a.volumes.Keep(filepath.Join(dir, "volumes"))
	a.evictor = eviction.New(eviction.Config{
		Thresholds: cfg.EvictionHard, Period: cfg.EvictionPeriod, Machine: m, Pods: a.workers.Evictable, Find: a.workers.FindEvictable, Usage: a.storageUsage, Log: cfg.Log,
	})
	setPodCIDRs := cfg.SetPodCIDRs
	if setPodCIDRs != nil {
		setPodCIDRs = a.rangesOfPods
	}
	a.node = registration.New(registration.Config{
		NodeName: cfg.NodeName, NodeIP: cfg.NodeIP, NodeIP6: cfg.NodeIP6, Client: cfg.Client, Labels: cfg.Labels, Taints: cfg.Taints, MaxPods: cfg.MaxPods,
		Version: cfg.Version, RuntimeVersion: cfg.RuntimeVersion, Handlers: cfg.RuntimeHandlers, SetPodCIDRs: setPodCIDRs, StreamingListener: cfg.StreamingListener,
		VolumesDir: a.volumes.Kept(), Ingress: cfg.IngressMetrics != nil, Machine: m, Images: cfg.Runtime.Images, DiskPressure: a.evictor.Pressure, Log: cfg.Log,
		Event: func(node *corev1.Node, reason, message string) {
			a.events.Event(node, corev1.EventTypeNormal, reason, message)
		},
	})
	return a, nil
}

// Run registers the node and runs its pods until ctx ends, and then returns
// nil. It returns an error only if it cannot do its work at all. Containers are
// left running.
func (a *Agent) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	a.ctx = ctx

	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.cfg.Client.CoreV1().Events("")})
	a.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: a.cfg.NodeName})

	a.objects = objects.NewCache(ctx, a.cfg.Client, a.workers.ObjectChanged)
	a.tokens = objects.NewTokens(a.cfg.Client, a.workers.ObjectChanged)
	a.services = objects.NewServices()
	a.statuses = status.New(a.cfg.Client, status.NewFirstLook(a.cfg.Looked), a.log)
	a.images = pull.New(a.cfg.Runtime, a.cfg.ImagesDir, a.workers.ImagesChanged, a.log)
	a.probes = probe.New(worker.ExecProbe{Runtime: a.cfg.Runtime}, a.workers, a.workers.Notify, a.log)

	if a.cfg.NameServer != nil {
		a.names = a.newNameServer(*a.cfg.NameServer)
		group.Go(func() error { return guard.Call(ctx, "serve names", func() error { return a.names.Run(ctx) }) })
	}

	a.workers.Start(ctx, worker.Env{
		Runtime: a.cfg.Runtime, Volumes: a.volumes, Probes: a.probes, Statuses: a.statuses, Node: a.node,
		Objects: a.objects, Tokens: a.tokens, Services: a.services, Images: a.images, Machine: a.machine,
		Slots: slot.New(a.cfg.ParallelStarts, startTime), Events: a.events, Log: a.log,
		NodeIP: a.cfg.NodeIP, NodeIP6: a.cfg.NodeIP6, ClusterDNS: a.cfg.ClusterDNS, ClusterDomain: a.cfg.ClusterDomain, ResolvConf: a.cfg.ResolvConf, PodPidsLimit: a.cfg.PodPidsLimit,
		Policies: a.cfg.Policies,
	})

	group.Go(func() error { return guard.Call(ctx, "write statuses", func() error { return a.statuses.Run(ctx) }) })
	group.Go(func() error { return guard.Loop(ctx, "runtime events", a.runtimeEvents) })
	group.Go(func() error {
		return guard.Loop(ctx, "evict pods", func(ctx context.Context) error { a.evictor.Run(ctx); return nil })
	})
	group.Go(func() error {
		return guard.Loop(ctx, "watch services", func(ctx context.Context) error { a.cfg.Cluster.Services.FollowAPI(ctx, a.services); return nil })
	})
	group.Go(func() error { return guard.Loop(ctx, "remove the data of volumes", a.discardVolumes) })
	if a.cfg.StreamingListener != nil {
		group.Go(func() error {
			return guard.Call(ctx, "serve logs and exec", func() error { return a.serveStreams(ctx) })
		})
	}
	if a.cfg.API != nil && a.cfg.StreamingListener != nil {
		group.Go(func() error { return guard.Loop(ctx, "tunnel to the server", a.keepTunnel) })
	}
	group.Go(func() error {
		// Images first: a pod that finds its image missing waits for its back-off.
		imported := make(chan struct{})
		first := sync.OnceFunc(func() { close(imported) })
		group.Go(func() error {
			return guard.Loop(ctx, "import images", func(ctx context.Context) error { return a.images.Watch(ctx, first) })
		})
		if err := guard.Call(ctx, "register the node", func() error { return a.node.Register(ctx, group) }); err != nil {
			return err
		}
		select {
		case <-imported:
		case <-ctx.Done():
			return nil
		}
		return guard.Loop(ctx, "watch pods", a.watchPods)
	})

	err := group.Wait()
	// The workers' steps use the context that has just ended; the probes may
	// still notify workers, so they go first.
	a.probes.Stop()
	a.workers.Stop()
	a.objects.Stop()
	a.tokens.Stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("node agent: %w", err)
	}
	return nil
}

// runtimeEvents turns the runtime's hints into work, and looks at everything
// once a minute in case one was lost.
func (a *Agent) runtimeEvents(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	events := a.cfg.Runtime.Events()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("the container runtime has ended")
			}
			if e.PodUID == "" {
				a.workers.ImagesChanged()
			} else {
				a.workers.Notify(types.UID(e.PodUID))
			}
		case <-tick.C:
			a.workers.NotifyAll()
		}
	}
}
