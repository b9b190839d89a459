package core

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var endpoints = kind.Define[corev1.Endpoints, corev1.EndpointsList](kind.Definition[*corev1.Endpoints]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Endpoints"),
		Plural:           "endpoints", Singular: "endpoints",
		ShortNames: []string{"ep"}, Namespaced: true,
	},
	Order:    140,
	Volatile: true,
	REST:     kind.REST{CreateOnUpdate: true},
	Default:  defaultEndpoints,
	Rules: kind.Rules[*corev1.Endpoints]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateEndpoints,
	},
	Warnings: endpointsWarnings,
	Table: kind.Table[*corev1.Endpoints]{
		Columns: column.Define("Name", "Endpoints", "Age"),
		Row:     endpointsRow,
	},
})

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			fill.Zero(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

func endpointsRow(e *corev1.Endpoints, now time.Time) []any {
	var list []string
	count := 0
	add := func(s string) {
		if count++; count <= column.Shown {
			list = append(list, s)
		}
	}
	for _, subset := range e.Subsets {
		if len(subset.Ports) == 0 {
			for _, a := range subset.Addresses {
				add(a.IP)
			}
			continue
		}
		for _, p := range subset.Ports {
			for _, a := range subset.Addresses {
				add(hostPort(a.IP, p.Port))
			}
		}
	}
	cell := strings.Join(list, ",")
	if len(e.Subsets) == 0 {
		cell = column.None
	}
	if count > column.Shown {
		cell += fmt.Sprintf(" + %d more...", count-column.Shown)
	}
	return []any{e.Name, cell, column.Age(e, now)}
}

func hostPort(host string, port int32) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d", host, port)
}

func validateEndpoints(e *corev1.Endpoints) field.ErrorList {
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
				errs = append(errs, rule.DNSLabel(p.Name, at.Child("name"))...)
			} else if len(s.Ports) > 1 {
				errs = append(errs, field.Required(at.Child("name"), ""))
			}
			errs = append(errs, rule.PortNumber(p.Port, at.Child("port"))...)
			errs = append(errs, rule.OneOf(p.Protocol, at.Child("protocol"), rule.Protocols...)...)
			if p.AppProtocol != nil {
				errs = append(errs, rule.QualifiedName(*p.AppProtocol, at.Child("appProtocol"))...)
			}
		}
	}
	return errs
}

func endpointAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	errs := rule.Address(a.IP, path.Child("ip"))
	if a.Hostname != "" {
		errs = append(errs, rule.DNSLabel(a.Hostname, path.Child("hostname"))...)
	}
	if a.NodeName != nil {
		errs = append(errs, rule.DNSSubdomain(*a.NodeName, path.Child("nodeName"))...)
	}
	return errs
}

func endpointsWarnings(e, _ *corev1.Endpoints) []string {
	var told []string
	look := func(addresses []corev1.EndpointAddress, path *field.Path) {
		for i, a := range addresses {
			told = append(told, validation.GetWarningsForIP(path.Index(i).Child("ip"), a.IP)...)
		}
	}
	for i, s := range e.Subsets {
		path := field.NewPath("subsets").Index(i)
		look(s.Addresses, path.Child("addresses"))
		look(s.NotReadyAddresses, path.Child("notReadyAddresses"))
	}
	return told
}
