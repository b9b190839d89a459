package hollow

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
)

// feed is one watch for all nodes of a fleet: it hands each node what is its own.
// It is the store of the watch's reflector.
type feed struct {
	// node names the node that an object is for, of those of the fleet; "" is none.
	node func(obj any) string
	// fresh says that a node which begins to follow is to take what is there for
	// the whole of it, and as new as a list.
	fresh bool

	mu        sync.Mutex
	synced    bool
	objects   map[string]map[types.UID]any
	followers map[string]cache.ReflectorStore
}

func newFeed(fresh bool, node func(obj any) string) *feed {
	return &feed{node: node, fresh: fresh, objects: map[string]map[types.UID]any{}, followers: map[string]cache.ReflectorStore{}}
}

// follow keeps store equal to what there is for a node, until ctx ends.
func (f *feed) follow(ctx context.Context, name string, store cache.ReflectorStore) {
	if err := f.begin(name, store); err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "A hollow node does not take what there is", "node", name)
	}
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers[name] == store {
		delete(f.followers, name)
	}
}

// begin makes store a follower, and gives it what is there.
func (f *feed) begin(name string, store cache.ReflectorStore) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followers[name] = store
	if !f.synced {
		return nil // Replace comes
	}
	// Nothing there may also mean that it was there and is gone.
	if have := f.objects[name]; f.fresh || len(have) == 0 {
		return store.Replace(values(have), "")
	}
	for _, obj := range f.objects[name] {
		if err := store.Add(obj); err != nil {
			return err
		}
	}
	return nil
}

func values(objects map[types.UID]any) []any {
	list := make([]any, 0, len(objects))
	for _, obj := range objects {
		list = append(list, obj)
	}
	return list
}

// keep is called with mu.
func (f *feed) keep(obj any) (name string, err error) {
	o, err := meta.Accessor(obj)
	if err != nil {
		return "", err
	}
	if len(o.GetManagedFields()) > 0 {
		o.SetManagedFields(nil) // they are most of an object, and no node reads them
	}
	if name = f.node(obj); name == "" {
		return "", nil
	}
	if f.objects[name] == nil {
		f.objects[name] = map[types.UID]any{}
	}
	f.objects[name][o.GetUID()] = obj
	return name, nil
}

// Add implements cache.ReflectorStore.
func (f *feed) Add(obj any) error { return f.tell(obj, cache.ReflectorStore.Add) }

// Update implements cache.ReflectorStore.
func (f *feed) Update(obj any) error { return f.tell(obj, cache.ReflectorStore.Update) }

// Resync implements cache.ReflectorStore.
func (f *feed) Resync() error { return nil }

func (f *feed) tell(obj any, how func(cache.ReflectorStore, any) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name, err := f.keep(obj)
	if err != nil {
		return err
	}
	if follower := f.followers[name]; follower != nil {
		return how(follower, obj)
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (f *feed) Delete(obj any) error {
	o, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := f.node(obj)
	delete(f.objects[name], o.GetUID())
	if len(f.objects[name]) == 0 {
		delete(f.objects, name)
	}
	if follower := f.followers[name]; follower != nil {
		return follower.Delete(obj)
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (f *feed) Replace(list []any, version string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced = true
	clear(f.objects)
	for _, obj := range list {
		if _, err := f.keep(obj); err != nil {
			return err
		}
	}
	for name, follower := range f.followers {
		if err := follower.Replace(values(f.objects[name]), version); err != nil {
			return err
		}
	}
	return nil
}

// hollowNodes are the nodes with the label of hollow ones, other fleets' too.
type hollowNodes struct{ nodes corev1client.NodeInterface }

// List lists them.
func (h hollowNodes) List(ctx context.Context, opts metav1.ListOptions) (*corev1.NodeList, error) {
	opts.LabelSelector = Label + "=true"
	return h.nodes.List(ctx, opts)
}

// Watch watches them.
func (h hollowNodes) Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	opts.LabelSelector = Label + "=true"
	return h.nodes.Watch(ctx, opts)
}
