package validation_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func networkPolicyCases(t *testing.T) {
	t.Helper()
	type policy = *networkingv1.NetworkPolicy
	base := `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web, namespace: shop}, spec: {podSelector: {matchLabels: {app: web}},
		ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80}]}],
		egress: [{to: [{namespaceSelector: {}, podSelector: {}}], ports: [{port: dns, protocol: UDP}, {port: 8000, endPort: 8010}]}]}}`
	from := func(f func(peer *networkingv1.NetworkPolicyPeer)) func(policy) {
		return func(p policy) { f(&p.Spec.Ingress[0].From[1]) }
	}
	block := func(cidr string, except ...string) func(policy) {
		return from(func(peer *networkingv1.NetworkPolicyPeer) {
			peer.IPBlock = &networkingv1.IPBlock{CIDR: cidr, Except: except}
		})
	}
	port := func(f func(port *networkingv1.NetworkPolicyPort)) func(policy) {
		return func(p policy) { f(&p.Spec.Egress[0].Ports[1]) }
	}
	const label = `: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`
	const subset = ": must be a strict subset of `cidr`"
	const portNumber = ": must be between 1 and 65535, inclusive"
	all := cases[policy]{
		"nothing allowed": {func(p policy) { p.Spec.Ingress, p.Spec.Egress = nil, nil }, nil},
		"everything":      {func(p policy) { p.Spec.Ingress[0] = networkingv1.NetworkPolicyIngressRule{} }, nil},
		"selector": {func(p policy) { p.Spec.PodSelector.MatchLabels["app"] = "a b" }, []string{
			`spec.podSelector.matchLabels: Invalid value: "a b"` + label,
		}},
		"no peer": {from(func(peer *networkingv1.NetworkPolicyPeer) { peer.IPBlock = nil }), []string{`spec.ingress[0].from[1]: Required value: must specify a peer`}},
		"block and selector": {from(func(peer *networkingv1.NetworkPolicyPeer) { peer.PodSelector = &metav1.LabelSelector{} }), []string{
			`spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer`,
		}},
		"peer's selectors": {from(func(peer *networkingv1.NetworkPolicyPeer) {
			*peer = networkingv1.NetworkPolicyPeer{
				PodSelector:       &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpIn}}},
				NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}},
			}
		}), []string{
			`spec.ingress[0].from[1].podSelector.matchExpressions[0].values: Required value: must be specified when ` + "`operator` is 'In' or 'NotIn'",
			`spec.ingress[0].from[1].namespaceSelector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`,
		}},
		"no cidr":     {block(""), []string{`spec.ingress[0].from[1].ipBlock.cidr: Required value`}},
		"no range":    {block("10.0.0.1"), []string{`spec.ingress[0].from[1].ipBlock.cidr: Invalid value: "10.0.0.1": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		"IPv6":        {block("2001:db8::/32", "2001:db8:1::/48"), nil},
		"not within":  {block("10.0.0.0/8", "11.0.0.0/16"), []string{`spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/16"` + subset}},
		"all of it":   {block("10.0.0.0/8", "10.0.0.0/8"), []string{`spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "10.0.0.0/8"` + subset}},
		"bad except":  {block("10.0.0.0/8", "some"), []string{`spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "some": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		"protocol":    {port(func(p *networkingv1.NetworkPolicyPort) { p.Protocol = new(corev1.Protocol("ICMP")) }), []string{`spec.egress[0].ports[1].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"`}},
		"SCTP":        {port(func(p *networkingv1.NetworkPolicyPort) { p.Protocol = new(corev1.ProtocolSCTP) }), nil},
		"port 0":      {port(func(p *networkingv1.NetworkPolicyPort) { p.Port = new(intstr.FromInt32(0)) }), []string{`spec.egress[0].ports[1].port: Invalid value: 0` + portNumber}},
		"end below":   {port(func(p *networkingv1.NetworkPolicyPort) { p.EndPort = new(int32(7999)) }), []string{"spec.egress[0].ports[1].endPort: Invalid value: 7999: must be greater than or equal to `port`"}},
		"end too big": {port(func(p *networkingv1.NetworkPolicyPort) { p.EndPort = new(int32(65536)) }), []string{`spec.egress[0].ports[1].endPort: Invalid value: 65536` + portNumber}},
		"one port":    {port(func(p *networkingv1.NetworkPolicyPort) { p.EndPort = new(int32(8000)) }), nil},
		"end of a name": {port(func(p *networkingv1.NetworkPolicyPort) { p.Port = new(intstr.FromString("web")) }), []string{
			"spec.egress[0].ports[1].endPort: Invalid value: 8010: may not be specified when `port` is non-numeric",
		}},
		"end of nothing": {port(func(p *networkingv1.NetworkPolicyPort) { p.Port = nil }), []string{
			"spec.egress[0].ports[1].endPort: Invalid value: 8010: may not be specified when `port` is not specified",
		}},
		"port's name": {func(p policy) { p.Spec.Egress[0].Ports[0].Port = new(intstr.FromString("a_b")) }, []string{
			`spec.egress[0].ports[0].port: Invalid value: "a_b": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)`,
		}},
		"types": {func(p policy) { p.Spec.PolicyTypes = []networkingv1.PolicyType{"Both"} }, []string{
			`spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress"`,
		}},
		"three types": {func(p policy) { p.Spec.PolicyTypes = []networkingv1.PolicyType{"Ingress", "Egress", "Ingress"} }, []string{
			`spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes`,
		}},
	}
	create(t, base, all)
	create(t, base, cases[policy]{
		"name": {func(p policy) { p.Name = "Web_1" }, []string{
			`metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
		}},
		"leading zeros": {block("010.0.0.0/8"), []string{`spec.ingress[0].from[1].ipBlock.cidr: Invalid value: "010.0.0.0/8": must not have leading 0s in IP or prefix length`}},
	})
	update(t, base, all)
	const odd = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web, namespace: shop}, spec: {podSelector: {matchExpressions: [{key: a, operator: In, values: ["a b"]}]},
		ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}}`
	update(t, odd, cases[policy]{
		"what is there": {func(p policy) { p.Spec.PolicyTypes = []networkingv1.PolicyType{"Egress"} }, nil},
		"another block": {func(p policy) { p.Spec.Ingress[0].From[0].IPBlock.CIDR = "011.0.0.0/8" }, []string{`spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "011.0.0.0/8": must not have leading 0s in IP or prefix length`}},
	})
}
