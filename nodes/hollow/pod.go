package hollow

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// hollowPod is a pod that a node pretends to run.
type hollowPod struct {
	node *node

	mu            sync.Mutex
	pod           *corev1.Pod // the newest version of the API
	machine       runtime.Pod // what a machine would have of it
	ends          map[string]time.Time
	stoppingSince time.Time
	tornDown      bool
	finished      bool
}

// changed takes a newer version of a pod.
func (f *Fleet) changed(n *node, p *corev1.Pod) {
	f.mu.Lock()
	have := f.pods[p.UID]
	if have == nil {
		have = &hollowPod{node: n, ends: map[string]time.Time{}}
		f.pods[p.UID] = have
	}
	f.mu.Unlock()
	have.mu.Lock()
	have.pod = p
	have.mu.Unlock()
	f.keys.Wake(p.UID)
}

// removed forgets a pod that is gone from the API.
func (f *Fleet) removed(uid types.UID) {
	f.mu.Lock()
	delete(f.pods, uid)
	f.mu.Unlock()
	f.statuses.Forget(uid)
}

// podsOf are the pods of a node.
func (f *Fleet) podsOf(n *node) []types.UID {
	f.mu.Lock()
	defer f.mu.Unlock()
	var uids []types.UID
	for uid, p := range f.pods {
		if p.node == n {
			uids = append(uids, uid)
		}
	}
	return uids
}

func (f *Fleet) look(uid types.UID) time.Duration {
	f.mu.Lock()
	p := f.pods[uid]
	f.mu.Unlock()
	if p == nil {
		return 0
	}
	if on, _ := p.node.power.state(); !on {
		return 0 // the list with which it returns wakes it
	}
	return p.look(f)
}

// look decides and acts until there is nothing more to do, and says when to look
// again; zero is when something changes.
func (h *hollowPod) look(f *Fleet) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range maxRounds {
		if h.finished {
			return 0
		}
		now := time.Now()
		next := h.expire(now)
		plan := pod.Decide(pod.Input{
			Pod: h.pod, Observed: h.machine, HostIPs: []string{h.node.ip}, Probes: h.probes(),
			StoppingSince: h.stoppingSince, TornDown: h.tornDown, Now: now,
		})
		if plan.Stopping && h.stoppingSince.IsZero() {
			h.stoppingSince = now
		}
		for _, step := range plan.Steps {
			h.do(f, step, plan.Status, now)
		}
		if len(plan.Steps) > 0 {
			continue // what the API would be told is older than what was just done
		}
		f.statuses.Set(h.pod, plan.Status, false)
		if next.IsZero() || !plan.Wake.IsZero() && plan.Wake.Before(next) {
			next = plan.Wake
		}
		if next.IsZero() {
			return 0
		}
		return max(time.Until(next), time.Millisecond)
	}
	return time.Second
}

// maxRounds bounds what is done in one look: a pod needs a round for each init
// container, and some more.
const maxRounds = 100

// do does to the machine in memory what an agent does to a real one.
func (h *hollowPod) do(f *Fleet, step pod.Step, status corev1.PodStatus, now time.Time) {
	switch s := step.(type) {
	case pod.Prepare:
		sandbox := &runtime.Sandbox{Pod: pod.Ref(h.pod), Ready: true, CreatedAt: now, Resources: pod.Resources(h.pod)}
		if !h.pod.Spec.HostNetwork {
			sandbox.IPs = []string{f.podAddress()}
		}
		h.machine.Sandbox = sandbox
	case pod.Start:
		h.start(s, f.cfg.RunFor, now)
	case pod.Stop:
		for _, c := range s.Containers {
			if have := h.container(c.ID); have != nil {
				// As a program does that does not handle the signal.
				have.State, have.ExitCode, have.FinishedAt = runtime.Exited, 128+15, now
				if c.Again != "" {
					have.Labels[pod.LabelAgain] = c.Again
				}
			}
		}
	case pod.Remove:
		for i := range h.machine.Containers {
			if h.machine.Containers[i].ID == s.ID {
				h.machine.Containers = append(h.machine.Containers[:i:i], h.machine.Containers[i+1:]...)
				break
			}
		}
	case pod.Resize:
		if h.machine.Sandbox != nil {
			h.machine.Sandbox.Resources = s.Pod
		}
		for _, r := range s.Containers {
			if have := h.container(r.ID); have != nil {
				maps.Copy(have.Labels, r.Labels)
			}
		}
	case pod.Teardown:
		h.machine, h.tornDown = runtime.Pod{}, true
	case pod.Finish:
		f.statuses.Set(h.pod, status, true)
		h.finished = true
	}
}

// start makes a container that runs, or has run if it is an init container.
func (h *hollowPod) start(s pod.Start, runFor time.Duration, now time.Time) {
	name := s.Container.Name
	sum := sha256.Sum256([]byte(string(h.pod.UID) + "/" + name + "/" + strconv.Itoa(s.Attempt)))
	c := runtime.Container{
		ID: hex.EncodeToString(sum[:]), Pod: pod.Ref(h.pod), Name: name, Attempt: s.Attempt, Image: s.Container.Image, ImageID: s.Container.Image,
		State: runtime.Running, CreatedAt: now, StartedAt: now, Labels: s.Labels(),
	}
	switch {
	case h.isInit(name):
		c.State, c.FinishedAt = runtime.Exited, now
	case h.comesToAnEnd(name):
		h.ends[c.ID] = now.Add(runFor)
	}
	h.machine.Containers = append(h.machine.Containers, c)
}

// isInit reports whether a container runs to its end before others start.
func (h *hollowPod) isInit(name string) bool {
	for i := range h.pod.Spec.InitContainers {
		c := &h.pod.Spec.InitContainers[i]
		if c.Name == name {
			return c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways
		}
	}
	return false
}

// comesToAnEnd reports whether a container is meant to end by itself.
func (h *hollowPod) comesToAnEnd(name string) bool {
	if h.pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return false
	}
	for i := range h.pod.Spec.Containers {
		if h.pod.Spec.Containers[i].Name == name {
			return true
		}
	}
	return false // a sidecar
}

// expire ends the containers whose time has come, and returns when the next one does.
func (h *hollowPod) expire(now time.Time) time.Time {
	var next time.Time
	for id, at := range h.ends {
		c := h.container(id)
		switch {
		case c == nil || c.State != runtime.Running:
			delete(h.ends, id)
		case !now.Before(at):
			c.State, c.FinishedAt = runtime.Exited, now
			delete(h.ends, id)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	return next
}

func (h *hollowPod) container(id string) *runtime.Container {
	for i := range h.machine.Containers {
		if h.machine.Containers[i].ID == id {
			return &h.machine.Containers[i]
		}
	}
	return nil
}

// probes are the results of the running containers' probes: all succeed.
func (h *hollowPod) probes() map[string]pod.ProbeResult {
	results := make(map[string]pod.ProbeResult, len(h.machine.Containers))
	for _, c := range h.machine.Containers {
		if c.State == runtime.Running {
			results[c.ID] = pod.ProbeResult{Started: true, Ready: true}
		}
	}
	return results
}

func (h *hollowPod) runs() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.machine.Containers {
		if c.State == runtime.Running {
			return true
		}
	}
	return false
}
