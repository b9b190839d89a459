package custom

import (
	"fmt"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	restclient "k8s.io/client-go/rest"
	"k8s.io/kube-openapi/pkg/common"

	"headway.dev/engine/admission/configured"
	"headway.dev/engine/api/registry"
	"headway.dev/engine/api/storage"
	"headway.dev/manifests/egress"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Config of New.
type Config struct {
	// Generic is the configuration of the server whose delegate is made.
	Generic *genericapiserver.Config
	Storage storage.Options
	Reader  Store
	Kinds   *scheme.Registry
	// Client reaches the server in process, as the server itself.
	Client *restclient.Config
	// Egress says which addresses conversion webhooks must not have; nil denies none.
	Egress *egress.Policy
	// Gate, if set, is asked about users' writes, in the version that is stored: Convert
	// asks the webhooks that convert.
	Gate    registry.Gate
	Convert custom.Converter
}

// Store is what is read of the store.
type Store interface {
	object.Reader
	Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error)
}

// Resources serves the custom resources of one server.
type Resources struct {
	Delegate genericapiserver.DelegationTarget
	reader   Store
}

// New makes the delegate. It starts with the hooks of the server that gets it as
// delegate, and ends with that server.
func New(cfg Config) (*Resources, error) {
	generic := *cfg.Generic
	generic.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	// The server in front has the filters, and the definitions.
	generic.BuildHandlerChainFunc = func(handler http.Handler, _ *genericapiserver.Config) http.Handler { return handler }
	generic.MergedResourceConfig = serverstorage.NewResourceConfig()
	generic.Serializer = apiextensions.Codecs
	generic.LoopbackClientConfig = cfg.Client
	// The library asks for the schemas of what it installs, which is nothing.
	generic.OpenAPIV3Config = &common.OpenAPIV3Config{GetDefinitions: func(common.ReferenceCallback) map[string]common.OpenAPIDefinition { return nil }}
	if cfg.Gate != nil {
		generic.AdmissionControl = gatekeeper{generic.AdmissionControl, cfg.Gate, cfg.Reader, cfg.Kinds, cfg.Convert}
	}
	options := cfg.Storage
	options.Codec = unstructured.UnstructuredJSONScheme
	options.Kinds = func(resource schema.GroupResource) (schema.GroupKind, bool) {
		k, ok := cfg.Kinds.ForResource(resource)
		if !ok {
			return schema.GroupKind{}, false
		}
		return k.GroupKind(), true
	}
	services, wrapper := configured.Conversion(cfg.Reader, cfg.Egress)
	c := apiextensions.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: generic},
		ExtraConfig: apiextensions.ExtraConfig{
			CRDRESTOptionsGetter: options, MasterCount: 1, ServiceResolver: services, AuthResolverWrapper: wrapper,
		},
	}
	server, err := c.Complete().New(genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("serve custom resources: %w", err)
	}
	var handler http.Handler = lists{server.GenericAPIServer.UnprotectedHandler()}
	if cfg.Gate != nil {
		handler = gated{handler}
	}
	r := &Resources{Delegate: front{server.GenericAPIServer, handler}, reader: cfg.Reader}
	informer := server.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer()
	if err := informer.SetTransform(r.shared); err != nil {
		return nil, fmt.Errorf("serve custom resources: %w", err)
	}
	return r, nil
}

// front is the library's server with a handler before its own.
type front struct {
	genericapiserver.DelegationTarget
	handler http.Handler
}

// UnprotectedHandler implements genericapiserver.DelegationTarget.
func (f front) UnprotectedHandler() http.Handler { return f.handler }

// definition is the kind of definitions.
var definition = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition").GroupKind()

// shared returns the store's own object for one that the client decoded, so that
// each definition is in memory once. Nobody changes what is in a cache.
func (r *Resources) shared(obj any) (any, error) {
	crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return obj, nil
	}
	stored, ok := r.reader.Get(object.Key{GroupKind: definition, Name: crd.Name}).(*apiextensionsv1.CustomResourceDefinition)
	if ok && stored.ResourceVersion == crd.ResourceVersion {
		return stored, nil
	}
	return crd, nil
}
