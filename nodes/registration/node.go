package registration

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	goruntime "runtime"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/utils/clock"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/nodes/machine"
	"headway.dev/nodes/objects"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/wait"
)

// The kubelet's heartbeat.
const (
	leaseSeconds   = 40
	leaseRenewal   = leaseSeconds / 4 * time.Second
	statusCheck    = 10 * time.Second
	statusRetry    = time.Second
	statusPace     = time.Second
	statusInterval = 5 * time.Minute
	imagesInterval = time.Minute
	maxNodeImages  = 50
)

// Config describes the node, and where further information comes from.
type Config struct {
	NodeName, NodeIP string
	// NodeIP6 is the node's address of IPv6, empty if it has none.
	NodeIP6 string
	Client  kubernetes.Interface
	Labels  map[string]string
	// VolumesDir is where the node keeps volumes that outlive pods.
	VolumesDir string
	Taints     []corev1.Taint
	MaxPods    int
	// Version is the kubelet version to report, RuntimeVersion the container
	// runtime's.
	Version, RuntimeVersion string
	// Ingress says that the node serves Ingresses.
	Ingress bool
	// Handlers are the names of the handlers of RuntimeClasses that the runtime has.
	Handlers []string
	// SetPodCIDRs is called with node.spec.podCIDRs as soon as they are known; if it
	// is nil, the node is ready without any.
	SetPodCIDRs func(cidrs []string) error
	// StreamingListener is the listener whose port serves logs and exec; nil:
	// none.
	StreamingListener net.Listener
	Machine           machine.Machine
	// Images lists the images of the local store.
	Images func(ctx context.Context) ([]runtime.ImageInfo, error)
	// MemoryPressure and DiskPressure report whether the node's conditions are
	// true. Without MemoryPressure the machine is asked.
	MemoryPressure, DiskPressure func() bool
	// Follow keeps a store equal to the Node object until ctx ends; nil does so by a
	// watch of its own.
	Follow func(ctx context.Context, store cache.ReflectorStore)
	// Event, if set, records an event about the node.
	Event func(node *corev1.Node, reason, message string)
	Log   *slog.Logger
}

// Node is this node's object in the API.
type Node struct {
	cfg    Config
	status atomic.Pointer[nodeStatus] // once the node is registered
}

// New starts nothing.
func New(cfg Config) *Node {
	if cfg.MemoryPressure == nil {
		cfg.MemoryPressure = cfg.Machine.MemoryPressure
	}
	if cfg.Event == nil {
		cfg.Event = func(*corev1.Node, string, string) {}
	}
	if cfg.Follow == nil {
		cfg.Follow = func(ctx context.Context, store cache.ReflectorStore) {
			selector := fields.OneTermEqualSelector("metadata.name", cfg.NodeName).String()
			objects.Follow(ctx, cfg.Client, cfg.Client.CoreV1().Nodes(), selector, &corev1.Node{}, store, "node-self")
		}
	}
	return &Node{cfg: cfg}
}

// Register creates the Node, waits for its pod network, and starts the
// heartbeats in group. It returns when pods may start, or ctx has ended.
func (n *Node) Register(ctx context.Context, group *errgroup.Group) error {
	node, err := n.ensureNode(ctx, nil)
	if err != nil {
		return nil //nolint:nilerr // only the end of ctx ends the tries
	}
	status := newNodeStatus(n)
	status.found = node.Status.Addresses
	n.status.Store(status)
	status.uid.Store(&node.UID)
	group.Go(func() error {
		return guard.Loop(ctx, "renew the node's lease", func(ctx context.Context) error { n.renewLease(ctx, &status.uid); return nil })
	})
	if n.cfg.SetPodCIDRs != nil {
		if node.Spec.PodCIDR == "" {
			status.report(ctx, false)
			if node, err = n.awaitPodCIDR(ctx); err != nil {
				return nil //nolint:nilerr // ctx has ended
			}
			status.uid.Store(&node.UID)
		}
		err := guard.Call(ctx, "set up the pod network", func() error { return n.cfg.SetPodCIDRs(rangesOf(node)) })
		if err != nil {
			return fmt.Errorf("set up the pod network %s: %w", node.Spec.PodCIDR, err)
		}
	}
	status.podCIDRs = rangesOf(node)
	status.report(ctx, true)
	group.Go(func() error {
		return guard.Loop(ctx, "watch the node", func(ctx context.Context) error { n.cfg.Follow(ctx, selfStore{status}); return nil })
	})
	group.Go(func() error {
		return guard.Loop(ctx, "keep the node's status", func(ctx context.Context) error { status.run(ctx); return nil })
	})
	return nil
}

