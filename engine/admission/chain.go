package admission

import (
	"context"
	"fmt"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/scheme"
)

// Plugin is a member of a chain.
type Plugin struct {
	// Name is the one that the plugin has in Kubernetes.
	Name string
	admission.Interface
	// Requests says that the plugin is asked about requests to the API alone,
	// because the store makes its checks again for whatever is written.
	Requests bool
	// Users says that users determine what the plugin does, so that what it
	// changes has to be valid no longer.
	Users bool
}

// Selective is implemented by plugins that want to see few kinds only. Writes
// that no plugin wants to see cost next to nothing.
type Selective interface {
	// Wants reports whether the plugin has to see writes of a resource, or of
	// that subresource of it. The answer may change with time.
	Wants(resource schema.GroupResource, subresource string) bool
}

// Chain asks its plugins in their order. It implements
// admission.MutationInterface and admission.ValidationInterface.
type Chain struct {
	// Kinds are those of the cluster, set before the chain is used; nil are Headway's
	// own.
	Kinds *scheme.Registry
	// Converter converts custom resources by webhooks, set before the chain is used.
	Converter custom.Converter
	plugins   []Plugin
	coming    atomic.Pointer[coming]
}

var (
	_ admission.MutationInterface   = (*Chain)(nil)
	_ admission.ValidationInterface = (*Chain)(nil)
)

// NewChain returns the chain of plugins.
func NewChain(plugins ...Plugin) *Chain { return &Chain{plugins: plugins} }

// Handles implements admission.Interface.
func (c *Chain) Handles(op admission.Operation) bool {
	for _, p := range c.plugins {
		if p.Handles(op) {
			return true
		}
	}
	return false
}

// Admit implements admission.MutationInterface.
func (c *Chain) Admit(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces) error {
	return c.mutate(ctx, attrs, objects, func(Plugin) bool { return true })
}

// Validate implements admission.ValidationInterface.
func (c *Chain) Validate(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces) error {
	return c.validate(ctx, attrs, objects, func(Plugin) bool { return true })
}

// mutate asks all plugins, and once more if one changed what others had seen
// before, as in Kubernetes.
func (c *Chain) mutate(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces, asked func(Plugin) bool) error {
	if err := c.mutateOnce(ctx, attrs, objects, asked); err != nil {
		return err
	}
	again := attrs.GetReinvocationContext()
	if !again.ShouldReinvoke() {
		return nil
	}
	again.SetIsReinvoke()
	return c.mutateOnce(ctx, attrs, objects, asked)
}

func (c *Chain) mutateOnce(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces, asked func(Plugin) bool) error {
	for _, p := range c.plugins {
		plugin, ok := p.Interface.(admission.MutationInterface)
		if !ok || !asked(p) || !p.concerns(attrs) {
			continue
		}
		if err := p.call(ctx, func() error { return plugin.Admit(ctx, attrs, objects) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *Chain) validate(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces, asked func(Plugin) bool) error {
	for _, p := range c.plugins {
		plugin, ok := p.Interface.(admission.ValidationInterface)
		if !ok || !asked(p) || !p.concerns(attrs) {
			continue
		}
		if err := p.call(ctx, func() error { return plugin.Validate(ctx, attrs, objects) }); err != nil {
			return err
		}
	}
	return nil
}

// inProcess are the plugins that are asked about writes which are no requests.
func inProcess(p Plugin) bool { return !p.Requests }

// wants reports whether a plugin has to see writes inside the process of a
// resource, or a subresource.
func (c *Chain) wants(resource schema.GroupResource, subresource string) bool {
	for _, p := range c.plugins {
		if inProcess(p) && p.wants(resource, subresource) {
			return true
		}
	}
	return false
}

// concerned reports whether a plugin has to see a write inside the process.
func (c *Chain) concerned(attrs admission.Attributes) bool {
	for _, p := range c.plugins {
		if inProcess(p) && p.concerns(attrs) {
			return true
		}
	}
	return false
}

// mutates reports whether a plugin may change what attrs are about, and whether
// one of those that users determine may.
func (c *Chain) mutates(attrs admission.Attributes) (may, users bool) {
	for _, p := range c.plugins {
		if _, ok := p.Interface.(admission.MutationInterface); ok && inProcess(p) && p.concerns(attrs) {
			may, users = true, users || p.Users
		}
	}
	return may, users
}

func (p Plugin) wants(resource schema.GroupResource, subresource string) bool {
	s, ok := p.Interface.(Selective)
	return !ok || s.Wants(resource, subresource)
}

func (p Plugin) concerns(attrs admission.Attributes) bool {
	return p.Handles(attrs.GetOperation()) && p.wants(attrs.GetResource().GroupResource(), attrs.GetSubresource())
}

// call keeps a panic of a plugin from whoever writes: the write is refused, and
// the panic is told and counted.
func (p Plugin) call(ctx context.Context, ask func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			guard.Report(ctx, "admission plugin "+p.Name, value)
			err = apierrors.NewInternalError(fmt.Errorf("admission plugin %q panicked: the log of Headway tells more", p.Name))
		}
	}()
	return ask()
}
