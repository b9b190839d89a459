package nodemetrics

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

const (
	// interval is how often nodes are asked, as metrics-server does.
	interval = 15 * time.Second
	// first is the time between the first two rounds: who asks first waits for them.
	first = time.Second
	// silence is after how long without a request nobody is asked any more.
	silence = 5 * time.Minute
	// fresh is how long the figures of a node that does not answer are kept.
	fresh = time.Minute
	// patience is how long a node has to answer.
	patience = 10 * time.Second
	// atOnce is how many nodes are asked at a time.
	atOnce = 16
)

// hollowLabel is on nodes that have no machine, with the value "true".
const hollowLabel = "headway.dev/hollow"

var (
	nodeKind = schema.GroupKind{Kind: "Node"}
	podKind  = schema.GroupKind{Kind: "Pod"}
)

// errNotYet is told to who asks before there are two samples.
var errNotYet = errors.New("metrics not available yet")

// Ask returns what a node answers to a GET of a path.
type Ask func(ctx context.Context, node, path string) ([]byte, error)

// Collector has the newest figures while somebody asks for them. It is safe for
// concurrent use.
type Collector struct {
	reader object.Reader
	ask    Ask
	log    *slog.Logger
	now    func() time.Time
	// wanted has an entry when somebody asks and no rounds are made.
	wanted chan struct{}

	mu       sync.Mutex
	asked    time.Time
	readings map[string]reading // by node
	ready    chan struct{}      // closed while there are figures
}

// New returns a collector, which works while Run does.
func New(reader object.Reader, ask Ask, log *slog.Logger) *Collector {
	return &Collector{
		reader: reader, ask: ask, log: log, now: time.Now, wanted: make(chan struct{}, 1),
		readings: map[string]reading{}, ready: make(chan struct{}),
	}
}

// Run asks the nodes as long as somebody wants to know, until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	// It ends with ctx alone: there is no error to tell.
	_ = guard.Loop(ctx, "ask nodes what they use", func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-c.wanted:
			}
			c.rounds(ctx)
		}
	})
}

// rounds asks until nobody has asked for a while.
func (c *Collector) rounds(ctx context.Context) {
	for n := 0; ; n++ {
		c.round(ctx)
		wait := interval
		if n == 0 {
			wait = first
		}
		if n == 1 {
			c.answer()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if c.idle() {
			return
		}
	}
}

// answer lets requests have what is known.
func (c *Collector) answer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ready: // already, before a panic
	default:
		close(c.ready)
	}
}

// idle reports whether nobody has asked for a while, and forgets everything then.
func (c *Collector) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.asked) <= silence {
		return false
	}
	select {
	case <-c.ready:
		c.ready = make(chan struct{})
	default:
	}
	select {
	case <-c.wanted: // by who has got figures already
	default:
	}
	c.readings = map[string]reading{}
	return true
}

// round asks every node once.
func (c *Collector) round(ctx context.Context) {
	nodes, _ := c.reader.List(nodeKind, "")
	exists := map[string]bool{}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, node := range nodes {
		name := node.GetName()
		exists[name] = true
		if hollow(node) {
			continue
		}
		group.Go(func() error {
			return guard.Call(ctx, "ask node "+name+" what it uses", func() error {
				c.sample(ctx, name)
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		c.log.Warn("a node was not asked what it uses", "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.readings {
		if !exists[name] {
			delete(c.readings, name)
		}
	}
}

func (c *Collector) sample(ctx context.Context, node string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	data, err := c.ask(ctx, node, "/stats/summary")
	var now *sample
	if err == nil {
		now, err = decode(data)
	}
	if err != nil {
		c.log.Debug("a node does not say what it uses", "node", node, "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readings[node] = reading{before: c.readings[node].now, now: now}
}

func hollow(node object.Object) bool { return node.GetLabels()[hollowLabel] == "true" }

// await notes that somebody asks, and waits until there are figures.
func (c *Collector) await(ctx context.Context) error {
	c.mu.Lock()
	c.asked = c.now()
	ready := c.ready
	c.mu.Unlock()
	select {
	case c.wanted <- struct{}{}:
	default:
	}
	select {
	case <-ready:
		return nil
	case <-time.After(patience + 2*first):
		return errNotYet
	case <-ctx.Done():
		return ctx.Err()
	}
}

// node returns what a node uses, if that is known.
func (c *Collector) node(node object.Object) (usage, bool) {
	if hollow(node) {
		total := usage{at: c.now(), window: interval}
		pods, _ := c.reader.List(podKind, "")
		for _, obj := range pods {
			pod, ok := obj.(*corev1.Pod)
			if !ok || pod.Spec.NodeName != node.GetName() || pod.Status.Phase != corev1.PodRunning {
				continue
			}
			for _, u := range pretended(pod, total.at) {
				total.nanocore, total.bytes = total.nanocore+u.nanocore, total.bytes+u.bytes
			}
		}
		return total, true
	}
	return c.known(c.reading(node.GetName()).node())
}

// pod returns what the containers of a running pod use, if that is known.
func (c *Collector) pod(pod *corev1.Pod) (map[string]usage, bool) {
	if pod.Status.Phase != corev1.PodRunning || pod.Spec.NodeName == "" {
		return nil, false
	}
	if node := c.reader.Get(object.Key{GroupKind: nodeKind, Name: pod.Spec.NodeName}); node != nil && hollow(node) {
		return pretended(pod, c.now()), true
	}
	containers, ok := c.reading(pod.Spec.NodeName).pod(pod.UID)
	for _, u := range containers {
		if _, ok = c.known(u, ok); !ok {
			return nil, false
		}
	}
	return containers, ok
}

func (c *Collector) known(u usage, ok bool) (usage, bool) {
	return u, ok && c.now().Sub(u.at) <= fresh
}

func (c *Collector) reading(node string) reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readings[node]
}
