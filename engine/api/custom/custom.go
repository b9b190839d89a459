package custom

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	restclient "k8s.io/client-go/rest"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

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
	// Pods connects to the endpoints of Services; nil: they are dialled.
	Pods configured.Dial
	// Idle is how long what is made of a definition is kept after the last request for
	// one of its resources (default 30s).
	Idle time.Duration
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
	client := restclient.CopyConfig(cfg.Client)
	client.Wrap(func(inner http.RoundTripper) http.RoundTripper { return withSchemas{inner, cfg.Reader} })
	generic.LoopbackClientConfig = client
	// The library asks for the schemas of what it installs, which is nothing.
	generic.OpenAPIV3Config = &common.OpenAPIV3Config{GetDefinitions: func(common.ReferenceCallback) map[string]common.OpenAPIDefinition { return nil }}
	if cfg.Gate != nil {
		generic.AdmissionControl = gatekeeper{generic.AdmissionControl, cfg.Gate, cfg.Reader, cfg.Kinds, cfg.Convert}
	}
	defs := newDefinitions(cfg.Reader, cmp.Or(cfg.Idle, idleAfter))
	options := cfg.Storage
	options.Codec = storage.NewHandover()
	options.Kinds = func(resource schema.GroupResource) (schema.GroupKind, bool) {
		k, ok := cfg.Kinds.ForResource(resource)
		if !ok {
			return schema.GroupKind{}, false
		}
		return k.GroupKind(), true
	}
	services, wrapper := configured.Conversion(cfg.Reader, cfg.Egress, cfg.Pods)
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
	// The server's own handler serves resources by the definitions of its informer, which
	// have no schemas: it serves discovery, and finds the instances of what is deleted.
	informer := server.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer()
	if err := informer.SetTransform(withoutSchemas); err != nil {
		return nil, fmt.Errorf("serve custom resources: %w", err)
	}
	if _, err := informer.AddEventHandler(defs.events()); err != nil {
		return nil, fmt.Errorf("serve custom resources: %w", err)
	}
	handler, err := apiextensions.NewCustomResourceDefinitionHandler(nil, nil, defs, http.NotFoundHandler(), options, generic.AdmissionControl, nil, services, wrapper, 1,
		generic.Authorization.Authorizer, generic.RequestTimeout, time.Duration(generic.MinRequestTimeout)*time.Second, map[string]*spec.Schema{}, generic.MaxRequestBodyBytes)
	if err != nil {
		return nil, fmt.Errorf("serve custom resources: %w", err)
	}
	var serve http.Handler = lists{resources{defs.serving(handler), server.GenericAPIServer.UnprotectedHandler()}}
	if cfg.Gate != nil {
		serve = gated{serve}
	}
	return &Resources{Delegate: front{server.GenericAPIServer, serve}, reader: cfg.Reader}, nil
}

// resources serves what definitions define.
type resources struct{ objects, others http.Handler }

// ServeHTTP implements http.Handler.
func (s resources) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if info, ok := request.RequestInfoFrom(r.Context()); ok && info.IsResourceRequest && info.APIGroup != "" {
		s.objects.ServeHTTP(w, r)
		return
	}
	s.others.ServeHTTP(w, r)
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

// withoutSchemas returns what the informer keeps of a definition.
func withoutSchemas(obj any) (any, error) {
	if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		return custom.Head(crd), nil
	}
	return obj, nil
}
