package core

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

// The node ports that a service may ask for or is given.
const (
	MinNodePort = 30000
	MaxNodePort = 32767
)

const maxAffinitySeconds = 86400

var serviceTypes = []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort}

func validateService(svc *corev1.Service) field.ErrorList {
	s := &svc.Spec
	errs := topologyMode(svc)
	if len(s.Ports) == 0 && !headless(s) && s.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(rule.Spec.Child("ports"), ""))
	}
	errs = append(errs, rule.OneOf(s.Type, rule.Spec.Child("type"), serviceTypes...)...)
	switch s.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless(s) {
			errs = append(errs, field.Invalid(rule.Spec.Child("clusterIPs").Index(0), s.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", s.Type)))
		}
	case corev1.ServiceTypeExternalName:
		errs = append(errs, externalName(s)...)
	default:
	}
	errs = append(errs, servicePorts(s, rule.Spec.Child("ports"))...)
	errs = append(errs, metavalidation.ValidateLabels(s.Selector, rule.Spec.Child("selector"))...)
	errs = append(errs, sessionAffinity(s)...)
	if s.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, clusterIPs(s)...)
	}
	for i, ip := range s.ExternalIPs {
		errs = append(errs, rule.Address(ip, rule.Spec.Child("externalIPs").Index(i))...)
	}
	errs = append(errs, trafficPolicies(s)...)
	if s.TrafficDistribution != nil {
		errs = append(errs, rule.OneOf(*s.TrafficDistribution, rule.Spec.Child("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	errs = append(errs, sourceRanges(svc)...)
	if s.Type != corev1.ServiceTypeLoadBalancer {
		errs = append(errs, rule.NoneOf(rule.Spec, onlyBalanced, []rule.SetField{
			{Name: "allocateLoadBalancerNodePorts", Set: s.AllocateLoadBalancerNodePorts != nil},
			{Name: "loadBalancerClass", Set: s.LoadBalancerClass != nil},
		})...)
	} else if s.LoadBalancerClass != nil {
		errs = append(errs, rule.QualifiedName(*s.LoadBalancerClass, rule.Spec.Child("loadBalancerClass"))...)
	}
	return errs
}

const onlyBalanced = "may only be used when `type` is 'LoadBalancer'"

// topologyMode demands that the old name of an annotation and the new one agree.
func topologyMode(svc *corev1.Service) field.ErrorList {
	hints, hasHints := svc.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	mode, hasMode := svc.Annotations[corev1.AnnotationTopologyMode]
	if !hasHints || !hasMode || hints == mode {
		return nil
	}
	return field.ErrorList{field.Invalid(rule.Metadata.Child("annotations").Key(corev1.AnnotationTopologyMode), mode,
		fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))}
}

// sourceRanges are a field or, if that is empty, an annotation.
func sourceRanges(svc *corev1.Service) field.ErrorList {
	// The capital is the API's.
	path, ranges, indexed := rule.Spec.Child("LoadBalancerSourceRanges"), svc.Spec.LoadBalancerSourceRanges, true
	if len(ranges) == 0 {
		list, ok := svc.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
		if !ok {
			return nil
		}
		path, indexed = rule.Metadata.Child("annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey), false
		if list = strings.TrimSpace(list); list != "" {
			ranges = strings.Split(list, ",")
		}
	}
	var errs field.ErrorList
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		errs = append(errs, field.Forbidden(path, onlyBalanced))
	}
	for i, one := range ranges {
		at := path
		if indexed {
			at = path.Index(i)
		}
		errs = append(errs, validation.IsValidCIDRForLegacyField(at, strings.TrimSpace(one), true, nil)...)
	}
	return errs
}

func headless(s *corev1.ServiceSpec) bool {
	return len(s.ClusterIPs) == 1 && s.ClusterIPs[0] == corev1.ClusterIPNone
}

func externalName(s *corev1.ServiceSpec) field.ErrorList {
	// clusterIP is the first of clusterIPs by another name.
	errs := rule.NoneOf(rule.Spec, "may not be set for ExternalName services", []rule.SetField{
		{Name: "clusterIPs", Set: len(s.ClusterIPs) > 0 || s.ClusterIP != ""}, {Name: "ipFamilies", Set: len(s.IPFamilies) > 0}, {Name: "ipFamilyPolicy", Set: s.IPFamilyPolicy != nil},
	})
	if s.ExternalName == "" {
		return append(errs, field.Required(rule.Spec.Child("externalName"), ""))
	}
	return append(errs, rule.DNSSubdomain(strings.TrimSuffix(s.ExternalName, "."), rule.Spec.Child("externalName"))...)
}

// portKey is what makes a port a duplicate; the fields and their order are
// those that the API's message shows.
type portKey struct {
	Name        string
	Protocol    corev1.Protocol
	AppProtocol *string
	Port        int32
	TargetPort  intstr.IntOrString
	NodePort    int32
}

func servicePorts(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, ports, nodePorts := map[string]bool{}, map[portKey]bool{}, map[portKey]bool{}
	for i := range s.Ports {
		p, at := &s.Ports[i], path.Index(i)
		errs = append(errs, servicePort(p, len(s.Ports) > 1, names, at)...)
		errs = append(errs, rule.Unique(ports, portKey{Protocol: p.Protocol, Port: p.Port}, at)...)
		if p.NodePort == 0 {
			continue
		}
		nodePort := at.Child("nodePort")
		if s.Type == corev1.ServiceTypeClusterIP || s.Type == corev1.ServiceTypeExternalName {
			errs = append(errs, field.Forbidden(nodePort, fmt.Sprintf("may not be used when `type` is '%s'", s.Type)))
			continue
		}
		if p.NodePort < MinNodePort || p.NodePort > MaxNodePort {
			errs = append(errs, field.Invalid(nodePort, p.NodePort,
				fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", MinNodePort, MaxNodePort)))
		}
		if key := (portKey{Protocol: p.Protocol, NodePort: p.NodePort}); nodePorts[key] {
			errs = append(errs, field.Duplicate(nodePort, p.NodePort))
		} else {
			nodePorts[key] = true
		}
	}
	return errs
}

func servicePort(p *corev1.ServicePort, needsName bool, names map[string]bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case p.Name != "":
		errs = append(errs, rule.DNSLabel(p.Name, path.Child("name"))...)
		errs = append(errs, rule.Unique(names, p.Name, path.Child("name"))...)
	case needsName:
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, rule.PortNumber(p.Port, path.Child("port"))...)
	errs = append(errs, rule.OneOf(p.Protocol, path.Child("protocol"), rule.Protocols...)...)
	errs = append(errs, rule.PortNumberOrName(p.TargetPort, path.Child("targetPort"))...)
	if p.AppProtocol != nil {
		errs = append(errs, rule.Invalid(path.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol))...)
	}
	return errs
}

func sessionAffinity(s *corev1.ServiceSpec) field.ErrorList {
	errs := rule.OneOf(s.SessionAffinity, rule.Spec.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	path, config := rule.Spec.Child("sessionAffinityConfig"), s.SessionAffinityConfig
	switch {
	case s.SessionAffinity == corev1.ServiceAffinityNone && config != nil:
		errs = append(errs, field.Forbidden(path, "must not be set when session affinity is None"))
	case s.SessionAffinity == corev1.ServiceAffinityClientIP:
		if config == nil || config.ClientIP == nil || config.ClientIP.TimeoutSeconds == nil {
			return append(errs, field.Required(path, "when session affinity type is ClientIP"))
		}
		if seconds := *config.ClientIP.TimeoutSeconds; seconds <= 0 || seconds > maxAffinitySeconds {
			errs = append(errs, field.Invalid(path.Child("clientIP", "timeoutSeconds"), seconds,
				fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds)))
		}
	}
	return errs
}

func trafficPolicies(s *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	external := rule.Spec.Child("externalTrafficPolicy")
	reachable := s.Type == corev1.ServiceTypeLoadBalancer || s.Type == corev1.ServiceTypeNodePort ||
		s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0
	switch {
	case reachable:
		errs = append(errs, rule.OneOf(s.ExternalTrafficPolicy, external, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	case s.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(external, s.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	balanced := s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	if s.HealthCheckNodePort != 0 && !balanced {
		errs = append(errs, field.Invalid(rule.Spec.Child("healthCheckNodePort"), s.HealthCheckNodePort,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	internal := rule.Spec.Child("internalTrafficPolicy")
	switch {
	case s.InternalTrafficPolicy != nil:
		errs = append(errs, rule.OneOf(*s.InternalTrafficPolicy, internal, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	case s.Type != corev1.ServiceTypeExternalName:
		errs = append(errs, field.Required(internal, ""))
	}
	return errs
}

// portOf is the key of a Service's port, in the API's form.
type portOf struct {
	Port     int32           `json:"port"`
	Protocol corev1.Protocol `json:"protocol"`
}

func serviceDuplicates(svc *corev1.Service) field.ErrorList {
	return rule.Twice(rule.Spec.Child("ports"), "", svc.Spec.Ports, func(p corev1.ServicePort) any { return portOf{p.Port, cmp.Or(p.Protocol, corev1.ProtocolTCP)} })
}
