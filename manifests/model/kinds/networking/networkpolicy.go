package networking

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

// networkPolicy says who may connect to the pods that it selects, and to whom these
// may connect. engine/policy tells each node what that means for its pods, and
// nodes/policy has the kernel keep to it.
// https://kubernetes.io/docs/concepts/services-networking/network-policies/
var networkPolicy = kind.Define[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList](kind.Definition[*networkingv1.NetworkPolicy]{
	Names: kind.Names{
		GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
		Plural:           "networkpolicies", Singular: "networkpolicy", ShortNames: []string{"netpol"},
		Namespaced: true,
	},
	// kustomize does not know it: before the pods that it is about.
	Order:   165,
	Default: defaultNetworkPolicy,
	Honours: honour.Types{
		honour.Of[networkingv1.NetworkPolicy]():            {Honoured: "TypeMeta metadata spec"},
		honour.Of[networkingv1.NetworkPolicySpec]():        {Honoured: "podSelector ingress egress policyTypes"},
		honour.Of[networkingv1.NetworkPolicyIngressRule](): {Honoured: "ports from"},
		honour.Of[networkingv1.NetworkPolicyEgressRule]():  {Honoured: "ports to"},
		honour.Of[networkingv1.NetworkPolicyPort]():        {Honoured: "protocol port endPort"},
		honour.Of[networkingv1.NetworkPolicyPeer]():        {Honoured: "podSelector namespaceSelector ipBlock"},
		honour.Of[networkingv1.IPBlock]():                  {Honoured: "cidr except"},
	},
	Lifecycle: kind.Lifecycle[*networkingv1.NetworkPolicy]{
		Changed: func(p, old *networkingv1.NetworkPolicy) bool { return kind.Differ(p.Spec, old.Spec) },
	},
	Rules: kind.Rules[*networkingv1.NetworkPolicy]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: func(p *networkingv1.NetworkPolicy) field.ErrorList { return policyRules{}.spec(&p.Spec) },
		Replaces: func(p, old *networkingv1.NetworkPolicy) field.ErrorList {
			return policyRules{
				oddValues: len(metavalidation.ValidateLabelSelector(&old.Spec.PodSelector, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0,
				known:     blocksOf(&old.Spec),
			}.spec(&p.Spec)
		},
	},
	Warnings: func(p, _ *networkingv1.NetworkPolicy) []string { return policyWarnings(&p.Spec) },
	Table: kind.Table[*networkingv1.NetworkPolicy]{
		Columns: column.Define("Name", "Pod-Selector", "Age"),
		Row: func(p *networkingv1.NetworkPolicy, now time.Time) []any {
			return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), column.Age(p, now)}
		},
	},
})

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	ports := func(list []networkingv1.NetworkPolicyPort) {
		for i := range list {
			fill.Unset(&list[i].Protocol, corev1.ProtocolTCP)
		}
	}
	for i := range p.Spec.Ingress {
		ports(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		ports(p.Spec.Egress[i].Ports)
	}
	if len(p.Spec.PolicyTypes) > 0 {
		return
	}
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(p.Spec.Egress) > 0 {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

// policyRules are what must hold of a policy. What is there already may stay as it is.
type policyRules struct {
	oddValues bool     // the selector has values that no label can have
	known     []string // blocks of addresses, however they are written
}

// directionsOfPolicies is how many policyTypes there are.
const directionsOfPolicies = 2

func (r policyRules) spec(s *networkingv1.NetworkPolicySpec) field.ErrorList {
	errs := r.selector(&s.PodSelector, rule.Spec.Child("podSelector"))
	for i := range s.Ingress {
		path := rule.Spec.Child("ingress").Index(i)
		errs = append(errs, policyPorts(s.Ingress[i].Ports, path.Child("ports"))...)
		errs = append(errs, r.peers(s.Ingress[i].From, path.Child("from"))...)
	}
	for i := range s.Egress {
		path := rule.Spec.Child("egress").Index(i)
		errs = append(errs, policyPorts(s.Egress[i].Ports, path.Child("ports"))...)
		errs = append(errs, r.peers(s.Egress[i].To, path.Child("to"))...)
	}
	types := rule.Spec.Child("policyTypes")
	if len(s.PolicyTypes) > directionsOfPolicies {
		return append(errs, field.Invalid(types, &s.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range s.PolicyTypes {
		errs = append(errs, rule.NotSupported(t, types.Index(i), networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func (r policyRules) selector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: r.oddValues}, path)
}

func (r policyRules) peers(list []networkingv1.NetworkPolicyPeer, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, peer := range list {
		at := path.Index(i)
		if peer.PodSelector != nil {
			errs = append(errs, r.selector(peer.PodSelector, at.Child("podSelector"))...)
		}
		if peer.NamespaceSelector != nil {
			errs = append(errs, r.selector(peer.NamespaceSelector, at.Child("namespaceSelector"))...)
		}
		selects := peer.PodSelector != nil || peer.NamespaceSelector != nil
		switch {
		case peer.IPBlock == nil && !selects:
			errs = append(errs, field.Required(at, "must specify a peer"))
		case peer.IPBlock != nil:
			errs = append(errs, r.block(peer.IPBlock, at.Child("ipBlock"))...)
			if selects {
				errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
			}
		}
	}
	return errs
}

func (r policyRules) block(b *networkingv1.IPBlock, path *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(path.Child("cidr"), "")}
	}
	errs := validation.IsValidCIDRForLegacyField(path.Child("cidr"), b.CIDR, true, r.known)
	_, whole, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return errs // which tell it
	}
	size, _ := whole.Mask.Size()
	for i, except := range b.Except {
		at := path.Child("except").Index(i)
		errs = append(errs, validation.IsValidCIDRForLegacyField(at, except, true, r.known)...)
		_, part, err := netutils.ParseCIDRSloppy(except)
		if err != nil {
			continue
		}
		if bits, _ := part.Mask.Size(); !whole.Contains(part.IP) || size >= bits {
			errs = append(errs, field.Invalid(at, except, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

func policyPorts(list []networkingv1.NetworkPolicyPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range list {
		at := path.Index(i)
		if p.Protocol != nil {
			errs = append(errs, rule.NotSupported(*p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
		}
		number, end := at.Child("port"), at.Child("endPort")
		switch {
		case p.Port == nil:
			if p.EndPort != nil {
				errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified"))
			}
		case p.Port.Type == intstr.Int:
			errs = append(errs, rule.Invalid(number, p.Port.IntVal, validation.IsValidPortNum(int(p.Port.IntVal)))...)
			if p.EndPort == nil {
				continue
			}
			if *p.EndPort < p.Port.IntVal {
				errs = append(errs, field.Invalid(end, *p.EndPort, "must be greater than or equal to `port`"))
			}
			errs = append(errs, rule.Invalid(end, *p.EndPort, validation.IsValidPortNum(int(*p.EndPort)))...)
		default:
			if p.EndPort != nil {
				errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
			}
			errs = append(errs, rule.Invalid(number, p.Port.StrVal, validation.IsValidPortName(p.Port.StrVal))...)
		}
	}
	return errs
}

// eachBlock calls f for the blocks of addresses of a policy, with their paths.
func eachBlock(s *networkingv1.NetworkPolicySpec, f func(b *networkingv1.IPBlock, path *field.Path)) {
	peers := func(list []networkingv1.NetworkPolicyPeer, path *field.Path) {
		for i := range list {
			if b := list[i].IPBlock; b != nil {
				f(b, path.Index(i).Child("ipBlock"))
			}
		}
	}
	for i := range s.Ingress {
		peers(s.Ingress[i].From, rule.Spec.Child("ingress").Index(i).Child("from"))
	}
	for i := range s.Egress {
		peers(s.Egress[i].To, rule.Spec.Child("egress").Index(i).Child("to"))
	}
}

func blocksOf(s *networkingv1.NetworkPolicySpec) []string {
	var all []string
	eachBlock(s, func(b *networkingv1.IPBlock, _ *field.Path) { all = append(append(all, b.CIDR), b.Except...) })
	return all
}

func policyWarnings(s *networkingv1.NetworkPolicySpec) []string {
	var told []string
	eachBlock(s, func(b *networkingv1.IPBlock, path *field.Path) {
		told = append(told, validation.GetWarningsForCIDR(path.Child("cidr"), b.CIDR)...)
		for i, except := range b.Except {
			told = append(told, validation.GetWarningsForCIDR(path.Child("except").Index(i), except)...)
		}
	})
	return told
}
