package configured

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

func registration(kind string) schema.GroupKind {
	return schema.GroupKind{Group: admissionregistrationv1.GroupName, Kind: kind}
}

var (
	mutatingWebhooksKind   = registration("MutatingWebhookConfiguration")
	validatingWebhooksKind = registration("ValidatingWebhookConfiguration")
	mutatingPolicyKind     = registration("MutatingAdmissionPolicy")
	mutatingBindingKind    = registration("MutatingAdmissionPolicyBinding")
	validatingPolicyKind   = registration("ValidatingAdmissionPolicy")
	validatingBindingKind  = registration("ValidatingAdmissionPolicyBinding")
)

// Configurations are the webhooks and policies that are stored. The zero value
// has none.
type Configurations struct {
	mu    sync.Mutex
	kinds map[schema.GroupKind]map[string]object.Object
	// versions count the changes of each kind.
	versions [6]atomic.Uint64
}

func index(kind schema.GroupKind) int {
	return slices.Index([]schema.GroupKind{
		mutatingWebhooksKind, validatingWebhooksKind, mutatingPolicyKind, mutatingBindingKind, validatingPolicyKind, validatingBindingKind,
	}, kind)
}

// Observe follows the store (store.Options.Observe).
func (c *Configurations) Observe(events []object.Event) {
	for _, ev := range events {
		if ev.Key.Group != admissionregistrationv1.GroupName {
			continue
		}
		i := index(ev.Key.GroupKind)
		if i < 0 {
			continue
		}
		c.mu.Lock()
		if c.kinds == nil {
			c.kinds = map[schema.GroupKind]map[string]object.Object{}
		}
		if c.kinds[ev.Key.GroupKind] == nil {
			c.kinds[ev.Key.GroupKind] = map[string]object.Object{}
		}
		if ev.Type == object.Deleted {
			delete(c.kinds[ev.Key.GroupKind], ev.Key.Name)
		} else {
			c.kinds[ev.Key.GroupKind][ev.Key.Name] = ev.Object
		}
		c.versions[i].Add(1)
		c.mu.Unlock()
	}
}

// version of kinds changes with each of their objects.
func (c *Configurations) version(kinds ...schema.GroupKind) uint64 {
	var sum uint64
	for _, kind := range kinds {
		sum += c.versions[index(kind)].Load()
	}
	return sum
}

// snapshot has the objects of some kinds at one version.
type snapshot map[schema.GroupKind][]object.Object

func (c *Configurations) snapshot(kinds ...schema.GroupKind) (snapshot, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := make(snapshot, len(kinds))
	for _, kind := range kinds {
		taken[kind] = slices.Collect(maps.Values(c.kinds[kind]))
	}
	return taken, c.version(kinds...)
}

// list returns the objects of a kind in the order of their names.
func list[T object.Object](s snapshot, kind schema.GroupKind) []T {
	objs := slices.SortedFunc(slices.Values(s[kind]), func(a, b object.Object) int { return cmp.Compare(a.GetName(), b.GetName()) })
	typed := make([]T, 0, len(objs))
	for _, obj := range objs {
		if t, ok := obj.(T); ok {
			typed = append(typed, t)
		}
	}
	return typed
}

// state is what a plugin has of its configurations, made once for each version of
// them.
type state[T any] struct {
	configurations *Configurations
	kinds          []schema.GroupKind
	make           func(snapshot) T

	mu      sync.Mutex
	current atomic.Pointer[versioned[T]]
}

type versioned[T any] struct {
	version uint64
	value   T
}

func (s *state[T]) get() T {
	if v := s.current.Load(); v != nil && v.version == s.configurations.version(s.kinds...) {
		return v.value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The store's writer does not wait for what is made of it.
	taken, version := s.configurations.snapshot(s.kinds...)
	if v := s.current.Load(); v != nil && v.version == version {
		return v.value
	}
	v := &versioned[T]{version, s.make(taken)}
	s.current.Store(v)
	return v.value
}

// targets are the resources that some configurations are about.
type targets []admissionregistrationv1.Rule

// concern reports whether a rule is about a resource, or about a subresource of
// it, whatever the version, the operation and the scope.
func (t targets) concern(resource schema.GroupResource, subresource string) bool {
	return slices.ContainsFunc(t, func(r admissionregistrationv1.Rule) bool {
		return named(r.APIGroups, resource.Group) && slices.ContainsFunc(r.Resources, func(name string) bool {
			res, sub, _ := strings.Cut(name, "/")
			return (res == "*" || res == resource.Resource) && (sub == "*" || sub == subresource)
		})
	})
}

func named(list []string, value string) bool {
	return slices.Contains(list, value) || slices.Contains(list, "*")
}
