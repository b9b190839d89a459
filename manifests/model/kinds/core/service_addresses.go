package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"headway.dev/manifests/model/rule"
)

// clusterIPs holds the addresses of a Service against its families.
func clusterIPs(s *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	path := rule.Spec.Child("clusterIPs")
	switch {
	case s.ClusterIP == "" && len(s.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(path, s.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case s.ClusterIP != "" && len(s.ClusterIPs) == 0:
		errs = append(errs, field.Required(path, ""))
	case s.ClusterIP != "" && s.ClusterIPs[0] != s.ClusterIP:
		errs = append(errs, field.Invalid(path, s.ClusterIPs, "first value must match `clusterIP`"))
	}
	seen := map[corev1.IPFamily]bool{}
	for i, family := range s.IPFamilies {
		at := rule.Spec.Child("ipFamilies").Index(i)
		errs = append(errs, rule.NotSupported(family, at, corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		errs = append(errs, rule.Unique(seen, family, at)...)
	}
	if s.IPFamilyPolicy != nil {
		errs = append(errs, rule.NotSupported(*s.IPFamilyPolicy, rule.Spec.Child("ipFamilyPolicy"),
			corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)...)
	}
	invalid := validIPs(s.ClusterIPs, path)
	errs = append(errs, invalid...)
	if len(s.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(path, s.ClusterIPs, "may only hold up to 2 values"))
	}
	if len(invalid) > 0 {
		return errs
	}
	if len(s.ClusterIPs) > 1 {
		both, err := netutils.IsDualStackIPStrings(s.ClusterIPs)
		if err != nil {
			errs = append(errs, field.InternalError(path, fmt.Errorf("failed to check for dual stack with error:%w", err)))
		}
		if !both {
			errs = append(errs, field.Invalid(path, s.ClusterIPs, "may specify no more than one IP for each IP family"))
		}
	}
	return append(errs, ofFamilies(s, path)...)
}

func validIPs(list []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range list {
		switch {
		case i > 0 || ip != corev1.ClusterIPNone:
			errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i), ip, true, nil)...)
		case len(list) > 1:
			errs = append(errs, field.Invalid(path, list, "'None' must be the first and only value"))
		}
	}
	return errs
}

func ofFamilies(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	if headless(s) {
		return nil
	}
	var errs field.ErrorList
	for i, ip := range s.ClusterIPs {
		if i == len(s.IPFamilies) {
			break
		}
		if family := s.IPFamilies[i]; family == corev1.IPv4Protocol && netutils.IsIPv6String(ip) || family == corev1.IPv6Protocol && !netutils.IsIPv6String(ip) {
			errs = append(errs, field.Invalid(path.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", family, i)))
		}
	}
	return errs
}

const setOnce = "may not change once set"

func validateServiceUpdate(svc, old *corev1.Service) field.ErrorList {
	s, was := &svc.Spec, &old.Spec
	var errs field.ErrorList
	if s.Type != corev1.ServiceTypeExternalName && was.Type != corev1.ServiceTypeExternalName {
		if !headless(s) || !headless(was) {
			errs = append(errs, sameClusterIPs(s, was)...)
		}
		if !headless(s) && !headless(was) {
			errs = append(errs, sameFamilies(s, was)...)
		}
	}
	if s.Type == corev1.ServiceTypeLoadBalancer && was.Type == corev1.ServiceTypeLoadBalancer && !sameText(s.LoadBalancerClass, was.LoadBalancerClass) {
		errs = append(errs, field.Invalid(rule.Spec.Child("loadBalancerClass"), s.LoadBalancerClass, setOnce))
	}
	if hasHealthCheck(s) && hasHealthCheck(was) && s.HealthCheckNodePort != was.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(rule.Spec.Child("healthCheckNodePort"), apivalidation.FieldImmutableErrorMsg))
	}
	return errs
}

func sameText(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// sameClusterIPs allows a second address to come and to go.
func sameClusterIPs(s, was *corev1.ServiceSpec) field.ErrorList {
	path := rule.Spec.Child("clusterIPs")
	now, before := s.ClusterIPs, was.ClusterIPs
	var errs field.ErrorList
	changed := func(i int) {
		errs = append(errs, field.Invalid(path.Index(i), now, setOnce))
	}
	switch {
	case len(now) == len(before):
		for i := range now {
			if now[i] != before[i] {
				changed(i)
			}
		}
	case len(now) == 0:
		errs = append(errs, field.Invalid(path.Index(0), now, "primary clusterIP can not be unset"))
	case len(before) > 0 && now[0] != before[0]:
		changed(0)
	}
	if len(now) == 1 && len(before) > 1 {
		errs = append(errs, single(s, "must be 'SingleStack' to release the secondary cluster IP")...)
	}
	return errs
}

// sameFamilies allows a second family to come and to go.
func sameFamilies(s, was *corev1.ServiceSpec) field.ErrorList {
	path := rule.Spec.Child("ipFamilies").Index(0)
	now, before := s.IPFamilies, was.IPFamilies
	var errs field.ErrorList
	if len(now) == len(before) {
		for i := range now {
			if now[i] != before[i] {
				errs = append(errs, field.Invalid(path, now, setOnce))
			}
		}
		return errs
	}
	if len(now) < len(before) && len(s.ClusterIPs) == 0 {
		errs = append(errs, field.Invalid(path, now, "primary ipFamily can not be unset"))
	}
	if len(now) > 0 && len(before) > 0 && now[0] != before[0] {
		// The addresses instead of the families are the API's.
		errs = append(errs, field.Invalid(path, s.ClusterIPs, setOnce))
	}
	if len(now) == 1 && len(before) > 1 {
		errs = append(errs, single(s, "must be 'SingleStack' to release the secondary IP family")...)
	}
	return errs
}

func single(s *corev1.ServiceSpec, message string) field.ErrorList {
	if p := s.IPFamilyPolicy; p != nil && *p == corev1.IPFamilyPolicySingleStack {
		return nil
	}
	return field.ErrorList{field.Invalid(rule.Spec.Child("ipFamilyPolicy"), s.IPFamilyPolicy, message)}
}

// validateServiceStatus is about the addresses of a load balancer.
func validateServiceStatus(svc, _ *corev1.Service) field.ErrorList {
	path, list := rule.Status.Child("loadBalancer", "ingress"), svc.Status.LoadBalancer.Ingress
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer && len(list) > 0 {
		return field.ErrorList{field.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	var errs field.ErrorList
	for i := range list {
		in, at := &list[i], path.Index(i)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, true, nil)...)
		}
		switch mode := at.Child("ipMode"); {
		case in.IPMode == nil && in.IP != "":
			errs = append(errs, field.Required(mode, "must be specified when `ip` is set"))
		case in.IPMode == nil:
		case in.IP == "":
			errs = append(errs, field.Forbidden(mode, "may not be specified when `ip` is not set"))
		default:
			errs = append(errs, rule.NotSupported(*in.IPMode, mode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)...)
		}
		if in.Hostname != "" {
			errs = append(errs, rule.DNSSubdomain(in.Hostname, at.Child("hostname"))...)
			if netutils.ParseIPSloppy(in.Hostname) != nil {
				errs = append(errs, field.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}
