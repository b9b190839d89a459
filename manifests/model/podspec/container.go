package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

func containers(s *corev1.PodSpec, mountable volumeSet, grace int64, path *field.Path) field.ErrorList {
	list := s.Containers
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range list {
		c, at := &list[i], path.Index(i)
		errs = append(errs, container(c, mountable, at)...)
		errs = append(errs, rule.Unique(names, c.Name, at.Child("name"))...)
		errs = append(errs, serving(c, grace, at)...)
		errs = append(errs, resizePolicy(c.ResizePolicy, s.RestartPolicy, at.Child("resizePolicy"))...)
		if c.RestartPolicy != nil {
			errs = append(errs, field.Forbidden(at.Child("restartPolicy"), "may not be set for non-init containers"))
		}
	}
	return append(errs, hostPorts(list, path)...)
}

func initContainers(s *corev1.PodSpec, mountable volumeSet, grace int64, path *field.Path) field.ErrorList {
	list := s.InitContainers
	var errs field.ErrorList
	names := map[string]bool{}
	for _, c := range s.Containers {
		names[c.Name] = true
	}
	for i := range list {
		c, at := &list[i], path.Index(i)
		errs = append(errs, container(c, mountable, at)...)
		if c.Name != "" {
			errs = append(errs, rule.Unique(names, c.Name, at.Child("name"))...)
		}
		errs = append(errs, resizePolicy(c.ResizePolicy, s.RestartPolicy, at.Child("resizePolicy"))...)
		// They run one after the other, so they may share a port.
		errs = append(errs, hostPorts(list[i:i+1], path)...)
		if c.RestartPolicy != nil {
			errs = append(errs, rule.OneOf(*c.RestartPolicy, at.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways)...)
			if *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
				errs = append(errs, serving(c, grace, at)...)
				continue
			}
		}
		errs = append(errs, rule.NoneOf(at, "may not be set for init containers without restartPolicy=Always", []rule.SetField{
			{Name: "lifecycle", Set: c.Lifecycle != nil},
			{Name: "livenessProbe", Set: c.LivenessProbe != nil},
			{Name: "readinessProbe", Set: c.ReadinessProbe != nil},
			{Name: "startupProbe", Set: c.StartupProbe != nil},
		})...)
	}
	return errs
}

// ValidateEphemeral validates the ephemeral containers of a pod, the rest of which
// is valid.
func ValidateEphemeral(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	mountable, _ := volumes(s.Volumes, path)
	return ephemeralContainers(s, mountable, path)
}

func ephemeralContainers(s *corev1.PodSpec, mountable volumeSet, path *field.Path) field.ErrorList {
	if len(s.EphemeralContainers) == 0 {
		return nil
	}
	targets, names := map[string]bool{}, map[string]bool{}
	for _, list := range [][]corev1.Container{s.Containers, s.InitContainers} {
		for _, c := range list {
			targets[c.Name], names[c.Name] = true, true
		}
	}
	var errs field.ErrorList
	for i := range s.EphemeralContainers {
		e, at := &s.EphemeralContainers[i], path.Index(i)
		// The two types differ only in TargetContainerName, by definition.
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		errs = append(errs, container(c, mountable, at)...)
		errs = append(errs, rule.Unique(names, c.Name, at.Child("name"))...)
		if e.TargetContainerName != "" && !targets[e.TargetContainerName] {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), e.TargetContainerName))
		}
		errs = append(errs, rule.NoneOf(at, "cannot be set for an Ephemeral Container", []rule.SetField{
			{Name: "ports", Set: len(c.Ports) > 0},
			{Name: "lifecycle", Set: c.Lifecycle != nil},
			{Name: "livenessProbe", Set: c.LivenessProbe != nil},
			{Name: "readinessProbe", Set: c.ReadinessProbe != nil},
			{Name: "startupProbe", Set: c.StartupProbe != nil},
			{Name: "resources", Set: len(c.Resources.Limits)+len(c.Resources.Requests) > 0},
			{Name: "resizePolicy", Set: len(c.ResizePolicy) > 0},
			{Name: "restartPolicy", Set: c.RestartPolicy != nil},
		})...)
		for j, m := range c.VolumeMounts {
			errs = append(errs, rule.NoneOf(at.Child("volumeMounts").Index(j), "cannot be set for an Ephemeral Container", []rule.SetField{
				{Name: "subPath", Set: m.SubPath != ""}, {Name: "subPathExpr", Set: m.SubPathExpr != ""},
			})...)
		}
	}
	return errs
}

// container holds for containers of every type.
func container(c *corev1.Container, mountable volumeSet, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else {
		errs = append(errs, rule.DNSLabel(c.Name, path.Child("name"))...)
	}
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), ""))
	}
	errs = append(errs, rule.OneOf(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, containerPorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, env(c.Env, path.Child("env"))...)
	errs = append(errs, envFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, volumeMounts(c, mountable, path.Child("volumeMounts"))...)
	errs = append(errs, rule.OneOf(c.ImagePullPolicy, path.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, resources(&c.Resources, path.Child("resources"))...)
	return append(errs, containerSecurity(c.SecurityContext, path.Child("securityContext"))...)
}

// serving holds for containers that run as long as the pod.
func serving(c *corev1.Container, grace int64, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Lifecycle != nil {
		errs = append(errs, hook(c.Lifecycle.PostStart, grace, path.Child("lifecycle", "postStart"))...)
		errs = append(errs, hook(c.Lifecycle.PreStop, grace, path.Child("lifecycle", "preStop"))...)
	}
	errs = append(errs, livenessProbe(c.LivenessProbe, grace, path.Child("livenessProbe"))...)
	errs = append(errs, readinessProbe(c.ReadinessProbe, grace, path.Child("readinessProbe"))...)
	return append(errs, livenessProbe(c.StartupProbe, grace, path.Child("startupProbe"))...)
}

func containerPorts(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			if bad := validation.IsValidPortName(p.Name); len(bad) > 0 {
				errs = append(errs, rule.Invalid(at.Child("name"), p.Name, bad)...)
			} else {
				errs = append(errs, rule.Unique(names, p.Name, at.Child("name"))...)
			}
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, rule.PortNumber(p.ContainerPort, at.Child("containerPort"))...)
		}
		if p.HostPort != 0 {
			errs = append(errs, rule.PortNumber(p.HostPort, at.Child("hostPort"))...)
		}
		errs = append(errs, rule.OneOf(p.Protocol, at.Child("protocol"), rule.Protocols...)...)
	}
	return errs
}

// hostPorts reports host ports that two containers of a pod ask for.
func hostPorts(list []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	taken := map[string]bool{}
	for i, c := range list {
		for j, p := range c.Ports {
			if p.HostPort != 0 {
				key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
				errs = append(errs, rule.Unique(taken, key, path.Index(i).Child("ports").Index(j).Child("hostPort"))...)
			}
		}
	}
	return errs
}

// TrimmedImages applies only to pods: a template may have a blank image that
// something fills in later.
func TrimmedImages(list []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, c := range list {
		if c.Image != strings.TrimSpace(c.Image) {
			errs = append(errs, field.Invalid(path.Index(i).Child("image"), c.Image, "must not have leading or trailing whitespace"))
		}
	}
	return errs
}
