package core

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/honour"
)

// podHonours has every type that the fields of a pod, or of a template of pods,
// lead to. Types that are not in it (metav1.LabelSelector, Quantity) are taken
// whole.
var podHonours = honour.Types{
	honour.Of[corev1.Pod]():                     {Honoured: "TypeMeta metadata spec status", Rules: map[string]*honour.Rule{"metadata": appArmorAnnotation(func(p *corev1.Pod) map[string]string { return p.Annotations })}},
	honour.Of[corev1.PodTemplateSpec]():         {Honoured: "metadata spec", Rules: map[string]*honour.Rule{"metadata": appArmorAnnotation(func(p *corev1.PodTemplateSpec) map[string]string { return p.Annotations })}},
	honour.Of[corev1.PodSpec]():                 podSpecFields,
	honour.Of[corev1.PodSecurityContext]():      podSecurityContextFields,
	honour.Of[corev1.Sysctl]():                  {Honoured: "name value", Rules: map[string]*honour.Rule{"name": unsafeSysctl}},
	honour.Of[corev1.Affinity]():                {Honoured: "nodeAffinity podAffinity podAntiAffinity"},
	honour.Of[corev1.NodeAffinity]():            {Honoured: requiredAndPreferred},
	honour.Of[corev1.PreferredSchedulingTerm](): {Honoured: "weight preference"},
	honour.Of[corev1.NodeSelector]():            {Honoured: "nodeSelectorTerms"},
	honour.Of[corev1.NodeSelectorTerm]():        {Honoured: "matchExpressions matchFields"},
	honour.Of[corev1.NodeSelectorRequirement](): {Honoured: "key operator values"},
	honour.Of[corev1.PodAffinity]():             {Honoured: requiredAndPreferred},
	honour.Of[corev1.PodAntiAffinity]():         {Honoured: requiredAndPreferred},
	honour.Of[corev1.WeightedPodAffinityTerm](): {Honoured: "weight podAffinityTerm"},
	honour.Of[corev1.PodAffinityTerm]():         {Honoured: "labelSelector namespaces topologyKey namespaceSelector matchLabelKeys mismatchLabelKeys"},
	honour.Of[corev1.TopologySpreadConstraint](): {
		Honoured: "maxSkew topologyKey whenUnsatisfiable labelSelector minDomains nodeAffinityPolicy nodeTaintsPolicy matchLabelKeys",
	},
	honour.Of[corev1.Toleration]():         {Honoured: "key operator value effect tolerationSeconds"},
	honour.Of[corev1.HostAlias]():          {Honoured: "ip hostnames"},
	honour.Of[corev1.PodDNSConfig]():       {Honoured: "nameservers searches options"},
	honour.Of[corev1.PodDNSConfigOption](): {Honoured: "name value"},
	honour.Of[corev1.PodReadinessGate]():   {Honoured: "conditionType"},
	honour.Of[corev1.PodSchedulingGate]():  {Honoured: "name"},
	honour.Of[corev1.PodOS](): {
		Honoured: "name",
		Rules: map[string]*honour.Rule{"name": {
			Level: honour.Refused, Values: "windows", Reason: "nodes run Linux",
			Asks: honour.When(func(o *corev1.PodOS) bool { return o.Name == corev1.Windows }),
		}},
	},
	honour.Of[corev1.LocalObjectReference]():              {Honoured: "name"},
	honour.Of[corev1.Volume]():                            {Honoured: "name VolumeSource"},
	honour.Of[corev1.VolumeSource]():                      volumeSourceFields,
	honour.Of[corev1.HostPathVolumeSource]():              {Honoured: "path type"},
	honour.Of[corev1.PersistentVolumeClaimVolumeSource](): {Honoured: "claimName readOnly"},
	honour.Of[corev1.EphemeralVolumeSource]():             {Honoured: "volumeClaimTemplate"},
	honour.Of[corev1.PersistentVolumeClaimTemplate]():     {Honoured: "metadata spec"},
	honour.Of[corev1.EmptyDirVolumeSource](): {
		Honoured: "medium sizeLimit",
		Rules: map[string]*honour.Rule{
			"medium": {
				Level: honour.Refused, Values: "HugePages", Reason: "the node offers no huge pages",
				Asks: honour.When(func(e *corev1.EmptyDirVolumeSource) bool { return strings.HasPrefix(string(e.Medium), "HugePages") }),
			},
			"mode": honour.NotServed("the directory's mode is 0777"),
		},
	},
	honour.Of[corev1.SecretVolumeSource]():      {Honoured: "secretName items defaultMode optional", Rules: fileOwner("defaultUser")},
	honour.Of[corev1.ConfigMapVolumeSource]():   {Honoured: "LocalObjectReference items defaultMode optional", Rules: fileOwner("defaultUser")},
	honour.Of[corev1.DownwardAPIVolumeSource](): {Honoured: "items defaultMode", Rules: fileOwner("defaultUser")},
	honour.Of[corev1.ProjectedVolumeSource]():   {Honoured: "sources defaultMode", Rules: fileOwner("defaultUser")},
	honour.Of[corev1.KeyToPath]():               {Honoured: "key path mode", Rules: fileOwner("user")},
	honour.Of[corev1.DownwardAPIVolumeFile]():   {Honoured: "path fieldRef resourceFieldRef mode", Rules: fileOwner("user")},
	honour.Of[corev1.VolumeProjection](): {
		Honoured: "secret downwardAPI configMap serviceAccountToken",
		Rules: map[string]*honour.Rule{
			"clusterTrustBundle": honour.NotServed("ClusterTrustBundles are not served"),
			"podCertificate":     honour.NotServed("pod certificates are not served"),
		},
	},
	honour.Of[corev1.SecretProjection]():              {Honoured: "LocalObjectReference items optional"},
	honour.Of[corev1.ConfigMapProjection]():           {Honoured: "LocalObjectReference items optional"},
	honour.Of[corev1.DownwardAPIProjection]():         {Honoured: "items"},
	honour.Of[corev1.ServiceAccountTokenProjection](): {Honoured: "audience expirationSeconds path", Rules: fileOwner("user")},
	honour.Of[corev1.ObjectFieldSelector]():           {Honoured: "apiVersion fieldPath"},
	honour.Of[corev1.ResourceFieldSelector]():         {Honoured: "containerName resource divisor"},
	honour.Of[corev1.Container]():                     containerFields,
	honour.Of[corev1.EphemeralContainer]():            {Honoured: "EphemeralContainerCommon targetContainerName"},
	honour.Of[corev1.EphemeralContainerCommon]():      containerFields,
	honour.Of[corev1.ContainerPort](): {
		Honoured: "name hostPort containerPort protocol hostIP",
		Rules: map[string]*honour.Rule{
			"hostPort": {
				Level: honour.Refused, Values: "of protocol SCTP", Reason: "host ports are TCP and UDP only",
				Asks: honour.When(func(p *corev1.ContainerPort) bool { return p.HostPort != 0 && p.Protocol == corev1.ProtocolSCTP }),
			},
			"hostIP": {
				Level: honour.Refused, Values: "no IPv4 address, with a hostPort", Reason: "host ports are opened at IPv4 addresses only",
				Asks: honour.When(func(p *corev1.ContainerPort) bool {
					ip, err := netip.ParseAddr(p.HostIP)
					return p.HostPort != 0 && p.HostIP != "" && (err != nil || !ip.Is4())
				}),
			},
		},
	},
	honour.Of[corev1.EnvFromSource]():         {Honoured: "prefix configMapRef secretRef"},
	honour.Of[corev1.ConfigMapEnvSource]():    {Honoured: "LocalObjectReference optional"},
	honour.Of[corev1.SecretEnvSource]():       {Honoured: "LocalObjectReference optional"},
	honour.Of[corev1.EnvVar]():                {Honoured: "name value valueFrom"},
	honour.Of[corev1.EnvVarSource]():          {Honoured: "fieldRef resourceFieldRef configMapKeyRef secretKeyRef", Rules: map[string]*honour.Rule{"fileKeyRef": honour.NotServed("variables are not read from files")}},
	honour.Of[corev1.ConfigMapKeySelector]():  {Honoured: "LocalObjectReference key optional"},
	honour.Of[corev1.SecretKeySelector]():     {Honoured: "LocalObjectReference key optional"},
	honour.Of[corev1.ResourceRequirements]():  {Honoured: "limits requests", Rules: map[string]*honour.Rule{"claims": noClaims}},
	honour.Of[corev1.ContainerResizePolicy](): {Honoured: "resourceName restartPolicy"},
	honour.Of[corev1.VolumeMount](): {
		Honoured: "name readOnly recursiveReadOnly mountPath subPath mountPropagation subPathExpr",
		Rules: map[string]*honour.Rule{
			"recursiveReadOnly": {
				Level: honour.Refused, Values: "Enabled", Reason: "mounts within a read-only volume stay writable",
				Asks: honour.When(func(m *corev1.VolumeMount) bool {
					return m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled
				}),
			},
			"bindMountOptions": honour.NotServed("volumes are mounted without further options"),
		},
	},
	honour.Of[corev1.Probe]():            {Honoured: "ProbeHandler initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold terminationGracePeriodSeconds"},
	honour.Of[corev1.ProbeHandler]():     {Honoured: "exec httpGet tcpSocket grpc"},
	honour.Of[corev1.ExecAction]():       {Honoured: "command"},
	honour.Of[corev1.HTTPGetAction]():    {Honoured: "path port host scheme httpHeaders", Rules: map[string]*honour.Rule{"protocol": honour.NotServed("probes speak the HTTP version that the server offers")}},
	honour.Of[corev1.HTTPHeader]():       {Honoured: "name value"},
	honour.Of[corev1.TCPSocketAction]():  {Honoured: "port host"},
	honour.Of[corev1.GRPCAction]():       {Honoured: "port service", Rules: map[string]*honour.Rule{"mode": honour.NotServed("gRPC probes are not encrypted")}},
	honour.Of[corev1.Lifecycle]():        {Honoured: "postStart preStop stopSignal"},
	honour.Of[corev1.LifecycleHandler](): {Honoured: "exec httpGet tcpSocket sleep"},
	honour.Of[corev1.SleepAction]():      {Honoured: "seconds"},
	honour.Of[corev1.SecurityContext]():  securityContextFields,
	honour.Of[corev1.Capabilities]():     capabilitiesFields,
	honour.Of[corev1.SELinuxOptions]():   seLinuxOptionsFields,
	honour.Of[corev1.SeccompProfile](): {
		Honoured: "type localhostProfile",
		Rules: map[string]*honour.Rule{"type": {
			Level: honour.Refused, Values: "Localhost", Reason: "use RuntimeDefault or Unconfined",
			Asks: honour.When(func(p *corev1.SeccompProfile) bool { return p.Type == corev1.SeccompProfileTypeLocalhost }),
		}},
	},
	honour.Of[corev1.AppArmorProfile](): {
		Honoured: "type localhostProfile",
		Rules: map[string]*honour.Rule{"type": {
			Level: honour.Refused, Values: "RuntimeDefault, Localhost", Reason: "containers run without an AppArmor profile; use Unconfined",
			Asks: honour.When(func(p *corev1.AppArmorProfile) bool { return p.Type != corev1.AppArmorProfileTypeUnconfined }),
		}},
	},
}

