package podspec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"

	"headway.dev/manifests/model/rule"
)

const (
	sysctlSegment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
	sysctlFormat  = "(" + sysctlSegment + "[\\./])*" + sysctlSegment
	sysctlMax     = 253
)

var sysctlName = regexp.MustCompile("^" + sysctlFormat + "$")

func podSecurity(s *corev1.PodSpec, specPath *field.Path) field.ErrorList {
	sc, path := s.SecurityContext, specPath.Child("securityContext")
	var errs field.ErrorList
	if s.ShareProcessNamespace != nil && *s.ShareProcessNamespace && s.HostPID {
		errs = append(errs, field.Invalid(path.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	if s.HostUsers != nil && !*s.HostUsers {
		errs = append(errs, rule.NoneOf(specPath, "when `hostUsers` is false", []rule.SetField{
			{Name: "hostNetwork", Set: s.HostNetwork}, {Name: "HostPID", Set: s.HostPID}, {Name: "HostIPC", Set: s.HostIPC}, // the capitals are the API's
		})...)
	}
	if sc == nil {
		return errs
	}
	errs = append(errs, groupID(sc.FSGroup, path.Child("fsGroup"))...)
	errs = append(errs, userID(sc.RunAsUser, path.Child("runAsUser"))...)
	errs = append(errs, groupID(sc.RunAsGroup, path.Child("runAsGroup"))...)
	for i := range sc.SupplementalGroups {
		errs = append(errs, groupID(&sc.SupplementalGroups[i], path.Child("supplementalGroups").Index(i))...)
	}
	errs = append(errs, sysctls(s, path.Child("sysctls"))...)
	if p := sc.FSGroupChangePolicy; p != nil {
		errs = append(errs, rule.NotSupported(*p, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	if p := sc.SupplementalGroupsPolicy; p != nil {
		errs = append(errs, rule.NotSupported(*p, path.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	if p := sc.SELinuxChangePolicy; p != nil {
		errs = append(errs, rule.NotSupported(*p, path.Child("seLinuxChangePolicy"), corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	}
	errs = append(errs, appArmor(sc.AppArmorProfile, path.Child("appArmorProfile"))...)
	return append(errs, seccomp(sc.SeccompProfile, path.Child("seccompProfile"))...)
}

func containerSecurity(sc *corev1.SecurityContext, path *field.Path) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := userID(sc.RunAsUser, path.Child("runAsUser"))
	errs = append(errs, groupID(sc.RunAsGroup, path.Child("runAsGroup"))...)
	if sc.ProcMount != nil {
		errs = append(errs, rule.OneOf(*sc.ProcMount, path.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
	}
	errs = append(errs, seccomp(sc.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, appArmor(sc.AppArmorProfile, path.Child("appArmorProfile"))...)
	if sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		if sc.Privileged != nil && *sc.Privileged {
			errs = append(errs, field.Invalid(path, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if sc.Capabilities != nil && slices.Contains(sc.Capabilities.Add, "CAP_SYS_ADMIN") {
			errs = append(errs, field.Invalid(path, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
		}
	}
	return errs
}

func userID(id *int64, path *field.Path) field.ErrorList {
	if id == nil {
		return nil
	}
	return rule.Invalid(path, *id, validation.IsValidUserID(*id))
}

func groupID(id *int64, path *field.Path) field.ErrorList {
	if id == nil {
		return nil
	}
	return rule.Invalid(path, *id, validation.IsValidGroupID(*id))
}

func seccomp(p *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if p.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "type is required when seccompProfile is set"))
	} else {
		errs = append(errs, rule.NotSupported(p.Type, path.Child("type"), corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	}
	local := path.Child("localhostProfile")
	switch {
	case p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile == nil:
		return append(errs, field.Required(local, "must be set when seccomp type is Localhost"))
	case p.Type == corev1.SeccompProfileTypeLocalhost:
		return append(errs, localPath(*p.LocalhostProfile, local)...)
	case p.LocalhostProfile != nil:
		return append(errs, field.Invalid(local, p, "can only be set when seccomp type is Localhost"))
	}
	return errs
}

// longestProfile is the length of a path.
const longestProfile = 4095

func appArmor(p *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	const unset = "must be set when AppArmor type is Localhost"
	local := path.Child("localhostProfile")
	var errs field.ErrorList
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		switch {
		case p.LocalhostProfile == nil || *p.LocalhostProfile == "":
			return field.ErrorList{field.Required(local, unset)}
		case strings.TrimSpace(*p.LocalhostProfile) != *p.LocalhostProfile:
			errs = append(errs, field.Invalid(local, *p.LocalhostProfile, "must not be padded with whitespace"))
		}
		return append(errs, rule.MaxLength(*p.LocalhostProfile, longestProfile, local)...)
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			return field.ErrorList{field.Invalid(local, p.LocalhostProfile, "can only be set when AppArmor type is Localhost")}
		}
		return nil
	case "":
		return field.ErrorList{field.Required(path.Child("type"), "type is required when appArmorProfile is set")}
	}
	return rule.NotSupported(p.Type, path.Child("type"), corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
}

func sysctls(pod *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, s := range pod.SecurityContext.Sysctls {
		at := path.Index(i).Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(at, ""))
		case len(s.Name) > sysctlMax || !sysctlName.MatchString(s.Name):
			errs = append(errs, field.Invalid(at, s.Name, fmt.Sprintf("must have at most %d characters and match regex ^%s$", sysctlMax, sysctlFormat)))
		default:
			errs = append(errs, rule.Unique(names, s.Name, at)...)
		}
		switch namespace, _, _ := sysctl.GetNamespace(s.Name); {
		case pod.HostNetwork && namespace == sysctl.NetNamespace:
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when 'hostNetwork' is true"))
		case pod.HostIPC && namespace == sysctl.IPCNamespace:
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when 'hostIPC' is true"))
		}
	}
	return errs
}
