package eviction

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/nodes/machine"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/wait"
)

const (
	// DefaultPeriod is how often the disk is checked, as by the kubelet.
	DefaultPeriod = 10 * time.Second
	// measureShare bounds the part of the time that goes into measuring: after
	// a measurement it rests for this many times as long.
	measureShare = 10
	// releasePeriods is for how many periods what ends is expected to free what
	// it takes: half a minute, the kubelet's timeout for that.
	releasePeriods = 3
	// pressureHold is how long DiskPressure is told after it was last seen: the
	// kubelet's eviction-pressure-transition-period.
	pressureHold = 5 * time.Minute
)

// Thresholds are the amounts of free disk below which pods are evicted.
type Thresholds struct {
	// Available is of bytes, InodesFree of inodes: a share of all, or a number.
	Available, InodesFree Threshold
}

// Threshold is a share of something, or an amount of it.
type Threshold struct {
	Percent float64
	Amount  int64
}

func (t Threshold) of(all int64) int64 {
	if t.Percent > 0 {
		return int64(float64(all) * t.Percent / 100)
	}
	return t.Amount
}

// DefaultHard is the kubelet's default for the disk.
const DefaultHard = "nodefs.available<10%,nodefs.inodesFree<5%"

// ParseHard reads thresholds as the kubelet's --eviction-hard has them.
// Signals that are not named are not watched.
func ParseHard(text string) (Thresholds, error) {
	var out Thresholds
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		signal, value, ok := strings.Cut(part, "<")
		if !ok {
			return out, fmt.Errorf("%q is not SIGNAL<VALUE such as nodefs.available<10%%", part)
		}
		var t Threshold
		if share, isShare := strings.CutSuffix(value, "%"); isShare {
			n, err := strconv.ParseFloat(share, 64)
			if err != nil || n <= 0 || n >= 100 {
				return out, fmt.Errorf("%q: %q is not a share between 0%% and 100%%", part, value)
			}
			t.Percent = n
		} else {
			q, err := resource.ParseQuantity(value)
			if err != nil || q.Sign() < 0 {
				return out, fmt.Errorf("%q: %q is neither a share such as 10%% nor a quantity such as 1Gi", part, value)
			}
			t.Amount = q.Value()
		}
		switch signal {
		case "nodefs.available":
			out.Available = t
		case "nodefs.inodesFree":
			out.InodesFree = t
		default:
			return out, fmt.Errorf("%q: the signal %q is not watched: use nodefs.available and nodefs.inodesFree", part, signal)
		}
	}
	return out, nil
}

// Pod is a pod of the node, as the evictor knows it.
type Pod interface {
	// Storage returns the pod, if it may be evicted; going reports that it ends
	// anyway, and that the space it takes will be free within release.
	Storage(now time.Time, release time.Duration) (p *corev1.Pod, going bool)
	// Evict makes the pod end.
	Evict(p *corev1.Pod, why string)
}

// Config determines what the evictor checks.
type Config struct {
	Thresholds Thresholds
	// Period is how often to check.
	Period  time.Duration
	Machine machine.Machine
	// Pods returns the pods of the node, and Find looks for one of them.
	Pods func() []Pod
	Find func(uid types.UID) (Pod, bool)
	// Usage returns the disk space that a pod takes.
	Usage func(ctx context.Context, p *corev1.Pod) (pod.Storage, error)
	Log   *slog.Logger
}

// Evictor evicts pods that use more of the disk than they may, and pods for
// which the disk is not large enough.
type Evictor struct {
	cfg Config

	mu       sync.Mutex
	lastSeen time.Time // of a disk that is short
}

// Run checks periodically until ctx ends.
func (e *Evictor) Run(ctx context.Context) {
	rest := time.Duration(0)
	for wait.Sleep(ctx, max(e.cfg.Period, rest)) {
		rest = measureShare * e.look(ctx)
	}
}

// Pressure reports whether the node's condition DiskPressure is true.
func (e *Evictor) Pressure() bool {
	e.see()
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.lastSeen.IsZero() && time.Since(e.lastSeen) < pressureHold
}

// shortage is what the disk lacks.
type shortage struct {
	resource             corev1.ResourceName
	threshold, available *resource.Quantity
}

// see looks at the disk; nil is enough.
func (e *Evictor) see() *shortage {
	d, err := e.cfg.Machine.Disk()
	if err != nil {
		e.cfg.Log.Warn("cannot tell how full the disk is", "err", err)
		return nil
	}
	var found *shortage
	quantity := func(n int64, f resource.Format) *resource.Quantity { return resource.NewQuantity(n, f) }
	if want := e.cfg.Thresholds.Available.of(d.Size); d.Available < want {
		found = &shortage{corev1.ResourceEphemeralStorage, quantity(want, resource.BinarySI), quantity(d.Available>>10<<10, resource.BinarySI)}
	} else if want := e.cfg.Thresholds.InodesFree.of(d.Inodes); d.Inodes > 0 && d.InodesFree < want {
		found = &shortage{pod.Inodes, quantity(want, resource.DecimalSI), quantity(d.InodesFree, resource.DecimalSI)}
	}
	if found != nil {
		e.mu.Lock()
		e.lastSeen = time.Now()
		e.mu.Unlock()
	}
	return found
}

// look evicts those that are over their limits, and one more if the disk is
// short. It returns how long measuring took.
func (e *Evictor) look(ctx context.Context) time.Duration {
	began := time.Now()
	short := e.see()
	var candidates []pod.Candidate
	leaving := false
	for _, w := range e.cfg.Pods() {
		p, going := w.Storage(began, releasePeriods*e.cfg.Period)
		leaving = leaving || going
		if p == nil || short == nil && !pod.StorageLimited(p) {
			continue
		}
		used, err := e.measure(ctx, p)
		if err != nil {
			if ctx.Err() == nil {
				e.cfg.Log.Warn("cannot tell what a pod takes of the disk", "pod", pod.Describe(p), "err", err)
			}
			continue
		}
		if why := pod.OverStorage(p, used); why != "" {
			w.Evict(p, why)
			leaving = true
			continue
		}
		candidates = append(candidates, pod.Candidate{Pod: p, Used: used})
	}
	// One at a time, and what it frees is seen before the next one.
	if short != nil && !leaving {
		if ranked := pod.RankForDisk(candidates, short.resource); len(ranked) > 0 {
			if w, ok := e.cfg.Find(ranked[0].Pod.UID); ok {
				w.Evict(ranked[0].Pod, pod.LowDisk(ranked[0], short.resource, short.threshold, short.available))
			}
		}
	}
	return time.Since(began)
}

func (e *Evictor) measure(ctx context.Context, p *corev1.Pod) (pod.Storage, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return e.cfg.Usage(ctx, p)
}

// New returns an evictor; Run makes it work.
func New(cfg Config) *Evictor { return &Evictor{cfg: cfg} }
