package validation

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 20000
	maxAddresses      = 100
)

func endpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := oneOf(s.AddressType, field.NewPath("addressType"), discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	list := field.NewPath("endpoints")
	if len(s.Endpoints) > maxSliceEndpoints {
		return append(errs, field.TooMany(list, len(s.Endpoints), maxSliceEndpoints))
	}
	for i := range s.Endpoints {
		errs = append(errs, endpoint(&s.Endpoints[i], s.AddressType, list.Index(i))...)
	}
	return append(errs, slicePorts(s.Ports, field.NewPath("ports"))...)
}

func endpoint(e *discoveryv1.Endpoint, family discoveryv1.AddressType, path *field.Path) field.ErrorList {
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
		case discoveryv1.AddressTypeIPv4:
			if netutils.IsIPv6String(a) {
				errs = append(errs, field.Invalid(at, a, "must be an IPv4 address"))
			}
			errs = append(errs, address(a, at)...)
		case discoveryv1.AddressTypeIPv6:
			if netutils.IsIPv4String(a) {
				errs = append(errs, field.Invalid(at, a, "must be an IPv6 address"))
			}
			errs = append(errs, address(a, at)...)
		case discoveryv1.AddressTypeFQDN:
			errs = append(errs, validation.IsFullyQualifiedDomainName(at, a)...)
		}
	}
	if e.Hostname != nil {
		errs = append(errs, dnsLabel(*e.Hostname, path.Child("hostname"))...)
	}
	if e.NodeName != nil {
		errs = append(errs, dnsSubdomain(*e.NodeName, path.Child("nodeName"))...)
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
				errs = append(errs, dnsLabel(*p.Name, at.Child("name"))...)
			}
			errs = append(errs, unique(names, *p.Name, at.Child("name"))...)
		}
		if p.Port != nil {
			errs = append(errs, portNumber(*p.Port, at.Child("port"))...)
		}
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else {
			errs = append(errs, oneOf(*p.Protocol, at.Child("protocol"), protocols...)...)
		}
	}
	return errs
}

func endpointSliceUpdate(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	return immutable(s.AddressType, old.AddressType, field.NewPath("addressType"))
}

func endpoints(e *corev1.Endpoints) field.ErrorList {
	var errs field.ErrorList
	for i := range e.Subsets {
		s, at := &e.Subsets[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, endpointAddress(&s.Addresses[j], at.Child("addresses").Index(j))...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, endpointAddress(&s.NotReadyAddresses[j], at.Child("notReadyAddresses").Index(j))...)
		}
		for j, p := range s.Ports {
			at := at.Child("ports").Index(j)
			if p.Name != "" {
				errs = append(errs, dnsLabel(p.Name, at.Child("name"))...)
			} else if len(s.Ports) > 1 {
				errs = append(errs, field.Required(at.Child("name"), ""))
			}
			errs = append(errs, portNumber(p.Port, at.Child("port"))...)
			errs = append(errs, oneOf(p.Protocol, at.Child("protocol"), protocols...)...)
		}
	}
	return errs
}

func endpointAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	errs := address(a.IP, path.Child("ip"))
	if a.Hostname != "" {
		errs = append(errs, dnsLabel(a.Hostname, path.Child("hostname"))...)
	}
	if a.NodeName != nil {
		errs = append(errs, dnsSubdomain(*a.NodeName, path.Child("nodeName"))...)
	}
	return errs
}
