package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

// keepAllocated fills in addresses and ports that old already has and the
// manifest leaves out, so that applying the same file again does not ask for
// new ones.
func keepAllocated(svc, old *corev1.ServiceSpec) {
	if hasClusterIP(svc) && hasClusterIP(old) {
		if svc.ClusterIP == "" {
			svc.ClusterIP = old.ClusterIP
		}
		switch {
		case svc.ClusterIP == old.ClusterIP && len(svc.ClusterIPs) == 0:
			svc.ClusterIPs = old.ClusterIPs
		case svc.ClusterIP != old.ClusterIP && !kind.Differ(svc.ClusterIPs, old.ClusterIPs):
			// An edit of the older field alone: validation is to see it.
			svc.ClusterIPs = []string{svc.ClusterIP}
		}
		if svc.IPFamilyPolicy == nil {
			svc.IPFamilyPolicy = old.IPFamilyPolicy
		}
		if len(svc.IPFamilies) == 0 {
			svc.IPFamilies = old.IPFamilies
		}
	}
	if hasNodePorts(svc) && hasNodePorts(old) {
		keepNodePorts(svc, old)
	}
	if hasHealthCheck(svc) && hasHealthCheck(old) && svc.HealthCheckNodePort == 0 {
		svc.HealthCheckNodePort = old.HealthCheckNodePort
	}
}

// keepNodePorts goes by the name of the port; a node port that the new spec
// asks for elsewhere is not given out twice.
func keepNodePorts(svc, old *corev1.ServiceSpec) {
	taken := map[int32]bool{}
	for _, p := range svc.Ports {
		taken[p.NodePort] = true
	}
	byName := map[string]int32{}
	for _, p := range old.Ports {
		byName[p.Name] = p.NodePort
	}
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if had := byName[p.Name]; p.NodePort == 0 && had != 0 && !taken[had] {
			p.NodePort = had
			taken[had] = true
		}
	}
}

// dropUnused clears what the new type has no use for when the type changed and
// the value did not: it was the server's, or the user forgot it.
func dropUnused(svc, old *corev1.ServiceSpec) {
	if hasClusterIP(old) && !hasClusterIP(svc) && svc.ClusterIP == old.ClusterIP {
		svc.ClusterIP, svc.ClusterIPs = "", nil
		svc.IPFamilies, svc.IPFamilyPolicy = nil, nil
	}
	if hasNodePorts(old) && !hasNodePorts(svc) && samePorts(svc, old) {
		for i := range svc.Ports {
			svc.Ports[i].NodePort = 0
		}
	}
	if was := old.SessionAffinity; was == corev1.ServiceAffinityClientIP && svc.SessionAffinity != was && !kind.Differ(svc.SessionAffinityConfig, old.SessionAffinityConfig) {
		svc.SessionAffinityConfig = nil
	}
	if hasHealthCheck(old) && !hasHealthCheck(svc) && svc.HealthCheckNodePort == old.HealthCheckNodePort {
		svc.HealthCheckNodePort = 0
	}
	wasBalancer, isBalancer := old.Type == corev1.ServiceTypeLoadBalancer, svc.Type == corev1.ServiceTypeLoadBalancer
	if wasBalancer && !isBalancer {
		if !kind.Differ(svc.AllocateLoadBalancerNodePorts, old.AllocateLoadBalancerNodePorts) {
			svc.AllocateLoadBalancerNodePorts = nil
		}
		if !kind.Differ(svc.LoadBalancerClass, old.LoadBalancerClass) {
			svc.LoadBalancerClass = nil
		}
	}
	if hasNodePorts(old) && !hasNodePorts(svc) && svc.ExternalTrafficPolicy == old.ExternalTrafficPolicy &&
		len(svc.ExternalIPs) == 0 {
		svc.ExternalTrafficPolicy = ""
	}
}

func samePorts(a, b *corev1.ServiceSpec) bool {
	if len(a.Ports) != len(b.Ports) {
		return false
	}
	for i := range a.Ports {
		if a.Ports[i].NodePort != b.Ports[i].NodePort {
			return false
		}
	}
	return true
}

func hasClusterIP(s *corev1.ServiceSpec) bool { return s.Type != corev1.ServiceTypeExternalName }

func hasNodePorts(s *corev1.ServiceSpec) bool {
	if s.Type == corev1.ServiceTypeLoadBalancer {
		return s.AllocateLoadBalancerNodePorts == nil || *s.AllocateLoadBalancerNodePorts
	}
	return s.Type == corev1.ServiceTypeNodePort
}

func hasHealthCheck(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}
