package discovery

import (
	discoveryv1 "k8s.io/api/discovery/v1"

	"headway.dev/manifests/model/kind"
)

var endpointSlice = kind.Define[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](kind.Definition[*discoveryv1.EndpointSlice]{
	Names: kind.Names{
		GroupVersionKind: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Plural:           "endpointslices", Singular: "endpointslice",
		Namespaced: true,
	},
})
