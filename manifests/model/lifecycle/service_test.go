package lifecycle_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/lifecycle"
)

func TestServiceUpdateKeepsWhatWasAllocated(t *testing.T) {
	type spec = corev1.ServiceSpec
	single, v4 := new(corev1.IPFamilyPolicySingleStack), []corev1.IPFamily{corev1.IPv4Protocol}
	allocated := spec{
		Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: single,
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
		Ports:                 []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 30001}, {Name: "b", Port: 81, NodePort: 30002}},
	}
	both := spec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: "fd00::1", ClusterIPs: []string{"fd00::1", "10.0.0.1"},
		IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}, IPFamilyPolicy: new(corev1.IPFamilyPolicyPreferDualStack),
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
		"both families left out": {
			old: both, in: spec{Type: corev1.ServiceTypeClusterIP}, want: both,
		},
		"back to one family is left to the cluster": {
			old: both, in: spec{Type: corev1.ServiceTypeClusterIP, IPFamilyPolicy: single},
			want: spec{Type: both.Type, ClusterIP: both.ClusterIP, ClusterIPs: both.ClusterIPs, IPFamilies: both.IPFamilies, IPFamilyPolicy: single},
		},
		"headless without a selector, once a name elsewhere": {
			old:  spec{Type: corev1.ServiceTypeExternalName, ExternalName: "a.example"},
			in:   spec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "None", ClusterIPs: []string{"None"}},
			want: spec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "None", ClusterIPs: []string{"None"}, IPFamilies: v4, IPFamilyPolicy: new(corev1.IPFamilyPolicyRequireDualStack)},
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
		if tc.old.IPFamilyPolicy == nil && tc.want.IPFamilyPolicy == nil && tc.want.Type != corev1.ServiceTypeExternalName {
			tc.want.IPFamilyPolicy, tc.want.IPFamilies = single, v4 // as of a new Service
		}
		if diff := cmp.Diff(tc.want, svc.Spec); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A new Service has one family, that of its address, unless it is headless without a
// selector: its endpoints may be of any.
func TestServiceCreateSettlesFamilies(t *testing.T) {
	selector := map[string]string{"a": "b"}
	for name, tc := range map[string]struct {
		spec   corev1.ServiceSpec
		policy corev1.IPFamilyPolicy
		want   []corev1.IPFamily
	}{
		"no address":                           {corev1.ServiceSpec{}, corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{corev1.IPv4Protocol}},
		"an address of IPv6":                   {corev1.ServiceSpec{ClusterIP: "fd00::1", ClusterIPs: []string{"fd00::1"}}, corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{corev1.IPv6Protocol}},
		"headless":                             {corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}, Selector: selector}, corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{corev1.IPv4Protocol}},
		"headless without a selector":          {corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}}, corev1.IPFamilyPolicyRequireDualStack, []corev1.IPFamily{corev1.IPv4Protocol}},
		"headless without a selector, by hand": {corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}, IPFamilyPolicy: new(corev1.IPFamilyPolicySingleStack)}, corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{corev1.IPv4Protocol}},
	} {
		svc := &corev1.Service{Spec: tc.spec}
		lifecycle.PrepareCreate(svc, time.Time{})
		if svc.Spec.IPFamilyPolicy == nil || *svc.Spec.IPFamilyPolicy != tc.policy || !slices.Equal(svc.Spec.IPFamilies, tc.want) {
			t.Errorf("%s: %v %v, want %s %v", name, svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies, tc.policy, tc.want)
		}
	}
}
