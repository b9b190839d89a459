package nodemetrics

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/podspec"
)

// summary is the part of a node's /stats/summary that matters here.
type summary struct {
	Node struct {
		CPU    *cpu    `json:"cpu"`
		Memory *memory `json:"memory"`
	} `json:"node"`
	Pods []struct {
		PodRef struct {
			UID types.UID `json:"uid"`
		} `json:"podRef"`
		Containers []struct {
			Name      string    `json:"name"`
			StartTime time.Time `json:"startTime"`
			CPU       *cpu      `json:"cpu"`
			Memory    *memory   `json:"memory"`
		} `json:"containers"`
	} `json:"pods"`
}

type cpu struct {
	Time                 time.Time `json:"time"`
	UsageCoreNanoSeconds *uint64   `json:"usageCoreNanoSeconds"`
}

type memory struct {
	WorkingSetBytes *uint64 `json:"workingSetBytes"`
}

// point is what something has used up to a time.
type point struct {
	at time.Time
	// start is when it started; zero if that is not known.
	start time.Time
	nanos uint64
	bytes uint64
}

// sample is what a node said once.
type sample struct {
	node *point
	pods map[types.UID]map[string]point // by container
}

func decode(data []byte) (*sample, error) {
	var s summary
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read the figures of a node: %w", err)
	}
	out := &sample{pods: map[types.UID]map[string]point{}}
	if p, ok := pointOf(s.Node.CPU, s.Node.Memory, time.Time{}); ok {
		out.node = &p
	}
	for _, pod := range s.Pods {
		points := map[string]point{}
		for _, c := range pod.Containers {
			if p, ok := pointOf(c.CPU, c.Memory, c.StartTime); ok {
				points[c.Name] = p
			}
		}
		out.pods[pod.PodRef.UID] = points
	}
	return out, nil
}

func pointOf(c *cpu, m *memory, start time.Time) (p point, ok bool) {
	if c == nil || m == nil || c.UsageCoreNanoSeconds == nil || m.WorkingSetBytes == nil || c.Time.IsZero() {
		return p, false
	}
	return point{at: c.Time, start: start, nanos: *c.UsageCoreNanoSeconds, bytes: *m.WorkingSetBytes}, true
}

// usage is what something uses: CPU as the rate within the window, which ends at at.
type usage struct {
	at       time.Time
	window   time.Duration
	nanocore uint64
	bytes    uint64
}

// minWindow is the shortest time within which a rate says something.
const minWindow = 500 * time.Millisecond

// rate returns what is used, by two points; without the first, or if it is another
// start's, by what was used since the start. ok is false if that says nothing.
func rate(before *point, now point) (u usage, ok bool) {
	from := point{at: now.start}
	switch {
	case before != nil && before.start.Equal(now.start) && before.nanos <= now.nanos:
		from = *before
	case now.start.IsZero():
		return u, false
	}
	window := now.at.Sub(from.at)
	if window < minWindow {
		return u, false
	}
	return usage{at: now.at, window: window, nanocore: uint64(float64(now.nanos-from.nanos) / window.Seconds()), bytes: now.bytes}, true
}

// reading is the newest two samples of a node.
type reading struct {
	before, now *sample
}

func (r reading) node() (usage, bool) {
	if r.now == nil || r.now.node == nil {
		return usage{}, false
	}
	if r.before == nil {
		return rate(nil, *r.now.node)
	}
	return rate(r.before.node, *r.now.node)
}

// pod returns what each container uses; ok is false if that is not known of all that
// the node named.
func (r reading) pod(uid types.UID) (containers map[string]usage, ok bool) {
	if r.now == nil || len(r.now.pods[uid]) == 0 {
		return nil, false
	}
	containers = map[string]usage{}
	for name, now := range r.now.pods[uid] {
		var before *point
		if r.before != nil {
			if p, had := r.before.pods[uid][name]; had {
				before = &p
			}
		}
		u, known := rate(before, now)
		if !known {
			return nil, false
		}
		containers[name] = u
	}
	return containers, true
}

// pretended is what the containers of a pod on a node without a machine use: what they
// request.
func pretended(pod *corev1.Pod, now time.Time) map[string]usage {
	containers := map[string]usage{}
	for _, c := range pod.Spec.Containers {
		requests := c.Resources.Requests
		containers[c.Name] = usage{
			at: now, window: interval,
			nanocore: uint64(max(podspec.Milli(*requests.Cpu()), 0)) * 1e6, bytes: uint64(max(podspec.Whole(*requests.Memory()), 0)),
		}
	}
	return containers
}
