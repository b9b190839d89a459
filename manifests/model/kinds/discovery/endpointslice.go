package discovery

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var endpointSlice = kind.Define[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](kind.Definition[*discoveryv1.EndpointSlice]{
	Names: kind.Names{
		GroupVersionKind: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Plural:           "endpointslices", Singular: "endpointslice",
		Namespaced: true,
	},
	Order:    kind.Anywhere,
	Volatile: true,
	Default:  defaultEndpointSlice,
	// An endpoint slice has no spec: everything but the metadata counts, and the
	// labels, which say whose slice it is.
	Lifecycle: kind.Lifecycle[*discoveryv1.EndpointSlice]{
		Create: dropTopology,
		Update: func(s, old *discoveryv1.EndpointSlice) {
			if kind.Differ(s.Endpoints, old.Endpoints) {
				dropTopology(s)
			}
		},
		Changed: func(s, old *discoveryv1.EndpointSlice) bool {
			return s.AddressType != old.AddressType || kind.Differ(s.Endpoints, old.Endpoints) ||
				kind.Differ(s.Ports, old.Ports) || kind.Differ(s.Labels, old.Labels)
		},
	},
	Rules: kind.Rules[*discoveryv1.EndpointSlice]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateEndpointSlice,
		Update: validateEndpointSliceUpdate,
	},
	Warnings: sliceWarnings,
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

// dropTopology drops what only an older version of the API can set.
func dropTopology(s *discoveryv1.EndpointSlice) {
	if !slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool { return e.DeprecatedTopology != nil }) {
		return
	}
	s.Endpoints = slices.Clone(s.Endpoints)
	for i := range s.Endpoints {
		s.Endpoints[i].DeprecatedTopology = nil
	}
}

func endpointSliceRow(s *discoveryv1.EndpointSlice, now time.Time) []any {
	var ports, addresses []string
	for _, p := range s.Ports[:min(len(s.Ports), column.Shown)] {
		switch {
		case p.Port != nil:
			ports = append(ports, fmt.Sprint(*p.Port))
		case p.Name != nil:
			ports = append(ports, *p.Name)
		default:
			ports = append(ports, "*")
		}
	}
	numbers := column.Or(strings.Join(ports, ","), "<unset>")
	if more := len(s.Ports) - column.Shown; more > 0 {
		numbers += fmt.Sprintf(" + %d more...", more)
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
	return []any{s.Name, string(s.AddressType), numbers, list, column.Age(s, now)}
}

const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 20000
	maxAddresses      = 100
	maxTopology       = 16
	maxHints          = 8 // of each sort
)

func validateEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := rule.OneOf(s.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	list := field.NewPath("endpoints")
	if len(s.Endpoints) > maxSliceEndpoints {
		return append(errs, field.TooMany(list, len(s.Endpoints), maxSliceEndpoints))
	}
	for i := range s.Endpoints {
		errs = append(errs, validateEndpoint(&s.Endpoints[i], s.AddressType, list.Index(i))...)
	}
	return append(errs, slicePorts(s.Ports, field.NewPath("ports"))...)
}

func validateEndpoint(e *discoveryv1.Endpoint, family discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	list := path.Child("addresses")
	switch n := len(e.Addresses); {
	case n == 0:
		errs = append(errs, field.Required(list, "must contain at least 1 address"))
	case n > maxAddresses:
		errs = append(errs, field.TooMany(list, n, maxAddresses))
	}
	for i, a := range e.Addresses {
		switch at := list.Index(i); family {
		case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
			if family == discoveryv1.AddressTypeIPv6 {
				if bad := validation.IsValidIP(at, a); len(bad) > 0 {
					errs = append(errs, bad...)
					continue
				}
			}
			// That only the list is named here is the API's.
			if netutils.IsIPv4String(a) != (family == discoveryv1.AddressTypeIPv4) && netutils.ParseIPSloppy(a) != nil {
				errs = append(errs, field.Invalid(list, a, fmt.Sprintf("must be an %s address", family)))
			}
			errs = append(errs, rule.Address(a, at)...)
		case discoveryv1.AddressTypeFQDN:
			errs = append(errs, validation.IsFullyQualifiedDomainName(at, a)...)
		}
	}
	if e.Hostname != nil {
		errs = append(errs, rule.DNSLabel(*e.Hostname, path.Child("hostname"))...)
	}
	if e.NodeName != nil {
		errs = append(errs, rule.DNSSubdomain(*e.NodeName, path.Child("nodeName"))...)
	}
	topology := path.Child("deprecatedTopology")
	if n := len(e.DeprecatedTopology); n > maxTopology {
		errs = append(errs, field.TooMany(topology, n, maxTopology))
	}
	errs = append(errs, metavalidation.ValidateLabels(e.DeprecatedTopology, topology)...)
	if e.Hints != nil {
		errs = append(errs, validateHints(e.Hints, path.Child("hints"))...)
	}
	return errs
}

func validateHints(h *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	zones := make([]string, len(h.ForZones))
	for i, zone := range h.ForZones {
		zones[i] = zone.Name
	}
	nodes := make([]string, len(h.ForNodes))
	for i, node := range h.ForNodes {
		nodes[i] = node.Name
	}
	errs := hintNames(zones, validation.IsValidLabelValue, path.Child("forZones"))
	if len(zones) > maxHints {
		return errs
	}
	return append(errs, hintNames(nodes, validation.IsDNS1123Subdomain, path.Child("forNodes"))...)
}

func hintNames(names []string, valid func(string) []string, path *field.Path) field.ErrorList {
	if len(names) > maxHints {
		return field.ErrorList{field.TooMany(path, len(names), maxHints)}
	}
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, name := range names {
		at := path.Index(i).Child("name")
		errs = append(errs, rule.Unique(seen, name, at)...)
		errs = append(errs, rule.Invalid(at, name, valid(name))...)
	}
	return errs
}

func slicePorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	if len(ports) > maxSlicePorts {
		return field.ErrorList{field.TooMany(path, len(ports), maxSlicePorts)}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != nil {
			if *p.Name != "" {
				errs = append(errs, rule.DNSLabel(*p.Name, at.Child("name"))...)
			}
			errs = append(errs, rule.Unique(names, *p.Name, at.Child("name"))...)
		}
		if p.Port != nil {
			errs = append(errs, rule.PortNumber(*p.Port, at.Child("port"))...)
		}
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else {
			errs = append(errs, rule.OneOf(*p.Protocol, at.Child("protocol"), rule.Protocols...)...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, rule.QualifiedName(*p.AppProtocol, at.Child("appProtocol"))...)
		}
	}
	return errs
}

func validateEndpointSliceUpdate(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	return rule.Immutable(s.AddressType, old.AddressType, field.NewPath("addressType"))
}

func sliceWarnings(s, old *discoveryv1.EndpointSlice) []string {
	var told []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		told = append(told, "spec.addressType: FQDN endpoints are deprecated")
	}
	for i, e := range s.Endpoints {
		for j, address := range e.Addresses {
			if s.AddressType != discoveryv1.AddressTypeFQDN {
				told = append(told, validation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), address)...)
			}
		}
	}
	return told
}
