package pod

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubectl/pkg/util/qos"

	"headway.dev/nodes/runtime"
)

// Ref is the runtime's name of the pod.
func Ref(p *corev1.Pod) runtime.PodRef {
	return runtime.PodRef{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID)}
}

// SandboxConfig returns the sandbox that a pod asks for. dns is the content of
// /etc/resolv.conf.
func SandboxConfig(p *corev1.Pod, dns string) runtime.SandboxConfig {
	cfg := runtime.SandboxConfig{
		PodRef:      Ref(p),
		Hostname:    hostname(p), // which KernelHostname may lengthen
		HostNetwork: p.Spec.HostNetwork, HostPID: p.Spec.HostPID, HostIPC: p.Spec.HostIPC,
		ResolvConf: dns,
		QOSClass:   string(qos.GetPodQOS(p)),
		Resources:  Resources(p),
	}
	if sc := p.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		cfg.Sysctls = map[string]string{}
		for _, s := range sc.Sysctls {
			cfg.Sysctls[s.Name] = s.Value
		}
	}
	if p.Spec.HostNetwork {
		return cfg // its ports are the node's already
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range list {
			for _, port := range c.Ports {
				if port.HostPort == 0 {
					continue
				}
				protocol := string(port.Protocol)
				if protocol == "" {
					protocol = "TCP"
				}
				cfg.HostPorts = append(cfg.HostPorts, runtime.HostPort{Protocol: protocol, HostIP: port.HostIP, HostPort: port.HostPort, ContainerPort: port.ContainerPort})
			}
		}
	}
	return cfg
}

// hostname is the pod's host name: spec.hostname or its name, cut to the
// kernel's 63 characters.
func hostname(p *corev1.Pod) string {
	name := p.Name
	if p.Spec.Hostname != "" {
		name = p.Spec.Hostname
	}
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}

// kernelNameMax is how long a host name may be for the kernel.
const kernelNameMax = 64

// KernelHostname is the host name that the pod's processes see: with setHostnameAsFQDN
// it has the pod's domain in the cluster.
func KernelHostname(p *corev1.Pod, clusterDomain string) (string, error) {
	name := hostname(p)
	if p.Spec.Subdomain == "" || clusterDomain == "" || p.Spec.SetHostnameAsFQDN == nil || !*p.Spec.SetHostnameAsFQDN {
		return name, nil
	}
	full := fullName(p, clusterDomain)
	if len(full) > kernelNameMax {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)", full, kernelNameMax, len(full))
	}
	return full, nil
}

// fullName is the name of a pod with a subdomain.
func fullName(p *corev1.Pod, clusterDomain string) string {
	return fmt.Sprintf("%s.%s.%s.svc.%s", hostname(p), p.Spec.Subdomain, p.Namespace, clusterDomain)
}

// Hosts is the content of the pod's /etc/hosts. node is the node's own file,
// used for pods in the node's network.
func Hosts(p *corev1.Pod, podIPs []string, clusterDomain, node string) string {
	var b strings.Builder
	if p.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n" + node)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		for _, ip := range podIPs {
			if p.Spec.Subdomain != "" && clusterDomain != "" {
				fmt.Fprintf(&b, "%s\t%s\t%s\n", ip, fullName(p, clusterDomain), hostname(p))
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, hostname(p))
			}
		}
	}
	if len(p.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, alias := range p.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
		}
	}
	return b.String()
}

// Labels are what is kept with the container that a Start step asks for: later
// decisions go by it.
func (s Start) Labels() map[string]string {
	return map[string]string{
		LabelImage: s.Container.Image, LabelBackOff: s.BackOff.String(), LabelResources: resourcesLabel(&s.Container.Resources),
	}
}

// ContainerConfig returns the container that a Start step asks for. env and
// mounts come from Environment and the volumes.
func ContainerConfig(p *corev1.Pod, s Start, env []string, mounts []runtime.Mount, memoryCapacity int64) (runtime.ContainerConfig, error) {
	c := s.Container
	if sc := c.SecurityContext; sc != nil && sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount {
		return runtime.ContainerConfig{}, errors.New("securityContext.procMount: Unmasked is not supported: it needs user namespaces (hostUsers: false)")
	}
	security, err := securityOf(p, &c)
	if err != nil {
		return runtime.ContainerConfig{}, err
	}
	values := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	lookup := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	expand := func(list []string) []string {
		out := make([]string, len(list))
		for i, arg := range list {
			out[i] = Expand(arg, lookup)
		}
		return out
	}
	cfg := runtime.ContainerConfig{
		Name: c.Name, Attempt: s.Attempt, Image: c.Image,
		Command: expand(c.Command), Args: expand(c.Args), WorkingDir: c.WorkingDir,
		Env: env, Mounts: mounts,
		Resources:   ContainerResources(p, &c),
		OOMScoreAdj: OOMScoreAdj(p, &c, memoryCapacity),
		TTY:         c.TTY, Stdin: c.Stdin, StdinOnce: c.StdinOnce,
		Security: security, Target: s.Target,
		Labels: s.Labels(),
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		cfg.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	return cfg, nil
}

// securityOf merges the pod's and the container's security context; the
// container's wins.
func securityOf(p *corev1.Pod, c *corev1.Container) (runtime.Security, error) {
	var s runtime.Security
	var seccomp *corev1.SeccompProfile
	if sc := p.Spec.SecurityContext; sc != nil {
		s.RunAsUser, s.RunAsGroup, s.FSGroup = sc.RunAsUser, sc.RunAsGroup, sc.FSGroup
		s.RunAsNonRoot = sc.RunAsNonRoot != nil && *sc.RunAsNonRoot
		s.SupplementalGroups = append(s.SupplementalGroups, sc.SupplementalGroups...)
		seccomp = sc.SeccompProfile
	}
	if sc := c.SecurityContext; sc != nil {
		if sc.RunAsUser != nil {
			s.RunAsUser = sc.RunAsUser
		}
		if sc.RunAsGroup != nil {
			s.RunAsGroup = sc.RunAsGroup
		}
		if sc.RunAsNonRoot != nil {
			s.RunAsNonRoot = *sc.RunAsNonRoot
		}
		s.Privileged = sc.Privileged != nil && *sc.Privileged
		s.ReadOnlyRootFilesystem = sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
		s.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
		if sc.Capabilities != nil {
			for _, capability := range sc.Capabilities.Add {
				s.AddCapabilities = append(s.AddCapabilities, string(capability))
			}
			for _, capability := range sc.Capabilities.Drop {
				s.DropCapabilities = append(s.DropCapabilities, string(capability))
			}
		}
		if sc.SeccompProfile != nil {
			seccomp = sc.SeccompProfile
		}
	}
	if seccomp != nil {
		if seccomp.Type == corev1.SeccompProfileTypeLocalhost {
			return s, errLocalhostSeccomp
		}
		s.Seccomp = string(seccomp.Type)
	}
	sort.Strings(s.AddCapabilities)
	sort.Strings(s.DropCapabilities)
	return s, nil
}

// errLocalhostSeccomp keeps a profile that cannot be applied from being
// silently ignored.
var errLocalhostSeccomp = errors.New("seccompProfile type Localhost is not supported: use RuntimeDefault or Unconfined")
