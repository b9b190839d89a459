package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/honour"
)

var serviceSpecFields = honour.Fields{
	Honoured: "ports selector clusterIP clusterIPs type sessionAffinity externalName externalTrafficPolicy publishNotReadyAddresses sessionAffinityConfig " +
		"ipFamilies ipFamilyPolicy allocateLoadBalancerNodePorts internalTrafficPolicy externalIPs loadBalancerSourceRanges healthCheckNodePort trafficDistribution",
	Rules: map[string]*honour.Rule{
		"type": {
			Level: honour.Hint, Values: "LoadBalancer", Reason: "there is no load balancer, which leaves a LoadBalancer with its node ports and without an address",
			Asks: honour.When(func(s *corev1.ServiceSpec) bool { return s.Type == corev1.ServiceTypeLoadBalancer }),
		},
		"loadBalancerIP":    {Level: honour.Hint, Reason: "there is no load balancer"},
		"loadBalancerClass": {Level: honour.Hint, Reason: "there is no load balancer"},
	},
}
