package defaults

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	netutils "k8s.io/utils/net"
)

func service(svc *corev1.Service) {
	spec := &svc.Spec
	zero(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	if spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		unset(&spec.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		unset(&spec.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		unset(&spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
	zero(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		zero(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	switch spec.Type {
	case corev1.ServiceTypeClusterIP:
		if len(spec.ExternalIPs) > 0 {
			zero(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
		}
	case corev1.ServiceTypeNodePort:
		zero(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	case corev1.ServiceTypeLoadBalancer:
		zero(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
		unset(&spec.AllocateLoadBalancerNodePorts, true)
	case corev1.ServiceTypeExternalName:
		return
	}
	unset(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	families(spec)
}

// families makes clusterIP and clusterIPs agree and sets the address families
// of a single-stack cluster: those of the addresses, else IPv4.
func families(spec *corev1.ServiceSpec) {
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if spec.IPFamilyPolicy == nil && len(spec.IPFamilies) < 2 && len(spec.ClusterIPs) < 2 {
		unset(&spec.IPFamilyPolicy, corev1.IPFamilyPolicySingleStack)
	}
	if len(spec.IPFamilies) > 0 {
		return
	}
	for _, ip := range spec.ClusterIPs {
		if netutils.IsIPv4String(ip) {
			spec.IPFamilies = append(spec.IPFamilies, corev1.IPv4Protocol)
		} else if netutils.IsIPv6String(ip) {
			spec.IPFamilies = append(spec.IPFamilies, corev1.IPv6Protocol)
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
}
