package admit

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// rangeOf finds the range of a family, nil if the cluster has none.
func (s *services) rangeOf(family corev1.IPFamily) *addresses {
	for i := range s.ranges {
		if s.ranges[i].family() == family {
			return &s.ranges[i]
		}
	}
	return nil
}

// setFamilies refuses families that the cluster does not have, adds the second one to a
// Service that wants it, and takes it from one that has become SingleStack. What was given
// is valid by itself.
func (a *allocation) setFamilies(before *corev1.Service) error {
	spec := &a.svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName || settled(a.svc, before) {
		return nil
	}
	path := field.NewPath("spec")
	single := spec.IPFamilyPolicy == nil || *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	if single {
		// With what was there before, the policy alone says that the second is to go.
		if before != nil && len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, before.Spec.ClusterIPs) {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
		if before != nil && len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, before.Spec.IPFamilies) {
			spec.IPFamilies = spec.IPFamilies[:1]
		}
		if len(spec.ClusterIPs) > 1 {
			return a.invalid(field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
		}
		if len(spec.IPFamilies) > 1 {
			return a.invalid(field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
		}
	}
	if err := a.inferFamilies(); err != nil {
		return err
	}
	// Without a selector and without addresses nothing of it depends on the cluster.
	if slices.Contains(spec.ClusterIPs, corev1.ClusterIPNone) && len(spec.Selector) == 0 {
		if len(spec.IPFamilies) == 0 {
			spec.IPFamilies = []corev1.IPFamily{a.ranges[0].family()}
		}
		if !single && len(spec.IPFamilies) == 1 {
			spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
		}
		return nil
	}
	if !single && *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(a.ranges) < 2 {
		return a.invalid(field.Invalid(path.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range spec.IPFamilies {
		if a.rangeOf(family) == nil {
			return a.invalid(field.Invalid(path.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{a.ranges[0].family()}
	}
	if !single && len(spec.IPFamilies) == 1 && len(a.ranges) == 2 {
		spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
	}
	return nil
}

// settled reports whether an update leaves all that is about families of a Service that
// prefers two as it was: what the cluster has gained or lost since changes nothing then.
func settled(svc, before *corev1.Service) bool {
	if before == nil || svc.Spec.Type != before.Spec.Type {
		return false
	}
	prefers := func(s *corev1.Service) bool {
		return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack
	}
	return prefers(svc) && prefers(before) && slices.Equal(svc.Spec.ClusterIPs, before.Spec.ClusterIPs) && slices.Equal(svc.Spec.IPFamilies, before.Spec.IPFamilies)
}

// inferFamilies adds those of given addresses that have none beside them.
func (a *allocation) inferFamilies() error {
	spec := &a.svc.Spec
	for i, text := range spec.ClusterIPs {
		ip, err := netip.ParseAddr(text)
		if err != nil || i < len(spec.IPFamilies) {
			continue
		}
		family := corev1.IPv4Protocol
		if ip.Is6() {
			family = corev1.IPv6Protocol
		}
		if a.rangeOf(family) == nil {
			return a.invalid(field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
		}
		spec.IPFamilies = append(spec.IPFamilies, family)
	}
	return nil
}

func other(family corev1.IPFamily) corev1.IPFamily {
	if family == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// allocateIPs gives the Service an address of each of its families.
func (a *allocation) allocateIPs() error {
	spec := &a.svc.Spec
	if !wantsIP(a.svc) {
		return nil
	}
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	for i, family := range spec.IPFamilies {
		if i < len(spec.ClusterIPs) {
			if err := a.takeIP(spec.ClusterIPs[i], family); err != nil {
				return err
			}
			continue
		}
		ip, err := a.nextIP(a.rangeOf(family))
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", err))
		}
		spec.ClusterIPs = append(spec.ClusterIPs, ip.String())
	}
	if len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	return nil
}

// takeIP takes an address that was asked for, or is the Service's.
func (a *allocation) takeIP(text string, family corev1.IPFamily) error {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to parse service IP %q", text))
	}
	r := a.rangeOf(family)
	switch {
	case r == nil:
		// Of a time when the cluster had the family: nobody else can have it.
		return nil
	case !r.contains(ip):
		err = fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, r.prefix)
	case !a.freeIP(ip):
		err = errIPAllocated
	default:
		return nil
	}
	return a.invalid(field.Invalid(field.NewPath("spec", "clusterIPs"), a.svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", ip, err)))
}

func (a *allocation) freeIP(ip netip.Addr) bool {
	if ip == a.ranges[0].at(1) && a.key != kubernetesKey {
		return false
	}
	return a.ips.free(a.view, a.key, ip)
}

// nextIP finds a free address of a range.
func (a *allocation) nextIP(r *addresses) (netip.Addr, error) {
	if r == nil {
		return netip.Addr{}, errFull
	}
	if first := r.at(1); a.key == kubernetesKey && a.freeIP(first) {
		return first, nil
	}
	n, err := scan(r.size, band(r.size, 16, 16, 256), a.start(), func(i int) bool { return a.freeIP(r.at(i)) })
	if err != nil {
		return netip.Addr{}, err
	}
	return r.at(n), nil
}
