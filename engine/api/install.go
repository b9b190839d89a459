package api

import (
	"fmt"
	"maps"
	"slices"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	aggregated "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"headway.dev/engine/api/codec"
	"headway.dev/engine/api/openapi"
	"headway.dev/engine/api/registry"
	"headway.dev/manifests/model/scheme"
)

// minWatch is how long a watch lasts at least that gives no timeout itself.
const minWatch = 30 * time.Minute

// install serves the groups and their discovery. The library's own
// InstallAPIGroup wants OpenAPI models that are built at every start.
func (s *Server) install(groups []registry.Group, auth authorizer.Authorizer) error {
	container := s.generic.Handler.GoRestfulContainer
	// The versions of a group, in the order of groups.
	versions := map[string][]metav1.GroupVersionForDiscovery{}
	for _, group := range groups {
		s.generic.RegisterDestroyFunc(func() {
			for _, storage := range group.Storage {
				storage.Destroy()
			}
		})
		root := genericapiserver.APIGroupPrefix
		if group.Group == "" {
			root = genericapiserver.DefaultLegacyAPIPrefix
		}
		resources, err := s.installGroup(root, group, auth)
		if err != nil {
			return fmt.Errorf("%s: %w", group.GroupVersion, err)
		}
		manager := s.generic.AggregatedDiscoveryGroupManager
		if group.Group == "" {
			manager = s.generic.AggregatedLegacyDiscoveryGroupManager
		}
		manager.AddGroupVersion(group.Group, apidiscoveryv2.APIVersionDiscovery{
			Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Version: group.Version, Resources: resources,
		})
		versions[group.Group] = append(versions[group.Group], metav1.GroupVersionForDiscovery{
			GroupVersion: group.String(), Version: group.Version,
		})
	}
	serializer := s.generic.Serializer
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		if name == "" {
			continue
		}
		group := metav1.APIGroup{Name: name, Versions: versions[name], PreferredVersion: versions[name][0]}
		s.generic.DiscoveryGroupManager.AddGroup(group)
		container.Add(discovery.NewAPIGroupHandler(serializer, group).WebService())
	}
	legacy := discovery.NewLegacyRootAPIHandler(discovery.DefaultAddresses{DefaultAddress: s.generic.ExternalAddress}, serializer, genericapiserver.DefaultLegacyAPIPrefix)
	manager := s.generic.AggregatedLegacyDiscoveryGroupManager
	container.Add(aggregated.WrapAggregatedDiscoveryToHandler(legacy, manager, manager).GenerateWebService("/api", metav1.APIVersions{}))
	return nil
}

func (s *Server) installGroup(root string, group registry.Group, auth authorizer.Authorizer) ([]apidiscoveryv2.APIResourceDiscovery, error) {
	served := map[string][]string{}
	for resource := range group.Storage {
		served[resource] = []string{group.String()}
	}
	convertor := codec.Convertor{Scheme: scheme.Scheme}
	v := &endpoints.APIGroupVersion{
		Storage:                     group.Storage,
		Root:                        root,
		GroupVersion:                group.GroupVersion,
		AllServedVersionsByResource: served,
		OptionsExternalVersion:      &schema.GroupVersion{Version: "v1"},
		Serializer:                  codec.ForGroup(group.GroupVersion),
		ParameterCodec:              codec.Parameters{ParameterCodec: scheme.ParameterCodec},
		Typer:                       scheme.Scheme,
		Creater:                     scheme.Scheme,
		Convertor:                   convertor,
		UnsafeConvertor:             convertor,
		ConvertabilityChecker:       scheme.Scheme,
		Defaulter:                   codec.Defaulter{},
		Namer:                       runtime.Namer(meta.NewAccessor()),
		TypeConverter:               openapi.TypeConverter(),
		EquivalentResourceRegistry:  s.generic.EquivalentResourceRegistry,
		Authorizer:                  auth,
		Admit:                       s.admission,
		MinRequestTimeout:           minWatch,
		MaxRequestBodyBytes:         maxBody,
	}
	resources, _, err := v.InstallREST(s.generic.Handler.GoRestfulContainer)
	return resources, err
}

// ownGroup reports whether a group is one of groups.
func ownGroup(groups []registry.Group) func(name string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(groups, func(g registry.Group) bool { return g.Group == name })
	}
}

// versionsOf are the group versions of groups.
func versionsOf(groups []registry.Group) []schema.GroupVersion {
	versions := make([]schema.GroupVersion, len(groups))
	for i, g := range groups {
		versions[i] = g.GroupVersion
	}
	return versions
}

// maxBody bounds the bodies of requests, as kube-apiserver does.
const maxBody = 3 << 20