func fileOwner(name string) map[string]*honour.Rule {
	return map[string]*honour.Rule{name: honour.NotServed("files of volumes belong to root and the pod's fsGroup")}
}

const appArmorPrefix = "container.apparmor.security.beta.kubernetes.io/"

// appArmorAnnotation is about the older form of securityContext.appArmorProfile.
func appArmorAnnotation[T any](annotations func(*T) map[string]string) *honour.Rule {
	return &honour.Rule{
		Level: honour.Refused, Values: appArmorPrefix + "… other than unconfined", At: "annotations",
		Reason: "containers run without an AppArmor profile, which the annotation " + appArmorPrefix + "NAME asks for; use unconfined",
		Asks: honour.When(func(p *T) bool {
			for name, value := range annotations(p) {
				if strings.HasPrefix(name, appArmorPrefix) && value != "unconfined" {
					return true
				}
			}
			return false
		}),
	}
}

const requiredAndPreferred = "requiredDuringSchedulingIgnoredDuringExecution preferredDuringSchedulingIgnoredDuringExecution"

var noClaims = honour.NotServed("there are no resource claims")

// safeSysctls are those that the kubelet allows without further settings:
// https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/
var safeSysctls = []string{
	"kernel.shm_rmid_forced",
	"net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}

var unsafeSysctl = &honour.Rule{
	Level: honour.Refused, Values: "all but the safe ones", Reason: "only the safe sysctls can be set: " + strings.Join(safeSysctls, ", "),
	Asks: honour.When(func(s *corev1.Sysctl) bool {
		return !slices.Contains(safeSysctls, strings.ReplaceAll(s.Name, "/", "."))
	}),
}
