package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/honour"
)

var serviceSpecFields = honour.Fields{
	Honoured: "ports selector clusterIP clusterIPs type sessionAffinity externalName externalTrafficPolicy publishNotReadyAddresses sessionAffinityConfig " +
		"ipFamilies ipFamilyPolicy allocateLoadBalancerNodePorts internalTrafficPolicy externalIPs loadBalancerIP loadBalancerSourceRanges healthCheckNodePort trafficDistribution",
	Rules: map[string]*honour.Rule{
		"loadBalancerClass": {
			Level: honour.Hint, Values: "others than headway.dev/load-balancer", Reason: "its addresses are left to somebody else's controller",
			Asks: honour.When(func(s *corev1.ServiceSpec) bool {
				return s.LoadBalancerClass != nil && *s.LoadBalancerClass != "headway.dev/load-balancer"
			}),
		},
	},
}
