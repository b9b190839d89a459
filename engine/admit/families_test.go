package admit_test

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/engine/admit"
)

// TestFamilies: a Service gets an address of each family that it wants, gives the second one
// back when it becomes SingleStack, and is not changed by what others have.
func TestFamilies(t *testing.T) {
	c := start(t, "10.96.0.0/24")
	c.cidr6 = "fd00:96::/120"
	c.reopen()
	policy := func(p corev1.IPFamilyPolicy) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = &p }
	}
	families := func(list ...corev1.IPFamily) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.IPFamilies = list }
	}
	selector := func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"a": "b"} }
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	check := func(name string, want ...corev1.IPFamily) *corev1.Service {
		t.Helper()
		svc := c.service(name)
		if !slices.Equal(svc.Spec.IPFamilies, want) {
			t.Errorf("families of %s = %v, want %v", name, svc.Spec.IPFamilies, want)
		}
		if svc.Spec.ClusterIP == corev1.ClusterIPNone {
			return svc
		}
		if len(svc.Spec.ClusterIPs) != len(want) || svc.Spec.ClusterIP != svc.Spec.ClusterIPs[0] {
			t.Fatalf("clusterIPs of %s = %q %q, want one of each of %v", name, svc.Spec.ClusterIP, svc.Spec.ClusterIPs, want)
		}
		for i, text := range svc.Spec.ClusterIPs {
			r := map[corev1.IPFamily]string{v4: c.cidr, v6: c.cidr6}[want[i]]
			if ip := netip.MustParseAddr(text); !netip.MustParsePrefix(r).Contains(ip) {
				t.Errorf("clusterIPs of %s = %q, want [%d] in %s", name, svc.Spec.ClusterIPs, i, r)
			}
		}
		return svc
	}
	c.must(
		put(service("single", policy(corev1.IPFamilyPolicySingleStack), families(v4))), put(service("six", policy(corev1.IPFamilyPolicySingleStack), families(v6))),
		put(service("prefer", policy(corev1.IPFamilyPolicyPreferDualStack), families(v4))), put(service("require", policy(corev1.IPFamilyPolicyRequireDualStack), families(v6))),
		put(service("headless", selector, withIP("None"), policy(corev1.IPFamilyPolicyPreferDualStack), families(v4))), put(service("default")),
		put(service("anywhere", withIP("None"), policy(corev1.IPFamilyPolicyRequireDualStack), families(v4))),
	)
	check("default", v4)
	single := check("single", v4)
	check("six", v6)
	prefer := check("prefer", v4, v6)
	check("require", v6, v4)
	check("headless", v4, v6)
	check("anywhere", v4, v6)

	// Up, and down again, which gives the address back.
	up := single.DeepCopy()
	policy(corev1.IPFamilyPolicyRequireDualStack)(&up.Spec)
	c.must(put(up))
	both := check("single", v4, v6)
	if both.Spec.ClusterIP != single.Spec.ClusterIP {
		t.Errorf("the first address was %s and is %s", single.Spec.ClusterIP, both.Spec.ClusterIP)
	}
	second := both.Spec.ClusterIPs[1]
	wantError(t, "taken", c.commit(put(service("other", withIP(second), families(v6)))), apierrors.IsInvalid, "failed to allocate IP "+second+": provided IP is already allocated")
	down := both.DeepCopy()
	policy(corev1.IPFamilyPolicySingleStack)(&down.Spec)
	c.must(put(down))
	check("single", v4)
	c.must(put(service("other", withIP(second), families(v6))))

	for what, one := range map[string]struct {
		svc  *corev1.Service
		want string
	}{
		"two families": {service("x", families(v4, v6)), "spec.ipFamilyPolicy: Invalid value: null: must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"},
		"two addresses": {service("x", func(s *corev1.ServiceSpec) {
			s.ClusterIP, s.ClusterIPs = "10.96.0.77", []string{"10.96.0.77", "fd00:96::77"}
		}), "when multiple cluster IPs are specified"},
		"elsewhere": {service("x", withIP("fd00:97::1"), families(v6)), "the provided IP (fd00:97::1) is not in the valid range. The range of valid IPs is fd00:96::/120"},
	} {
		wantError(t, what, c.commit(put(one.svc)), apierrors.IsInvalid, one.want)
	}

	// The cluster has one family again: what is there stays, and nothing new comes.
	c.cidr6 = ""
	c.reopen()
	c.must(put(prefer.DeepCopy()), put(service("later", policy(corev1.IPFamilyPolicyPreferDualStack), families(v4))))
	if got := c.service("prefer").Spec.ClusterIPs; !slices.Equal(got, prefer.Spec.ClusterIPs) {
		t.Errorf("clusterIPs = %v, want those of before %v", got, prefer.Spec.ClusterIPs)
	}
	if got := c.service("later").Spec.ClusterIPs; len(got) != 1 {
		t.Errorf("clusterIPs = %v, want one", got)
	}
	// Without addresses and a selector both families are allowed here, too.
	c.must(put(service("elsewhere", withIP("None"), policy(corev1.IPFamilyPolicyRequireDualStack))))
	check("elsewhere", v4, v6)
	wantError(t, "six", c.commit(put(service("y", families(v6)))), apierrors.IsInvalid, `spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster`)
	wantError(t, "an address of six", c.commit(put(service("y", withIP("fd00:96::9"), families()))), apierrors.IsInvalid, "IPv6 is not configured on this cluster")
	// A cluster that gains one does not change those that are settled.
	c.cidr6 = "fd00:96::/120"
	c.reopen()
	c.must(put(c.service("later").DeepCopy()))
	if got := c.service("later").Spec.ClusterIPs; len(got) != 1 {
		t.Errorf("clusterIPs = %v, want one", got)
	}
	for _, r := range []string{"10.0.0.0/24", "fd00::/64", "fd00::/127"} {
		if _, err := admit.New(admit.Config{ServiceCIDR: netip.MustParsePrefix(c.cidr), ServiceCIDR6: netip.MustParsePrefix(r)}); err == nil {
			t.Errorf("a second range %s was accepted", r)
		}
	}
}