// ensureNode creates the Node or brings the one there is up to date. It tries
// until ctx ends. podCIDRs are the ranges the node has, none if it has none yet.
func (n *Node) ensureNode(ctx context.Context, podCIDRs []string) (*corev1.Node, error) {
	again := 100 * time.Millisecond
	for {
		var node *corev1.Node
		err := guard.Call(ctx, "register the node", func() (err error) {
			node, err = n.tryNode(ctx, podCIDRs)
			return err
		})
		if err == nil {
			return node, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		n.cfg.Log.Warn("node not registered yet, trying again", "node", n.cfg.NodeName, "in", again, "err", err)
		if !wait.Sleep(ctx, again) {
			return nil, ctx.Err()
		}
		again = min(2*again, 5*time.Second)
	}
}

func (n *Node) tryNode(ctx context.Context, podCIDRs []string) (*corev1.Node, error) {
	nodes := n.cfg.Client.CoreV1().Nodes()
	want := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: n.cfg.NodeName,
		Labels: map[string]string{
			corev1.LabelHostname: n.cfg.NodeName, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
			"beta.kubernetes.io/os": goruntime.GOOS, "beta.kubernetes.io/arch": goruntime.GOARCH,
		},
	}, Spec: corev1.NodeSpec{Taints: n.cfg.Taints}}
	maps.Copy(want.Labels, n.cfg.Labels)
	if n.cfg.VolumesDir != "" {
		metav1.SetMetaDataAnnotation(&want.ObjectMeta, storage.VolumesAnnotation, n.cfg.VolumesDir)
	}
	metav1.SetMetaDataAnnotation(&want.ObjectMeta, networking.NodeAnnotation, strconv.FormatBool(n.cfg.Ingress))
	if len(podCIDRs) > 0 {
		want.Spec.PodCIDR, want.Spec.PodCIDRs = podCIDRs[0], podCIDRs
	}
	have, err := nodes.Get(ctx, n.cfg.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		// As a kubelet's: nobody sees a node that tells nothing of itself.
		want.Status = n.nodeStatus(false, time.Now(), corev1.NodeStatus{})
		return nodes.Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, err
	}
	change := map[string]any{}
	metadata := map[string]any{}
	if missing := without(want.Labels, have.Labels); len(missing) > 0 {
		metadata["labels"] = missing
	}
	if missing := without(want.Annotations, have.Annotations); len(missing) > 0 {
		metadata["annotations"] = missing
	}
	if len(metadata) > 0 {
		change["metadata"] = metadata
	}
	if len(podCIDRs) > 0 && have.Spec.PodCIDR == "" {
		change["spec"] = map[string]any{"podCIDR": podCIDRs[0], "podCIDRs": podCIDRs}
	}
	if len(change) == 0 {
		return have, nil
	}
	patch, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	return nodes.Patch(ctx, n.cfg.NodeName, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
}

// without are the pairs of want that have does not have.
func without(want, have map[string]string) map[string]string {
	missing := map[string]string{}
	for k, v := range want {
		if have[k] != v {
			missing[k] = v
		}
	}
	return missing
}

// rangesOf are the ranges of a node's pods, none if it has none yet.
func rangesOf(node *corev1.Node) []string {
	switch {
	case node.Spec.PodCIDR == "":
		return nil
	case len(node.Spec.PodCIDRs) == 0:
		return []string{node.Spec.PodCIDR}
	}
	return node.Spec.PodCIDRs
}

// awaitPodCIDR waits until the control plane has given the node its range.
func (n *Node) awaitPodCIDR(ctx context.Context) (*corev1.Node, error) {
	found := make(chan *corev1.Node, 1)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		guard.Do(ctx, "wait for the node's pod CIDR", func() { n.cfg.Follow(ctx, nodeStore{found}) })
	})
	select {
	case node := <-found:
		return node, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// nodeStore waits for a node with a pod CIDR.
type nodeStore struct{ found chan<- *corev1.Node }

func (s nodeStore) Add(obj any) error    { s.look(obj); return nil }
func (s nodeStore) Update(obj any) error { s.look(obj); return nil }
func (s nodeStore) Delete(any) error     { return nil }
func (s nodeStore) Resync() error        { return nil }

func (s nodeStore) Replace(list []any, _ string) error {
	for _, obj := range list {
		s.look(obj)
	}
	return nil
}

func (s nodeStore) look(obj any) {
	if node := obj.(*corev1.Node); node.Spec.PodCIDR != "" {
		select {
		case s.found <- node:
		default: // it was found before
		}
	}
}

// renewLease keeps the node's Lease fresh: the cheap part of the heartbeat.
func (n *Node) renewLease(ctx context.Context, uid *atomic.Pointer[types.UID]) {
	own := func(l *coordinationv1.Lease) error {
		// Nobody asks which client set a field of a node's lease, and to know it costs
		// more than the rest of a renewal: the record is reset.
		l.ManagedFields = []metav1.ManagedFieldsEntry{{}}
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.cfg.NodeName, UID: *uid.Load()}}
		return nil
	}
	lease.NewController(clock.RealClock{}, n.cfg.Client, n.cfg.NodeName, leaseSeconds, func() {
		n.cfg.Log.Warn("the node's lease could not be renewed several times in a row", "node", n.cfg.NodeName)
	}, leaseRenewal, n.cfg.NodeName, corev1.NamespaceNodeLease, own).Run(ctx)
}

