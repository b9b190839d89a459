package runtime

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Stats implements Interface.
func (r *Runtime) Stats(_ context.Context, podUID string) ([]Stats, error) {
	r.mu.Lock()
	var running []*container
	known := r.sandboxes[podUID] != nil
	for _, c := range r.containers {
		if c.info.Pod.UID != podUID {
			continue
		}
		known = true
		if c.info.State == Running {
			running = append(running, c)
		}
	}
	r.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("pod %s: %w", podUID, ErrNotFound)
	}
	var out []Stats
	for _, c := range running {
		s, err := r.cgroups.usage(c.cgroup)
		if err != nil {
			if r.stateOf(c).State != Running {
				continue // It has just ended.
			}
			return nil, fmt.Errorf("read usage of container %s: %w", c.info.Name, err)
		}
		s.ContainerID, s.Name = c.info.ID, c.info.Name
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Stats) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
