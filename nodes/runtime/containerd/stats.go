package containerd

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"headway.dev/nodes/runtime"
)

// Stats implements Interface.
func (r *Runtime) Stats(_ context.Context, podUID string) ([]runtime.Stats, error) {
	r.mu.Lock()
	var running []*container
	known := r.sandboxes[podUID] != nil
	for _, c := range r.containers {
		if c.info.Pod.UID != podUID {
			continue
		}
		known = true
		if c.info.State == runtime.Running {
			running = append(running, c)
		}
	}
	r.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("pod %s: %w", podUID, runtime.ErrNotFound)
	}
	var out []runtime.Stats
	for _, c := range running {
		s, err := r.cgroups.Usage(c.cgroup)
		if err != nil {
			if r.stateOf(c).State != runtime.Running {
				continue // It has just ended.
			}
			return nil, fmt.Errorf("read usage of container %s: %w", c.info.Name, err)
		}
		s.ContainerID, s.Name = c.info.ID, c.info.Name
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b runtime.Stats) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
