package objects

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/manifests/guard"
)

// Cache contains the ConfigMaps and Secrets that pods of this node use, and no
// others: each is watched separately from its first use until its last pod is
// gone. An immutable one is not watched.
type Cache struct {
	ctx     context.Context //nolint:containedctx // the life of the watches
	client  kubernetes.Interface
	changed func(types.UID)
	wg      sync.WaitGroup

	mu      sync.Mutex
	entries map[objectKey]*object
}

// objectKey tells objects apart. only narrows them to those of a type.
type objectKey struct {
	resource, namespace, name string
	only                      corev1.SecretType
}

// object is one watched object; it is the reflector's store.
type object struct {
	owner  *Cache
	cancel context.CancelFunc
	synced chan struct{}
	once   sync.Once

	mu    sync.Mutex
	value any // nil while it does not exist
	users map[types.UID]bool
}

// objectWait bounds how long a pod waits for the first answer of the API.
const objectWait = 10 * time.Second

// NewCache returns a cache whose watches end with ctx. It calls changed when an object
// of a pod has changed.
func NewCache(ctx context.Context, client kubernetes.Interface, changed func(types.UID)) *Cache {
	return &Cache{ctx: ctx, client: client, changed: changed, entries: map[objectKey]*object{}}
}

// ConfigMap returns the newest version, and subscribes user to changes.
func (o *Cache) ConfigMap(ctx context.Context, user types.UID, namespace, name string) (*corev1.ConfigMap, error) {
	value, err := o.get(ctx, user, objectKey{resource: "configmaps", namespace: namespace, name: name})
	if err != nil {
		return nil, err
	}
	return value.(*corev1.ConfigMap), nil
}

// Secret returns the newest version, and subscribes user to changes.
func (o *Cache) Secret(ctx context.Context, user types.UID, namespace, name string) (*corev1.Secret, error) {
	return o.secret(ctx, user, objectKey{resource: "secrets", namespace: namespace, name: name})
}

// Certificate is as Secret, of the Secrets of the type kubernetes.io/tls: it asks for no
// other, as a node may not read any for an Ingress.
func (o *Cache) Certificate(ctx context.Context, user types.UID, namespace, name string) (*corev1.Secret, error) {
	return o.secret(ctx, user, objectKey{resource: "secrets", namespace: namespace, name: name, only: corev1.SecretTypeTLS})
}

func (o *Cache) secret(ctx context.Context, user types.UID, key objectKey) (*corev1.Secret, error) {
	value, err := o.get(ctx, user, key)
	if err != nil {
		return nil, err
	}
	return value.(*corev1.Secret), nil
}

// get returns the newest version, and keeps user informed about changes.
func (o *Cache) get(ctx context.Context, user types.UID, key objectKey) (any, error) {
	singular := key.resource[:len(key.resource)-1]
	e := o.entry(user, key)
	select {
	case <-e.synced:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(objectWait):
		return nil, fmt.Errorf("failed to sync %s cache: timed out waiting for the condition", singular)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.value == nil {
		return nil, apierrors.NewNotFound(corev1.Resource(singular), key.name)
	}
	return e.value, nil
}

func (o *Cache) entry(user types.UID, key objectKey) *object {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.entries[key]; e != nil {
		e.mu.Lock()
		e.users[user] = true
		e.mu.Unlock()
		return e
	}
	ctx, cancel := context.WithCancel(o.ctx)
	e := &object{owner: o, cancel: cancel, synced: make(chan struct{}), users: map[types.UID]bool{user: true}}
	o.entries[key] = e
	selected := fields.Set{"metadata.name": key.name}
	if key.only != "" {
		selected["type"] = string(key.only)
	}
	selector := selected.AsSelector().String()
	o.wg.Go(func() {
		guard.Do(ctx, "watch "+key.resource, func() {
			if key.resource == "secrets" {
				Follow(ctx, o.client, o.client.CoreV1().Secrets(key.namespace), selector, &corev1.Secret{}, e, "node-secrets")
			} else {
				Follow(ctx, o.client, o.client.CoreV1().ConfigMaps(key.namespace), selector, &corev1.ConfigMap{}, e, "node-configmaps")
			}
		})
	})
	return e
}

// Release forgets the objects of a pod that is gone.
func (o *Cache) Release(user types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, e := range o.entries {
		e.mu.Lock()
		delete(e.users, user)
		unused := len(e.users) == 0
		e.mu.Unlock()
		if unused {
			e.cancel()
			delete(o.entries, key)
		}
	}
}

// Stop waits for the watches; their context has ended.
func (o *Cache) Stop() { o.wg.Wait() }

func (e *object) Add(obj any) error    { e.set(obj); return nil }
func (e *object) Update(obj any) error { e.set(obj); return nil }
func (e *object) Delete(any) error     { e.set(nil); return nil }
func (e *object) Resync() error        { return nil }

func (e *object) Replace(list []any, _ string) error {
	if len(list) == 0 {
		e.set(nil)
	} else {
		e.set(list[0])
	}
	e.once.Do(func() { close(e.synced) })
	return nil
}

func (e *object) set(value any) {
	e.mu.Lock()
	e.value = value
	users := make([]types.UID, 0, len(e.users))
	for uid := range e.users {
		users = append(users, uid)
	}
	e.mu.Unlock()
	select {
	case <-e.synced:
	default:
		return // nobody has seen anything yet
	}
	if immutable(value) {
		e.cancel() // it cannot change; its deletion changes nothing for those who have it
	}
	for _, uid := range users {
		e.owner.changed(uid)
	}
}

func immutable(value any) bool {
	switch v := value.(type) {
	case *corev1.ConfigMap:
		return v.Immutable != nil && *v.Immutable
	case *corev1.Secret:
		return v.Immutable != nil && *v.Immutable
	}
	return false
}
