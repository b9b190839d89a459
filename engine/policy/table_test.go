package policy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// TestPolicies: which connections one policy or several in the namespace shop let through.
// The pods are shop/web and shop/db, blog/web, and blog/host on its node's network.
func TestPolicies(t *testing.T) {
	pods := map[string]*corev1.Pod{
		"shop/web":  pod("shop", "web", "n1", "10.0.1.1", map[string]string{"app": "web"}, web),
		"shop/db":   pod("shop", "db", "n2", "10.0.2.1", map[string]string{"app": "db"}, alt, dns),
		"blog/web":  pod("blog", "web", "n1", "10.0.1.2", map[string]string{"app": "web"}, web),
		"blog/host": pod("blog", "host", "n2", "192.0.2.2", map[string]string{"app": "host"}, web),
	}
	pods["blog/host"].Spec.HostNetwork = true
	for _, tc := range []struct {
		what     string
		policies []string
		denied   []string // FROM TO PROTOCOL PORT, of those below
	}{
		{"none", nil, nil},
		{"nothing in", []string{`{podSelector: {}, policyTypes: [Ingress]}`}, []string{
			"shop/web shop/db TCP 8081", "shop/web shop/db UDP 53", "blog/web shop/db TCP 8081", "blog/web shop/web TCP 8080", "blog/host shop/web TCP 8080", "shop/db shop/web TCP 8080",
		}},
		{"nothing out", []string{`{podSelector: {}, policyTypes: [Egress]}`}, []string{
			"shop/web shop/db TCP 8081", "shop/web shop/db UDP 53", "shop/web blog/web TCP 8080", "shop/db shop/web TCP 8080", "shop/web blog/host TCP 8080",
		}},
		{"everything in", []string{`{podSelector: {}, ingress: [{}], policyTypes: [Ingress]}`}, nil},
		{"no types: neither direction", []string{`{podSelector: {}}`}, nil},
		{"selected pods only", []string{`{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}`}, []string{
			"shop/web shop/db TCP 8081", "shop/web shop/db UDP 53", "blog/web shop/db TCP 8081",
		}},
		{"pods of the namespace", []string{`{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`}, []string{
			"blog/web shop/db TCP 8081", "blog/web shop/web TCP 8080", "blog/host shop/web TCP 8080", "shop/db shop/web TCP 8080",
		}},
		{"namespaces", []string{`{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {team: blog}}}]}]}`}, []string{
			"shop/web shop/db TCP 8081", "shop/web shop/db UDP 53", "shop/db shop/web TCP 8080", "blog/host shop/web TCP 8080",
		}},
		{"pods of namespaces", []string{`{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]}`}, []string{
			"shop/db shop/web TCP 8080", "blog/host shop/web TCP 8080",
		}},
		{"a block but a part", []string{`{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.2/32]}}]}]}`}, []string{
			"blog/web shop/db TCP 8081", "blog/web shop/web TCP 8080", "blog/host shop/web TCP 8080",
		}},
		{"the block of a node", []string{`{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}`}, []string{
			"shop/web shop/db TCP 8081", "shop/web shop/db UDP 53", "shop/db shop/web TCP 8080", "blog/web shop/db TCP 8081", "blog/web shop/web TCP 8080",
		}},
		{"a range of ports", []string{`{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: TCP, port: 8081, endPort: 9000}]}]}`}, []string{
			"shop/web shop/db UDP 53", "shop/db shop/web TCP 8080", "blog/web shop/web TCP 8080", "blog/host shop/web TCP 8080",
		}},
		{"a protocol", []string{`{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: UDP}]}]}`}, []string{
			"shop/web shop/db TCP 8081", "shop/db shop/web TCP 8080", "blog/web shop/db TCP 8081", "blog/web shop/web TCP 8080", "blog/host shop/web TCP 8080",
		}},
		{"a name, which is another number for each pod", []string{`{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: TCP, port: web}]}]}`}, []string{
			"shop/web shop/db UDP 53",
		}},
		{"a name of peers", []string{`{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{protocol: TCP, port: web}]}]}`}, []string{
			"shop/web shop/db UDP 53", "shop/web blog/host TCP 8080",
		}},
		{"a name of whoever is in a block", []string{`{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: web}]}]}`}, []string{
			"shop/web shop/db UDP 53", "shop/web shop/db TCP 8081", "shop/web blog/host TCP 8080",
		}},
		{"a union", []string{
			`{podSelector: {}, policyTypes: [Ingress]}`,
			`{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}], ports: [{protocol: TCP, port: 8081}]}]}`,
			`{podSelector: {matchExpressions: [{key: app, operator: Exists}]}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {team: blog}}}], ports: [{protocol: TCP, port: 8080}]}]}`,
		}, []string{"shop/web shop/db UDP 53", "shop/db shop/web TCP 8080", "blog/web shop/db TCP 8081", "blog/host shop/web TCP 8080"}},
	} {
		c := newCluster()
		c.set(namespace("shop", map[string]string{"team": "shop"}), namespace("blog", map[string]string{"team": "blog"}))
		for _, name := range slices.Sorted(maps.Keys(pods)) {
			c.set(pods[name])
		}
		for i, text := range tc.policies {
			var spec networkingv1.NetworkPolicySpec
			if err := yaml.UnmarshalStrict([]byte(text), &spec); err != nil {
				t.Fatal(tc.what, err)
			}
			c.set(netpol("shop", string(rune('a'+i)), spec))
		}
		for _, one := range []struct {
			connection, protocol string
			port                 uint16
		}{
			{"shop/web shop/db TCP 8081", "TCP", 8081},
			{"shop/web shop/db UDP 53", "UDP", 53},
			{"shop/db shop/web TCP 8080", "TCP", 8080},
			{"blog/web shop/db TCP 8081", "TCP", 8081},
			{"blog/web shop/web TCP 8080", "TCP", 8080},
			{"shop/web blog/web TCP 8080", "TCP", 8080},
			{"shop/web blog/host TCP 8080", "TCP", 8080},
			{"blog/host shop/web TCP 8080", "TCP", 8080},
			{"shop/web shop/web TCP 8080", "TCP", 8080},
		} {
			ends := strings.Fields(one.connection)
			from, to := pods[ends[0]], pods[ends[1]]
			want := !slices.Contains(tc.denied, one.connection)
			got := passes(c.follow(from.Spec.NodeName), from, to, one.protocol, one.port) && passes(c.follow(to.Spec.NodeName), from, to, one.protocol, one.port)
			if got != want {
				t.Errorf("%s: %s passes is %v, want %v", tc.what, one.connection, got, want)
			}
			if model := c.allowed(from, to, one.protocol, one.port); tc.what != "no types: neither direction" && model != want && !strings.Contains(one.connection, "host") {
				t.Errorf("%s: the model of the other test says %v of %s, want %v", tc.what, model, one.connection, want)
			}
		}
	}
}