// nodeStatus is the node's status as of now; last is the one reported before.
func (n *Node) nodeStatus(networkReady bool, now time.Time, last corev1.NodeStatus) corev1.NodeStatus {
	m := n.cfg.Machine
	addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.cfg.NodeIP}}
	if n.cfg.NodeIP6 != "" {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: n.cfg.NodeIP6})
	}
	s := corev1.NodeStatus{
		Capacity: m.Capacity.DeepCopy(), Allocatable: m.Allocatable.DeepCopy(),
		Addresses: append(addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.cfg.NodeName}),
		NodeInfo:  m.Info,
	}
	pods := *resource.NewQuantity(int64(n.cfg.MaxPods), resource.DecimalSI)
	s.Capacity[corev1.ResourcePods], s.Allocatable[corev1.ResourcePods] = pods, pods
	s.NodeInfo.KubeletVersion, s.NodeInfo.ContainerRuntimeVersion = n.cfg.Version, n.cfg.RuntimeVersion
	for _, name := range n.cfg.Handlers {
		s.RuntimeHandlers = append(s.RuntimeHandlers, corev1.NodeRuntimeHandler{
			Name: name, Features: &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: new(false), UserNamespaces: new(false)},
		})
	}
	if n.cfg.StreamingListener != nil {
		if _, port, err := net.SplitHostPort(n.cfg.StreamingListener.Addr().String()); err == nil {
			if n, err := strconv.ParseInt(port, 10, 32); err == nil {
				s.DaemonEndpoints.KubeletEndpoint.Port = int32(n)
			}
		}
	}
	memory, disk := n.cfg.MemoryPressure(), n.cfg.DiskPressure()
	bad := func(short bool, yes, no, yesText, noText string) (corev1.ConditionStatus, string, string) {
		if short {
			return corev1.ConditionTrue, yes, yesText
		}
		return corev1.ConditionFalse, no, noText
	}
	set := func(t corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) {
		c := corev1.NodeCondition{
			Type: t, Status: status, Reason: reason, Message: message,
			LastHeartbeatTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
		}
		for _, old := range last.Conditions {
			if old.Type == t && old.Status == status {
				c.LastTransitionTime = old.LastTransitionTime
			}
		}
		s.Conditions = append(s.Conditions, c)
	}
	status, reason, message := bad(memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory",
		"kubelet has insufficient memory available", "kubelet has sufficient memory available")
	set(corev1.NodeMemoryPressure, status, reason, message)
	status, reason, message = bad(disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "kubelet has disk pressure", "kubelet has no disk pressure")
	set(corev1.NodeDiskPressure, status, reason, message)
	set(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available")
	if networkReady {
		set(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status")
	} else {
		set(corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", "container runtime network not ready: the node has no pod CIDR yet")
	}
	return s
}

// nodeImages lists the biggest images of the local store.
func (n *Node) nodeImages(ctx context.Context) []corev1.ContainerImage {
	list, err := n.cfg.Images(ctx)
	if err != nil {
		return nil
	}
	byDigest := map[string]*corev1.ContainerImage{}
	var out []*corev1.ContainerImage
	for _, image := range list {
		one := byDigest[image.Digest]
		if one == nil {
			one = &corev1.ContainerImage{SizeBytes: image.Size}
			byDigest[image.Digest] = one
			out = append(out, one)
		}
		one.Names = append(one.Names, image.Name)
	}
	for _, image := range out {
		sort.Strings(image.Names)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].SizeBytes != out[j].SizeBytes {
			return out[i].SizeBytes > out[j].SizeBytes
		}
		return out[i].Names[0] < out[j].Names[0]
	})
	images := make([]corev1.ContainerImage, 0, min(len(out), maxNodeImages))
	for _, image := range out[:min(len(out), maxNodeImages)] {
		images = append(images, *image)
	}
	return images
}

// Self returns the Node as the API last reported it, or as it is now, corrected
// by what this agent knows better.
func (n *Node) Self(ctx context.Context, now bool) (*corev1.Node, error) {
	var node *corev1.Node
	if status := n.status.Load(); status != nil && !now {
		if seen := status.seen.Load(); seen != nil {
			node = seen.node.DeepCopy()
		}
	}
	if node == nil {
		got, err := n.cfg.Client.CoreV1().Nodes().Get(ctx, n.cfg.NodeName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		node = got
	}
	if node.Status.Allocatable == nil {
		node.Status.Allocatable = corev1.ResourceList{}
	}
	maps.Copy(node.Status.Allocatable, n.cfg.Machine.Allocatable)
	node.Status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(int64(n.cfg.MaxPods), resource.DecimalSI)
	return node, nil
}
