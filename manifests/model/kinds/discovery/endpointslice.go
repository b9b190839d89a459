package discovery

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var endpointSlice = kind.Define[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](kind.Definition[*discoveryv1.EndpointSlice]{
	Names: kind.Names{
		GroupVersionKind: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Plural:           "endpointslices", Singular: "endpointslice",
		Namespaced: true,
	},
	Default: defaultEndpointSlice,
	// An endpoint slice has no spec: everything but the metadata counts, and the
	// labels, which say whose slice it is.
	Lifecycle: kind.Lifecycle[*discoveryv1.EndpointSlice]{
		Changed: func(s, old *discoveryv1.EndpointSlice) bool {
			return s.AddressType != old.AddressType || kind.Differ(s.Endpoints, old.Endpoints) ||
				kind.Differ(s.Ports, old.Ports) || kind.Differ(s.Labels, old.Labels)
		},
	},
	Table: kind.Table[*discoveryv1.EndpointSlice]{
		Columns: column.Define("Name", "AddressType", "Ports", "Endpoints", "Age"),
		Row:     endpointSliceRow,
	},
})

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		fill.Unset(&s.Ports[i].Name, "")
		fill.Unset(&s.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}

func endpointSliceRow(s *discoveryv1.EndpointSlice, now time.Time) []any {
	var ports, addresses []string
	for i, p := range s.Ports {
		switch {
		case i == column.Shown:
			ports = append(ports, fmt.Sprintf("%d more...", len(s.Ports)-column.Shown))
		case i > column.Shown:
		case p.Port != nil:
			ports = append(ports, fmt.Sprint(*p.Port))
		case p.Name != nil && *p.Name != "":
			ports = append(ports, *p.Name)
		}
	}
	count := 0
	for _, e := range s.Endpoints {
		for _, a := range e.Addresses {
			if count++; count <= column.Shown {
				addresses = append(addresses, a)
			}
		}
	}
	list := column.Or(strings.Join(addresses, ","), "<unset>")
	if count > column.Shown {
		list += fmt.Sprintf(" + %d more...", count-column.Shown)
	}
	return []any{s.Name, string(s.AddressType), column.Or(strings.Join(ports, ","), "<unset>"), list, column.Age(s, now)}
}
