package lifecycle_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/lifecycle"
)

func TestServiceUpdateKeepsWhatWasAllocated(t *testing.T) {
	type spec = corev1.ServiceSpec
	single := new(corev1.IPFamilyPolicySingleStack)
	allocated := spec{
		Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: single,
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
		Ports:                 []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 30001}, {Name: "b", Port: 81, NodePort: 30002}},
	}
	for name, tc := range map[string]struct{ old, in, want spec }{
		"left out": {
			old: allocated,
			in: spec{
				Type: corev1.ServiceTypeNodePort, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
				Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}},
			},
			want: allocated,
		},
		"a port taken over by another": {
			old: allocated,
			in: spec{
				Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
				IPFamilies: allocated.IPFamilies, IPFamilyPolicy: single,
				Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "c", Port: 82, NodePort: 30001}},
			},
			want: spec{
				Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
				IPFamilies: allocated.IPFamilies, IPFamilyPolicy: single,
				Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "c", Port: 82, NodePort: 30001}},
			},
		},
		"another address is left to validation": {
			old: allocated,
			in:  spec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.9", IPFamilies: allocated.IPFamilies, IPFamilyPolicy: single},
			want: spec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.9", IPFamilies: allocated.IPFamilies, IPFamilyPolicy: single,
			},
		},
		"the older field edited alone": {
			old: spec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}},
			in:  spec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.9", ClusterIPs: []string{"10.0.0.1"}},
			want: spec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.9", ClusterIPs: []string{"10.0.0.9"},
			},
		},
		"load balancer to cluster IP": {
			old: spec{
				Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}, HealthCheckNodePort: 31000,
				ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, AllocateLoadBalancerNodePorts: new(true), LoadBalancerClass: new("x"),
			},
			in: spec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}, HealthCheckNodePort: 31000,
				ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, AllocateLoadBalancerNodePorts: new(true), LoadBalancerClass: new("x"),
			},
			want: spec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}},
		},
		"health check port left out": {
			old: spec{
				Type: corev1.ServiceTypeLoadBalancer, HealthCheckNodePort: 31000,
				ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			},
			in: spec{Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal},
			want: spec{
				Type: corev1.ServiceTypeLoadBalancer, HealthCheckNodePort: 31000,
				ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			},
		},
		"node port to cluster IP with the old node ports": {
			old: allocated,
			in: func() spec {
				s := *allocated.DeepCopy()
				s.Type = corev1.ServiceTypeClusterIP
				return s
			}(),
			want: spec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
				IPFamilies: allocated.IPFamilies, IPFamilyPolicy: single,
				Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}},
			},
		},
		"affinity off, with what it was": {
			old:  spec{SessionAffinity: "ClientIP", SessionAffinityConfig: &corev1.SessionAffinityConfig{}},
			in:   spec{SessionAffinity: "None", SessionAffinityConfig: &corev1.SessionAffinityConfig{}},
			want: spec{SessionAffinity: "None"},
		},
		"cluster IP to external name with the old address": {
			old:  spec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}},
			in:   spec{Type: corev1.ServiceTypeExternalName, ExternalName: "a.example", ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}},
			want: spec{Type: corev1.ServiceTypeExternalName, ExternalName: "a.example"},
		},
	} {
		old, svc := &corev1.Service{Spec: tc.old}, &corev1.Service{Spec: *tc.in.DeepCopy()}
		lifecycle.PrepareUpdate(svc, old)
		if diff := cmp.Diff(tc.want, svc.Spec); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
