package validation_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func endpointSliceCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, namespace: b}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 80}]}`
	endpoint := func(edit func(e *discoveryv1.Endpoint)) func(*discoveryv1.EndpointSlice) {
		return func(s *discoveryv1.EndpointSlice) { edit(&s.Endpoints[0]) }
	}
	port := func(edit func(p *discoveryv1.EndpointPort)) func(*discoveryv1.EndpointSlice) {
		return func(s *discoveryv1.EndpointSlice) { edit(&s.Ports[0]) }
	}
	zones := func(names ...string) func(*discoveryv1.EndpointSlice) {
		return endpoint(func(e *discoveryv1.Endpoint) {
			e.Hints = &discoveryv1.EndpointHints{}
			for _, name := range names {
				e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: name})
			}
		})
	}
	nodes := func(names ...string) func(*discoveryv1.EndpointSlice) {
		return endpoint(func(e *discoveryv1.Endpoint) {
			e.Hints = &discoveryv1.EndpointHints{}
			for _, name := range names {
				e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: name})
			}
		})
	}
	create(t, base, cases[*discoveryv1.EndpointSlice]{
		"no type": {func(s *discoveryv1.EndpointSlice) { s.AddressType = "" }, []string{"addressType: Required value"}},
		"type":    {func(s *discoveryv1.EndpointSlice) { s.AddressType = "x" }, []string{`addressType: Unsupported value: "x": supported values: "FQDN", "IPv4", "IPv6"`}},
		"none":    {endpoint(func(e *discoveryv1.Endpoint) { e.Addresses = nil }), []string{"endpoints[0].addresses: Required value: must contain at least 1 address"}},
		"family":  {endpoint(func(e *discoveryv1.Endpoint) { e.Addresses[0] = "fd00::1" }), []string{`endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address`}},
		"no address": {endpoint(func(e *discoveryv1.Endpoint) { e.Addresses[0] = "x" }), []string{
			`endpoints[0].addresses[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
		}},
		"loopback": {endpoint(func(e *discoveryv1.Endpoint) { e.Addresses[0] = "127.0.0.1" }), []string{`endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`}},
		"hostname": {endpoint(func(e *discoveryv1.Endpoint) { e.Hostname = new("A") }), []string{`endpoints[0].hostname: Invalid value: "A": ` + dnsLabelMessage}},
		"node":     {endpoint(func(e *discoveryv1.Endpoint) { e.NodeName = new("A") }), []string{`endpoints[0].nodeName: Invalid value: "A": ` + subdomainMessage}},
		"topology": {endpoint(func(e *discoveryv1.Endpoint) {
			e.DeprecatedTopology = map[string]string{}
			for i := range 17 {
				e.DeprecatedTopology[fmt.Sprintf("a%d", i)] = ""
			}
		}), []string{"endpoints[0].deprecatedTopology: Too many: 17: must have at most 16 items"}},
		"zone":         {endpoint(func(e *discoveryv1.Endpoint) { e.Zone = new("anything goes") }), nil},
		"hint":         {zones("a"), nil},
		"empty hint":   {zones(""), nil},
		"hint twice":   {zones("a", "a"), []string{`endpoints[0].hints.forZones[1].name: Duplicate value: "a"`}},
		"many hints":   {zones("1", "2", "3", "4", "5", "6", "7", "8", "9"), []string{"endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"}},
		"node hint":    {nodes("a"), nil},
		"no node":      {nodes("A"), []string{`endpoints[0].hints.forNodes[0].name: Invalid value: "A": ` + subdomainMessage}},
		"names":        {func(s *discoveryv1.EndpointSlice) { s.Ports = append(s.Ports, s.Ports[0]) }, []string{`ports[1].name: Duplicate value: ""`}},
		"port name":    {port(func(p *discoveryv1.EndpointPort) { p.Name = new("A") }), []string{`ports[0].name: Invalid value: "A": ` + dnsLabelMessage}},
		"port":         {port(func(p *discoveryv1.EndpointPort) { p.Port = new(int32(0)) }), []string{"ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		"protocol":     {port(func(p *discoveryv1.EndpointPort) { p.Protocol = new(corev1.Protocol("X")) }), []string{`ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`}},
		"app protocol": {port(func(p *discoveryv1.EndpointPort) { p.AppProtocol = new("a b") }), []string{`ports[0].appProtocol: Invalid value: "a b": ` + qualifiedMessage}},
	})
	create(t, strings.NewReplacer("IPv4", "IPv6", "10.0.0.1", "'2001:db8::1'").Replace(base), cases[*discoveryv1.EndpointSlice]{
		"fine":           {func(*discoveryv1.EndpointSlice) {}, nil},
		"another form":   {endpoint(func(e *discoveryv1.Endpoint) { e.Addresses[0] = "2001:DB8::1" }), []string{`endpoints[0].addresses[0]: Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1")`}},
		"another family": {endpoint(func(e *discoveryv1.Endpoint) { e.Addresses[0] = "10.0.0.1" }), []string{`endpoints[0].addresses: Invalid value: "10.0.0.1": must be an IPv6 address`}},
		"mapped":         {endpoint(func(e *discoveryv1.Endpoint) { e.Addresses[0] = "::ffff:10.0.0.1" }), []string{`endpoints[0].addresses[0]: Invalid value: "::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address`}},
	})
	update(t, base, cases[*discoveryv1.EndpointSlice]{
		"another address": {endpoint(func(e *discoveryv1.Endpoint) { e.Addresses[0] = "10.0.0.2" }), nil},
		"another type": {func(s *discoveryv1.EndpointSlice) { s.AddressType, s.Endpoints = discoveryv1.AddressTypeFQDN, nil }, []string{
			`addressType: Invalid value: "FQDN": field is immutable`,
		}},
	})
}

func endpointsCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: v1, kind: Endpoints, metadata: {name: a, namespace: b}, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]}`
	address := func(edit func(a *corev1.EndpointAddress)) func(*corev1.Endpoints) {
		return func(e *corev1.Endpoints) { edit(&e.Subsets[0].Addresses[0]) }
	}
	port := func(edit func(p *corev1.EndpointPort)) func(*corev1.Endpoints) {
		return func(e *corev1.Endpoints) { edit(&e.Subsets[0].Ports[0]) }
	}
	table := cases[*corev1.Endpoints]{
		"none":         {func(e *corev1.Endpoints) { e.Subsets[0].Addresses = nil }, []string{"subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"}},
		"address":      {address(func(a *corev1.EndpointAddress) { a.IP = "x" }), []string{`subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		"loopback":     {address(func(a *corev1.EndpointAddress) { a.IP = "127.0.0.1" }), []string{`subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`}},
		"hostname":     {address(func(a *corev1.EndpointAddress) { a.Hostname = "A" }), []string{`subsets[0].addresses[0].hostname: Invalid value: "A": ` + dnsLabelMessage}},
		"node":         {address(func(a *corev1.EndpointAddress) { a.NodeName = new("A") }), []string{`subsets[0].addresses[0].nodeName: Invalid value: "A": ` + subdomainMessage}},
		"port":         {port(func(p *corev1.EndpointPort) { p.Port = 0 }), []string{"subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		"protocol":     {port(func(p *corev1.EndpointPort) { p.Protocol = "X" }), []string{`subsets[0].ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`}},
		"app protocol": {port(func(p *corev1.EndpointPort) { p.AppProtocol = new("a b") }), []string{`subsets[0].ports[0].appProtocol: Invalid value: "a b": ` + qualifiedMessage}},
		"two ports": {func(e *corev1.Endpoints) {
			e.Subsets[0].Ports = append(e.Subsets[0].Ports, corev1.EndpointPort{Name: "b", Port: 81, Protocol: "TCP"})
		}, []string{
			"subsets[0].ports[0].name: Required value",
		}},
	}
	create(t, base, table)
	update(t, base, table)
}
