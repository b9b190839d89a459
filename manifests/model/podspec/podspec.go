// Package podspec validates what pods and pod templates share, in the words and with
// the field paths of the Kubernetes API. All of it is pure and safe for
// concurrent use.
package podspec

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

const (
	maxNameservers = 3
	maxSearchPaths = 32
	maxSearchChars = 2048
)

// ValidateTemplate validates the template of pods of whatever kind.
func ValidateTemplate(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabels(t.Labels, path.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, Validate(&t.Spec, path.Child("spec"), false)...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// ValidateReplicaTemplate validates the templates of controllers that keep pods
// running; owner is the kind that messages name.
func ValidateReplicaTemplate(t *corev1.PodTemplateSpec, owner string, path *field.Path) field.ErrorList {
	errs := ValidateTemplate(t, path)
	// A policy that is none at all has been reported already.
	if policy := t.Spec.RestartPolicy; policy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), policy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+owner+" is not Supported"))
	}
	return errs
}

// Validate validates pods and templates. In a template a host port may be left
// to the pod's defaults.
func Validate(s *corev1.PodSpec, path *field.Path, isPod bool) field.ErrorList {
	var grace int64
	if s.TerminationGracePeriodSeconds != nil {
		grace = *s.TerminationGracePeriodSeconds
	}
	mountable, errs := volumes(s.Volumes, path.Child("volumes"))
	errs = append(errs, containers(s, mountable, grace, path.Child("containers"))...)
	errs = append(errs, initContainers(s, mountable, grace, path.Child("initContainers"))...)
	errs = append(errs, ephemeralContainers(s, mountable, path.Child("ephemeralContainers"))...)
	errs = append(errs, hostNetwork(s, path.Child("containers"), isPod)...)
	errs = append(errs, rule.OneOf(s.RestartPolicy, path.Child("restartPolicy"), corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, rule.OneOf(s.DNSPolicy, path.Child("dnsPolicy"), corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, podSecurity(s, path)...)
	errs = append(errs, affinity(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, dnsConfig(s, path.Child("dnsConfig"))...)
	for i, gate := range s.ReadinessGates {
		name := string(gate.ConditionType)
		errs = append(errs, rule.Invalid(path.Child("readinessGates").Index(i).Child("conditionType"), name, validation.IsQualifiedName(name))...)
	}
	errs = append(errs, schedulingGates(s.SchedulingGates, path.Child("schedulingGates"))...)
	errs = append(errs, spread(s.TopologySpreadConstraints, isPod, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, podNames(s, path)...)
	errs = append(errs, rule.Seconds31(s.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	errs = append(errs, Tolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, hostAliases(s.HostAliases, path.Child("hostAliases"))...)
	if s.OS != nil {
		errs = append(errs, operatingSystem(s.OS, path.Child("os"))...)
		if s.OS.Name == corev1.Linux {
			errs = append(errs, notWindows(s, path)...)
		}
	}
	if s.PreemptionPolicy != nil {
		errs = append(errs, rule.OneOf(*s.PreemptionPolicy, path.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	if s.Overhead != nil {
		errs = append(errs, Overhead(s.Overhead, path.Child("overhead"))...)
	}
	if s.Resources != nil {
		errs = append(errs, podResources(s, path.Child("resources"))...)
	}
	return errs
}

func operatingSystem(os *corev1.PodOS, path *field.Path) field.ErrorList {
	if os.Name == "" {
		return field.ErrorList{field.Required(path.Child("name"), "")}
	}
	return rule.NotSupported(os.Name, path, corev1.Linux, corev1.Windows)
}

// notWindows forbids the options of another system.
func notWindows(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	const message = "windows options cannot be set for a linux pod"
	var errs field.ErrorList
	if sc := s.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		errs = append(errs, field.Forbidden(path.Child("securityContext", "windowsOptions"), message))
	}
	for _, l := range []struct {
		name string
		list []corev1.Container
	}{{"initContainers", s.InitContainers}, {"containers", s.Containers}} {
		for i, c := range l.list {
			if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
				errs = append(errs, field.Forbidden(path.Child(l.name).Index(i).Child("securityContext", "windowsOptions"), message))
			}
		}
	}
	return errs
}

// podNames checks the fields that are nothing but a name.
func podNames(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.ServiceAccountName != "" {
		errs = append(errs, rule.DNSSubdomain(s.ServiceAccountName, path.Child("serviceAccountName"))...)
	}
	if s.NodeName != "" {
		errs = append(errs, rule.DNSSubdomain(s.NodeName, path.Child("nodeName"))...)
	}
	if s.Hostname != "" {
		errs = append(errs, rule.DNSLabel(s.Hostname, path.Child("hostname"))...)
	}
	if s.Subdomain != "" {
		errs = append(errs, rule.DNSLabel(s.Subdomain, path.Child("subdomain"))...)
	}
	if s.PriorityClassName != "" {
		errs = append(errs, rule.DNSSubdomain(s.PriorityClassName, path.Child("priorityClassName"))...)
	}
	if s.RuntimeClassName != nil {
		errs = append(errs, rule.DNSSubdomain(*s.RuntimeClassName, path.Child("runtimeClassName"))...)
	}
	return errs
}

// hostNetwork demands equal ports: nothing translates them there.
func hostNetwork(s *corev1.PodSpec, path *field.Path, isPod bool) field.ErrorList {
	if !s.HostNetwork {
		return nil
	}
	var errs field.ErrorList
	for i, c := range s.Containers {
		for j, port := range c.Ports {
			if port.HostPort != port.ContainerPort && (isPod || port.HostPort != 0) {
				errs = append(errs, field.Invalid(path.Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort,
					"must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
	return errs
}

func dnsConfig(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	config := s.DNSConfig
	if s.DNSPolicy == corev1.DNSNone {
		if config == nil {
			return field.ErrorList{field.Required(path, "must provide `dnsConfig` when `dnsPolicy` is None")}
		}
		if len(config.Nameservers) == 0 {
			return field.ErrorList{field.Required(path.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")}
		}
	}
	if config == nil {
		return nil
	}
	var errs field.ErrorList
	if len(config.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(path.Child("nameservers"), config.Nameservers, "must not have more than 3 nameservers"))
	}
	for i, server := range config.Nameservers {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Child("nameservers").Index(i), server, true, nil)...)
	}
	if len(config.Searches) > maxSearchPaths {
		errs = append(errs, field.Invalid(path.Child("searches"), config.Searches, "must not have more than 32 search paths"))
	}
	chars := max(len(config.Searches)-1, 0)
	for i, search := range config.Searches {
		chars += len(search)
		if search != "." {
			errs = append(errs, searchPath(search, path.Child("searches").Index(i))...)
		}
	}
	if chars > maxSearchChars {
		errs = append(errs, field.Invalid(path.Child("searches"), config.Searches, "must not have more than 2048 characters (including spaces) in the search list"))
	}
	for i, option := range config.Options {
		if option.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

func searchPath(search string, path *field.Path) field.ErrorList {
	if n := len(search); n > 0 && search[n-1] == '.' {
		search = search[:n-1]
	}
	return rule.Invalid(path, search, validation.IsDNS1123SubdomainWithUnderscore(search))
}

func hostAliases(aliases []corev1.HostAlias, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, alias := range aliases {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i).Child("ip"), alias.IP, true, nil)...)
		for j, host := range alias.Hostnames {
			errs = append(errs, rule.DNSSubdomain(host, path.Index(i).Child("hostnames").Index(j))...)
		}
	}
	return errs
}
