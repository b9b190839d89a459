package nodes

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/nodes/pod"
)

const (
	// evictionPeriod is how often the disk is looked at, as with the kubelet.
	evictionPeriod = 10 * time.Second
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

// DefaultEvictionHard is the kubelet's default for the disk.
const DefaultEvictionHard = "nodefs.available<10%,nodefs.inodesFree<5%"

// ParseEvictionHard reads thresholds as the kubelet's --eviction-hard has them.
// Signals that are not named are not watched.
func ParseEvictionHard(text string) (Thresholds, error) {
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

// evictor evicts pods that use more of the disk than they may, and pods for
// which the disk does not suffice.
type evictor struct {
	agent      *Agent
	thresholds Thresholds

	mu       sync.Mutex
	lastSeen time.Time // of a disk that is short
}

// run looks until ctx ends.
func (e *evictor) run(ctx context.Context) {
	rest := time.Duration(0)
	for sleep(ctx, max(e.agent.cfg.EvictionPeriod, rest)) {
		rest = measureShare * e.look(ctx)
	}
}

// pressure reports whether the node's condition DiskPressure is true.
func (e *evictor) pressure() bool {
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
func (e *evictor) see() *shortage {
	d, err := e.agent.machine.disk()
	if err != nil {
		e.agent.log.Warn("cannot tell how full the disk is", "err", err)
		return nil
	}
	var found *shortage
	quantity := func(n int64, f resource.Format) *resource.Quantity { return resource.NewQuantity(n, f) }
	if want := e.thresholds.Available.of(d.size); d.available < want {
		found = &shortage{corev1.ResourceEphemeralStorage, quantity(want, resource.BinarySI), quantity(d.available>>10<<10, resource.BinarySI)}
	} else if want := e.thresholds.InodesFree.of(d.inodes); d.inodes > 0 && d.inodesFree < want {
		found = &shortage{pod.Inodes, quantity(want, resource.DecimalSI), quantity(d.inodesFree, resource.DecimalSI)}
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
func (e *evictor) look(ctx context.Context) time.Duration {
	began := time.Now()
	short := e.see()
	var candidates []pod.Candidate
	leaving := false
	for _, w := range e.agent.allWorkers() {
		p, going := w.storage(began, releasePeriods*e.agent.cfg.EvictionPeriod)
		leaving = leaving || going
		if p == nil || short == nil && !pod.StorageLimited(p) {
			continue
		}
		used, err := e.measure(ctx, p)
		if err != nil {
			if ctx.Err() == nil {
				e.agent.log.Warn("cannot tell what a pod takes of the disk", "pod", pod.Describe(p), "err", err)
			}
			continue
		}
		if why := pod.OverStorage(p, used); why != "" {
			w.evict(p, why)
			leaving = true
			continue
		}
		candidates = append(candidates, pod.Candidate{Pod: p, Used: used})
	}
	// One at a time, and what it frees is seen before the next one.
	if short != nil && !leaving {
		if ranked := pod.RankForDisk(candidates, short.resource); len(ranked) > 0 {
			if w := e.agent.worker(ranked[0].Pod.UID); w != nil {
				w.evict(ranked[0].Pod, pod.LowDisk(ranked[0], short.resource, short.threshold, short.available))
			}
		}
	}
	return time.Since(began)
}

func (e *evictor) measure(ctx context.Context, p *corev1.Pod) (pod.Storage, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	containers, layers, err := e.agent.cfg.Runtime.StorageUsage(ctx, string(p.UID))
	if err != nil {
		return pod.Storage{}, err
	}
	volumes, other, files, err := e.agent.volumes.Usage(p)
	return pod.Storage{EmptyDirs: volumes, Containers: containers, Other: other, Inodes: layers + files}, err
}

// storage is the pod, if it may be evicted; going says that it ends anyway, and
// that what it takes will soon be free. A pod may take its time to end and fill
// the disk meanwhile, so that going lasts for one release.
func (w *worker) storage(now time.Time, release time.Duration) (p *corev1.Pod, going bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod == nil || w.stopped {
		return nil, false
	}
	if !w.removed && w.pod.DeletionTimestamp == nil && w.evicted == "" {
		if w.pod.Status.Phase == corev1.PodSucceeded || w.pod.Status.Phase == corev1.PodFailed {
			return nil, false
		}
		return w.pod, false
	}
	if w.ending.IsZero() {
		w.ending = now
	}
	going = now.Sub(w.ending) < release
	if w.evicted != "" {
		return nil, going
	}
	return w.pod, going
}

// evict makes the pod end.
func (w *worker) evict(p *corev1.Pod, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.evicted != "" {
		return
	}
	w.evicted, w.ending = why, time.Now()
	w.agent.events.Event(p, corev1.EventTypeWarning, pod.ReasonEvicted, why)
	w.agent.log.Warn("evicting a pod", "pod", pod.Describe(p), "reason", why)
	w.interrupt()
	w.wakeLocked()
}

// evictedFor says why the pod is evicted; empty if it is not.
func (w *worker) evictedFor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.evicted
}

func newEvictor(a *Agent) *evictor {
	return &evictor{agent: a, thresholds: a.cfg.EvictionHard}
}
