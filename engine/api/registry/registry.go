// Package registry makes the REST storage of every resource and subresource
// from the kinds of manifests/model/scheme. [Groups] is its entry; a kind gets its
// main resource, its status, its scale and its finalize from its definition alone,
// and the subresources that only few kinds have (binding, eviction, log, exec, …)
// by their names.
//
// The storages are immutable after Groups and safe for concurrent use.
package registry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"headway.dev/engine/api/fields"
	"headway.dev/engine/api/printers"
	"headway.dev/engine/api/strategy"
	"headway.dev/engine/api/streaming"
	"headway.dev/engine/api/view"
	"headway.dev/engine/satoken"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Options of Groups.
type Options struct {
	REST   generic.RESTOptionsGetter
	Reader object.Reader
	// DryRun tries a transaction, with all checks of the point of commit.
	DryRun func(context.Context, change.Tx) ([]store.Result, error)
	// Tokens signs the tokens of service accounts.
	Tokens *satoken.Issuer
	// Nodes reaches the nodes' streaming servers.
	Nodes *streaming.Nodes
	// Authorizer decides about connections to nodes.
	Authorizer authorizer.UnconditionalAuthorizer
	Now        func() time.Time
	// Gate is asked about writes; nil admits all of them.
	Gate Gate
}

// Group holds the storages of one group version, by resource path
// ("deployments", "deployments/scale").
type Group struct {
	schema.GroupVersion
	Storage map[string]rest.Storage
}

// Groups returns the storages of all kinds, grouped in the order of discovery.
func Groups(opts Options) ([]Group, error) {
	k, ok := scheme.ForKind(budgetKind)
	if !ok {
		return nil, fmt.Errorf("set up evictions: %s is not served", budgetKind)
	}
	budgets, err := newStore(k, opts)
	if err != nil {
		return nil, fmt.Errorf("set up evictions: %w", err)
	}
	var groups []Group
	index := map[schema.GroupVersion]int{}
	for _, kind := range scheme.Kinds() {
		gv := kind.GroupVersion()
		at, ok := index[gv]
		if !ok {
			at = len(groups)
			index[gv] = at
			groups = append(groups, Group{GroupVersion: gv, Storage: map[string]rest.Storage{}})
		}
		if err := addKind(groups[at].Storage, kind, budgets, opts); err != nil {
			return nil, fmt.Errorf("set up %s: %w", kind.Resource(), err)
		}
	}
	for _, v := range scheme.Views() {
		stored, ok := groups[index[v.Of.GroupVersion()]].Storage[v.Of.Plural].(Resource)
		if !ok {
			return nil, fmt.Errorf("set up %s: %s is not stored as other kinds are", v.Resource(), v.Of.Resource())
		}
		groups = append(groups, Group{GroupVersion: v.GroupVersion(), Storage: map[string]rest.Storage{v.Plural: view.New(v, under(v, stored, opts))}})
	}
	for _, o := range scheme.Older() {
		stored := groups[index[o.Of.GroupVersion()]].Storage
		older := Group{GroupVersion: o.GroupVersion(), Storage: map[string]rest.Storage{}}
		for path, storage := range stored {
			if path == o.Plural || strings.HasPrefix(path, o.Plural+"/") {
				older.Storage[path] = storage
			}
		}
		groups = append(groups, older)
	}
	return groups, nil
}

// under is the storage of a kind with the rules of a view.
func under(v *kind.View, stored Resource, opts Options) Resource {
	rules := strategy.View{Main: strategy.New(v.Of, opts.Now), Of: v}
	store := *stored.Store
	store.CreateStrategy, store.UpdateStrategy = rules, rules
	stored.Store = &store
	return stored
}

func addKind(into map[string]rest.Storage, k *kind.Kind, budgets *genericregistry.Store, opts Options) error {
	main, err := newStore(k, opts)
	if err != nil {
		return err
	}
	resource := Resource{Store: main, kind: k, try: opts.DryRun, gate: opts.Gate}
	into[k.Plural] = resource
	if k.Status {
		into[k.Plural+"/status"] = newStatus(main, strategy.Status{Main: strategy.New(k, opts.Now)})
	}
	if k.Scale != nil {
		into[k.Plural+"/scale"] = newScale(resource)
	}
	marked := Marked{resource, opts.Now}
	if k.Lifecycle.MarkDeleted != nil {
		into[k.Plural] = marked
	}
	if k.Lifecycle.Finalize != nil {
		into[k.Plural] = newNamespaces(marked)
		into[k.Plural+"/finalize"] = replaced{newStatus(main, strategy.Finalize{Main: strategy.New(k, opts.Now)})}
	}
	for _, part := range k.Parts {
		into[k.Plural+"/"+part.Name] = newPart(resource, part.Declared, strategy.NewPart(strategy.New(k, opts.Now), part))
	}
	few := subresources(resource, budgets, opts)
	for _, name := range k.Subresources {
		storage, ok := few[name]
		if !ok {
			return fmt.Errorf("nothing serves the subresource %s", name)
		}
		into[k.Plural+"/"+name] = storage
		if binding, ok := storage.(Binding); ok {
			into["bindings"] = Bindings{binding} // the older form, a resource of its own
		}
	}
	return nil
}

// subresources are those that only few kinds have (kind.Definition.Subresources),
// by name.
func subresources(resource Resource, budgets *genericregistry.Store, opts Options) map[string]rest.Storage {
	few := streaming.Subresources(opts.Reader, opts.Nodes, opts.Authorizer)
	few["binding"] = Binding{resource.Store}
	few["eviction"] = newEviction(resource, budgets, opts.Reader, opts.Now)
	few["token"] = AccountToken{opts.Reader, opts.Tokens}
	few["proxy"] = streaming.NewProxy(resource.kind.Kind, opts.Reader, opts.Nodes)
	few["approval"] = newStatus(resource.Store, strategy.Approval{Main: strategy.New(resource.kind, opts.Now)})
	return few
}

func newStore(k *kind.Kind, opts Options) (*genericregistry.Store, error) {
	main := strategy.New(k, opts.Now)
	var create rest.RESTCreateStrategy = main
	var update rest.RESTUpdateStrategy = main
	var remove rest.RESTDeleteStrategy = main
	if k.Lifecycle.Grace != nil {
		remove = strategy.Graceful{Main: main}
	}
	s := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return k.New() },
		NewListFunc:               k.NewList,
		DefaultQualifiedResource:  k.Resource().GroupResource(),
		SingularQualifiedResource: schema.GroupResource{Group: k.Group, Resource: k.Singular},
		CreateStrategy:            create,
		UpdateStrategy:            update,
		DeleteStrategy:            remove,
		ResetFieldsStrategy:       main,
		TableConvertor:            printers.For(k),
		ReturnDeletedObject:       k.REST.ReturnsDeleted,
	}
	if ttl := k.REST.TTL; ttl > 0 {
		s.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return uint64(ttl / time.Second), nil }
	}
	err := s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: opts.REST, AttrFunc: fields.Attrs(k)})
	return s, err
}

// Resource is the REST storage of a kind's main resource.
type Resource struct {
	*genericregistry.Store
	kind *kind.Kind
	try  func(context.Context, change.Tx) ([]store.Result, error)
	gate Gate
}

// ShortNames implements rest.ShortNamesProvider.
func (r Resource) ShortNames() []string { return r.kind.ShortNames }

// Categories implements rest.CategoriesProvider.
func (r Resource) Categories() []string { return r.kind.Categories }
