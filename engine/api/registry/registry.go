// Package registry makes the REST storage of every resource and subresource
// from the table of manifests/model/scheme. [Groups] is its entry; a kind gets its
// main resource, its status and its scale from the table alone, and the
// subresources that only one kind has (binding, eviction, log, exec, …) are
// added by name.
//
// The storages are immutable after Groups and safe for concurrent use.
package registry

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"headway.dev/engine/api/fields"
	"headway.dev/engine/api/printers"
	"headway.dev/engine/api/strategy"
	"headway.dev/engine/api/streaming"
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
	Now   func() time.Time
	// Gate is asked about writes; nil lets all of them pass.
	Gate Gate
}

// Group holds the storages of one group version, by resource path
// ("deployments", "deployments/scale").
type Group struct {
	schema.GroupVersion
	Storage map[string]rest.Storage
}

// Groups makes the storages of all kinds, grouped in the order of discovery.
func Groups(opts Options) ([]Group, error) {
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
		if err := addKind(groups[at].Storage, kind, opts); err != nil {
			return nil, fmt.Errorf("set up %s: %w", kind.Resource(), err)
		}
	}
	return groups, nil
}

func addKind(into map[string]rest.Storage, kind *kind.Kind, opts Options) error {
	main, err := newStore(kind, opts)
	if err != nil {
		return err
	}
	resource := Resource{Store: main, kind: kind, try: opts.DryRun, gate: opts.Gate}
	into[kind.Plural] = resource
	if kind.Status {
		into[kind.Plural+"/status"] = newStatus(main, strategy.Status{Main: strategy.New(kind, opts.Now)})
	}
	if kind.Scale {
		into[kind.Plural+"/scale"] = newScale(resource)
	}
	switch kind.GroupKind() {
	case schema.GroupKind{Kind: "Namespace"}:
		into[kind.Plural] = newNamespaces(resource, opts.Now)
		into[kind.Plural+"/finalize"] = newStatus(main, strategy.Finalize{Main: strategy.New(kind, opts.Now)})
	case schema.GroupKind{Kind: "ServiceAccount"}:
		into[kind.Plural+"/token"] = AccountToken{opts.Reader, opts.Tokens}
	case schema.GroupKind{Kind: "Pod"}:
		into[kind.Plural+"/binding"] = Binding{main}
		into["bindings"] = Bindings{Binding{main}}
		into[kind.Plural+"/eviction"] = Eviction{main}
		for name, storage := range streaming.Subresources(opts.Reader, opts.Nodes) {
			into[kind.Plural+"/"+name] = storage
		}
	}
	return nil
}

// eventTTL is how long an event is kept, as kube-apiserver's --event-ttl has it.
const eventTTL = time.Hour

func newStore(kind *kind.Kind, opts Options) (*genericregistry.Store, error) {
	main := strategy.New(kind, opts.Now)
	var create rest.RESTCreateStrategy = main
	var update rest.RESTUpdateStrategy = main
	var remove rest.RESTDeleteStrategy = main
	if kind.GroupKind() == (schema.GroupKind{Kind: "Pod"}) {
		remove = strategy.Graceful{Main: main}
	}
	s := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return kind.New() },
		NewListFunc:               kind.NewList,
		DefaultQualifiedResource:  kind.Resource().GroupResource(),
		SingularQualifiedResource: schema.GroupResource{Group: kind.Group, Resource: kind.Singular},
		CreateStrategy:            create,
		UpdateStrategy:            update,
		DeleteStrategy:            remove,
		ResetFieldsStrategy:       main,
		TableConvertor:            printers.For(kind),
		// Kubernetes answers the deletion of these with the object itself.
		ReturnDeletedObject: returnsDeleted[kind.GroupKind()],
	}
	if kind.Kind == "Event" {
		s.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return uint64(eventTTL / time.Second), nil }
	}
	err := s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: opts.REST, AttrFunc: fields.Attrs(kind.GroupKind(), kind.Namespaced)})
	return s, err
}

var returnsDeleted = map[schema.GroupKind]bool{
	{Kind: "Pod"}:            true,
	{Kind: "Service"}:        true,
	{Kind: "ServiceAccount"}: true,
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
