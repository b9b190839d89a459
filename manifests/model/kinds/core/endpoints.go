package core

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var endpoints = kind.Define[corev1.Endpoints, corev1.EndpointsList](kind.Definition[*corev1.Endpoints]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Endpoints"),
		Plural:           "endpoints", Singular: "endpoints",
		ShortNames: []string{"ep"}, Namespaced: true,
	},
	REST:    kind.REST{CreateOnUpdate: true},
	Default: defaultEndpoints,
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
	cell := column.Or(strings.Join(list, ","), column.None)
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
