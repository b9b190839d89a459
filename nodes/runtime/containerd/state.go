package containerd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"headway.dev/nodes/runtime"
)

// state is what is known of sandboxes and containers. Its lock is never held during
// a call to containerd or the kernel.
type state struct {
	mu         sync.Mutex
	sandboxes  map[string]*sandbox   // by pod UID
	containers map[string]*container // by ID
}

func newState() *state {
	return &state{sandboxes: map[string]*sandbox{}, containers: map[string]*container{}}
}

// List implements Interface.
func (k *state) List(context.Context) (map[string]runtime.Pod, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[string]runtime.Pod{}
	for uid, s := range k.sandboxes {
		info := s.info()
		out[uid] = runtime.Pod{Sandbox: &info}
	}
	for _, c := range k.containers {
		p := out[c.info.Pod.UID]
		p.Containers = append(p.Containers, c.snapshot())
		out[c.info.Pod.UID] = p
	}
	for _, p := range out {
		sortContainers(p.Containers)
	}
	return out, nil
}

// Get implements Interface.
func (k *state) Get(_ context.Context, podUID string) (runtime.Pod, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var p runtime.Pod
	if s := k.sandboxes[podUID]; s != nil {
		info := s.info()
		p.Sandbox = &info
	}
	for _, c := range k.containers {
		if c.info.Pod.UID == podUID {
			p.Containers = append(p.Containers, c.snapshot())
		}
	}
	sortContainers(p.Containers)
	return p, nil
}

func sortContainers(cs []runtime.Container) {
	slices.SortFunc(cs, func(a, b runtime.Container) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return a.Attempt - b.Attempt
	})
}

// get finds a container.
func (k *state) get(id string) (*container, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %q: %w", id, runtime.ErrNotFound)
	}
	return c, nil
}

// stateOf is what is known of a container now.
func (k *state) stateOf(c *container) runtime.Container {
	k.mu.Lock()
	defer k.mu.Unlock()
	return c.snapshot()
}

// running finds a container that has to run.
func (k *state) running(id string) (*container, error) {
	c, err := k.get(id)
	if err != nil {
		return nil, err
	}
	if k.stateOf(c).State != runtime.Running {
		return nil, fmt.Errorf("container not running (%s)", id)
	}
	return c, nil
}

// sandbox is nil if the pod has none.
func (k *state) sandbox(podUID string) *sandbox {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sandboxes[podUID]
}

// containersOf are the IDs of a pod's containers.
func (k *state) containersOf(uid string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var ids []string
	for id, c := range k.containers {
		if c.info.Pod.UID == uid {
			ids = append(ids, id)
		}
	}
	return ids
}

// everyContainer is all of them.
func (k *state) everyContainer() []*container {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Values(k.containers))
}

// keyedLock is a mutex for each key.
type keyedLock struct {
	mu    sync.Mutex
	locks map[string]*countedMutex
}

type countedMutex struct {
	sync.Mutex
	users int
}

func (k *keyedLock) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*countedMutex{}
	}
	m := k.locks[key]
	if m == nil {
		m = &countedMutex{}
		k.locks[key] = m
	}
	m.users++
	k.mu.Unlock()
	m.Lock()
	return func() {
		m.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if m.users--; m.users == 0 {
			delete(k.locks, key)
		}
	}
}
