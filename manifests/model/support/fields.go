package support

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// fields are those of one struct type.
type fields struct {
	// honoured are the names of those with their effect, whatever their value.
	honoured string
	// rules are the others. A name may be in both: then the rule is about some
	// values, and the others are honoured.
	rules map[string]*Rule
}

// table has every type that a manifest's fields lead to, by its Go type.
// Types that are not in it (metav1.LabelSelector, Quantity) are taken whole.
var table = map[reflect.Type]fields{
	typeOf[corev1.Pod]():             {honoured: "TypeMeta metadata spec status", rules: map[string]*Rule{"metadata": appArmorAnnotation(func(p *corev1.Pod) map[string]string { return p.Annotations })}},
	typeOf[corev1.PodTemplateSpec](): {honoured: "metadata spec", rules: map[string]*Rule{"metadata": appArmorAnnotation(func(p *corev1.PodTemplateSpec) map[string]string { return p.Annotations })}},

	typeOf[appsv1.Deployment]():              {honoured: "TypeMeta metadata spec status"},
	typeOf[appsv1.DeploymentSpec]():          {honoured: "replicas selector template strategy minReadySeconds revisionHistoryLimit paused progressDeadlineSeconds"},
	typeOf[appsv1.DeploymentStrategy]():      {honoured: "type rollingUpdate"},
	typeOf[appsv1.RollingUpdateDeployment](): {honoured: "maxUnavailable maxSurge"},
	typeOf[appsv1.ReplicaSet]():              {honoured: "TypeMeta metadata spec status"},
	typeOf[appsv1.ReplicaSetSpec]():          {honoured: "replicas minReadySeconds selector template"},

	typeOf[corev1.Namespace]():     {honoured: "TypeMeta metadata spec status"},
	typeOf[corev1.NamespaceSpec](): {honoured: "finalizers"},
	typeOf[corev1.Node]():          {honoured: "TypeMeta metadata spec status"},
	typeOf[corev1.NodeSpec](): {
		honoured: "podCIDR podCIDRs providerID unschedulable taints",
		rules: map[string]*Rule{
			"externalID":          {Level: Hint, Reason: "nothing reads it"},
			"configSource":        notServed("agents take their settings from their flags"),
			"podPreemptionPolicy": notServed("nothing is preempted"),
		},
	},
	typeOf[corev1.Taint]():     {honoured: "key value effect timeAdded"},
	typeOf[corev1.ConfigMap](): {honoured: "TypeMeta metadata immutable data binaryData"},
	typeOf[corev1.Secret]():    {honoured: "TypeMeta metadata immutable data stringData type"},
	typeOf[corev1.ServiceAccount](): {
		honoured: "TypeMeta metadata secrets imagePullSecrets automountServiceAccountToken",
	},
	typeOf[corev1.ObjectReference](): {honoured: "kind namespace name uid apiVersion resourceVersion fieldPath"},

	typeOf[corev1.Service]():     {honoured: "TypeMeta metadata spec status"},
	typeOf[corev1.ServiceSpec](): serviceSpec,
	typeOf[corev1.ServicePort](): {
		honoured: "name protocol appProtocol port targetPort nodePort",
		rules: map[string]*Rule{"protocol": {
			Level: Refused, Values: "SCTP", Reason: "the proxy forwards TCP and UDP only",
			asks: when(func(p *corev1.ServicePort) bool { return p.Protocol == corev1.ProtocolSCTP }),
		}},
	},
	typeOf[corev1.SessionAffinityConfig](): {honoured: "clientIP"},
	typeOf[corev1.ClientIPConfig]():        {honoured: "timeoutSeconds"},

	typeOf[corev1.PodSpec]():            podSpec,
	typeOf[corev1.PodSecurityContext](): podSecurityContext,
	typeOf[corev1.Sysctl]():             {honoured: "name value", rules: map[string]*Rule{"name": unsafeSysctl}},
	typeOf[corev1.Affinity]():           {honoured: "nodeAffinity podAffinity podAntiAffinity"},
	typeOf[corev1.NodeAffinity](): {
		honoured: "requiredDuringSchedulingIgnoredDuringExecution",
		rules:    map[string]*Rule{"preferredDuringSchedulingIgnoredDuringExecution": {Level: Hint, Reason: "the scheduler weighs no preferences between nodes"}},
	},
	typeOf[corev1.NodeSelector]():            {honoured: "nodeSelectorTerms"},
	typeOf[corev1.NodeSelectorTerm]():        {honoured: "matchExpressions matchFields"},
	typeOf[corev1.NodeSelectorRequirement](): {honoured: "key operator values"},
	typeOf[corev1.PodAffinity]():             {rules: betweenPods},
	typeOf[corev1.PodAntiAffinity]():         {rules: betweenPods},
	typeOf[corev1.TopologySpreadConstraint](): {
		honoured: "maxSkew topologyKey labelSelector minDomains nodeAffinityPolicy nodeTaintsPolicy matchLabelKeys",
		rules: map[string]*Rule{"whenUnsatisfiable": {
			Level: Refused, Values: "DoNotSchedule", Reason: "the scheduler does not spread pods; ScheduleAnyway is accepted as a hint",
			asks: when(func(c *corev1.TopologySpreadConstraint) bool { return c.WhenUnsatisfiable != corev1.ScheduleAnyway }),
		}},
	},
	typeOf[corev1.Toleration]():         {honoured: "key operator value effect tolerationSeconds"},
	typeOf[corev1.HostAlias]():          {honoured: "ip hostnames"},
	typeOf[corev1.PodDNSConfig]():       {honoured: "nameservers searches options"},
	typeOf[corev1.PodDNSConfigOption](): {honoured: "name value"},
	typeOf[corev1.PodReadinessGate]():   {honoured: "conditionType"},
	typeOf[corev1.PodSchedulingGate]():  {honoured: "name"},
	typeOf[corev1.PodOS](): {
		honoured: "name",
		rules: map[string]*Rule{"name": {
			Level: Refused, Values: "windows", Reason: "nodes run Linux",
			asks: when(func(o *corev1.PodOS) bool { return o.Name == corev1.Windows }),
		}},
	},
	typeOf[corev1.LocalObjectReference](): {honoured: "name"},

	typeOf[corev1.Volume]():               {honoured: "name VolumeSource"},
	typeOf[corev1.VolumeSource]():         volumeSource,
	typeOf[corev1.HostPathVolumeSource](): {honoured: "path type"},
	typeOf[corev1.EmptyDirVolumeSource](): {
		honoured: "medium sizeLimit",
		rules: map[string]*Rule{
			"medium": {
				Level: Refused, Values: "HugePages", Reason: "the node offers no huge pages",
				asks: when(func(e *corev1.EmptyDirVolumeSource) bool { return strings.HasPrefix(string(e.Medium), "HugePages") }),
			},
			"mode": notServed("the directory's mode is 0777"),
		},
	},
	typeOf[corev1.SecretVolumeSource]():      {honoured: "secretName items defaultMode optional", rules: fileOwner("defaultUser")},
	typeOf[corev1.ConfigMapVolumeSource]():   {honoured: "LocalObjectReference items defaultMode optional", rules: fileOwner("defaultUser")},
	typeOf[corev1.DownwardAPIVolumeSource](): {honoured: "items defaultMode", rules: fileOwner("defaultUser")},
	typeOf[corev1.ProjectedVolumeSource]():   {honoured: "sources defaultMode", rules: fileOwner("defaultUser")},
	typeOf[corev1.KeyToPath]():               {honoured: "key path mode", rules: fileOwner("user")},
	typeOf[corev1.DownwardAPIVolumeFile]():   {honoured: "path fieldRef resourceFieldRef mode", rules: fileOwner("user")},
	typeOf[corev1.VolumeProjection](): {
		honoured: "secret downwardAPI configMap serviceAccountToken",
		rules: map[string]*Rule{
			"clusterTrustBundle": notServed("ClusterTrustBundles are not served"),
			"podCertificate":     notServed("pod certificates are not served"),
		},
	},
	typeOf[corev1.SecretProjection]():              {honoured: "LocalObjectReference items optional"},
	typeOf[corev1.ConfigMapProjection]():           {honoured: "LocalObjectReference items optional"},
	typeOf[corev1.DownwardAPIProjection]():         {honoured: "items"},
	typeOf[corev1.ServiceAccountTokenProjection](): {honoured: "audience expirationSeconds path", rules: fileOwner("user")},
	typeOf[corev1.ObjectFieldSelector]():           {honoured: "apiVersion fieldPath"},
	typeOf[corev1.ResourceFieldSelector]():         {honoured: "containerName resource divisor"},

	typeOf[corev1.Container]():                container,
	typeOf[corev1.EphemeralContainer]():       {honoured: "EphemeralContainerCommon targetContainerName"},
	typeOf[corev1.EphemeralContainerCommon](): container,
	typeOf[corev1.ContainerPort](): {
		honoured: "name hostPort containerPort protocol hostIP",
		rules: map[string]*Rule{
			"hostPort": {
				Level: Refused, Values: "of protocol SCTP", Reason: "host ports are TCP and UDP only",
				asks: when(func(p *corev1.ContainerPort) bool { return p.HostPort != 0 && p.Protocol == corev1.ProtocolSCTP }),
			},
			"hostIP": {
				Level: Refused, Values: "no IPv4 address, with a hostPort", Reason: "host ports are opened at IPv4 addresses only",
				asks: when(func(p *corev1.ContainerPort) bool {
					ip, err := netip.ParseAddr(p.HostIP)
					return p.HostPort != 0 && p.HostIP != "" && (err != nil || !ip.Is4())
				}),
			},
		},
	},
	typeOf[corev1.EnvFromSource]():        {honoured: "prefix configMapRef secretRef"},
	typeOf[corev1.ConfigMapEnvSource]():   {honoured: "LocalObjectReference optional"},
	typeOf[corev1.SecretEnvSource]():      {honoured: "LocalObjectReference optional"},
	typeOf[corev1.EnvVar]():               {honoured: "name value valueFrom"},
	typeOf[corev1.EnvVarSource]():         {honoured: "fieldRef resourceFieldRef configMapKeyRef secretKeyRef", rules: map[string]*Rule{"fileKeyRef": notServed("variables are not read from files")}},
	typeOf[corev1.ConfigMapKeySelector](): {honoured: "LocalObjectReference key optional"},
	typeOf[corev1.SecretKeySelector]():    {honoured: "LocalObjectReference key optional"},
	typeOf[corev1.ResourceRequirements](): {honoured: "limits requests", rules: map[string]*Rule{"claims": noClaims}},
	typeOf[corev1.VolumeMount](): {
		honoured: "name readOnly recursiveReadOnly mountPath subPath mountPropagation subPathExpr",
		rules: map[string]*Rule{
			"recursiveReadOnly": {
				Level: Refused, Values: "Enabled", Reason: "mounts within a read-only volume stay writable",
				asks: when(func(m *corev1.VolumeMount) bool {
					return m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled
				}),
			},
			"bindMountOptions": notServed("volumes are mounted without further options"),
		},
	},
	typeOf[corev1.Probe]():            {honoured: "ProbeHandler initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold terminationGracePeriodSeconds"},
	typeOf[corev1.ProbeHandler]():     {honoured: "exec httpGet tcpSocket grpc"},
	typeOf[corev1.ExecAction]():       {honoured: "command"},
	typeOf[corev1.HTTPGetAction]():    {honoured: "path port host scheme httpHeaders", rules: map[string]*Rule{"protocol": notServed("probes speak the HTTP version that the server offers")}},
	typeOf[corev1.HTTPHeader]():       {honoured: "name value"},
	typeOf[corev1.TCPSocketAction]():  {honoured: "port host"},
	typeOf[corev1.GRPCAction]():       {honoured: "port service", rules: map[string]*Rule{"mode": notServed("gRPC probes are not encrypted")}},
	typeOf[corev1.Lifecycle]():        {honoured: "postStart preStop stopSignal"},
	typeOf[corev1.LifecycleHandler](): {honoured: "exec httpGet tcpSocket sleep"},
	typeOf[corev1.SleepAction]():      {honoured: "seconds"},
	typeOf[corev1.SecurityContext]():  securityContext,
	typeOf[corev1.Capabilities]():     capabilities,
	typeOf[corev1.SeccompProfile](): {
		honoured: "type localhostProfile",
		rules: map[string]*Rule{"type": {
			Level: Refused, Values: "Localhost", Reason: "use RuntimeDefault or Unconfined",
			asks: when(func(p *corev1.SeccompProfile) bool { return p.Type == corev1.SeccompProfileTypeLocalhost }),
		}},
	},
	typeOf[corev1.AppArmorProfile](): {
		honoured: "type localhostProfile",
		rules: map[string]*Rule{"type": {
			Level: Refused, Values: "RuntimeDefault, Localhost", Reason: "containers run without an AppArmor profile; use Unconfined",
			asks: when(func(p *corev1.AppArmorProfile) bool { return p.Type != corev1.AppArmorProfileTypeUnconfined }),
		}},
	},
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// when is a condition on the struct that has the field.
func when[T any](asks func(*T) bool) func(reflect.Value) bool {
	return func(parent reflect.Value) bool { return asks(parent.Addr().Interface().(*T)) }
}

func notServed(reason string) *Rule { return &Rule{Level: Refused, Reason: reason} }

func fileOwner(name string) map[string]*Rule {
	return map[string]*Rule{name: notServed("files of volumes belong to root and the pod's fsGroup")}
}

const appArmorPrefix = "container.apparmor.security.beta.kubernetes.io/"

// appArmorAnnotation is about the older form of securityContext.appArmorProfile.
func appArmorAnnotation[T any](annotations func(*T) map[string]string) *Rule {
	return &Rule{
		Level: Refused, Values: appArmorPrefix + "… other than unconfined", at: "annotations",
		Reason: "containers run without an AppArmor profile, which the annotation " + appArmorPrefix + "NAME asks for; use unconfined",
		asks: when(func(p *T) bool {
			for name, value := range annotations(p) {
				if strings.HasPrefix(name, appArmorPrefix) && value != "unconfined" {
					return true
				}
			}
			return false
		}),
	}
}

var betweenPods = map[string]*Rule{
	"requiredDuringSchedulingIgnoredDuringExecution":  {Level: Refused, Reason: "the scheduler does not look at other pods; preferredDuringSchedulingIgnoredDuringExecution is accepted as a hint"},
	"preferredDuringSchedulingIgnoredDuringExecution": {Level: Hint, Reason: "the scheduler does not look at other pods"},
}

var noClaims = notServed("there are no resource claims")

// safeSysctls are those that the kubelet allows without further settings:
// https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/
var safeSysctls = []string{
	"kernel.shm_rmid_forced",
	"net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}

var unsafeSysctl = &Rule{
	Level: Refused, Values: "all but the safe ones", Reason: "only the safe sysctls can be set: " + strings.Join(safeSysctls, ", "),
	asks: when(func(s *corev1.Sysctl) bool {
		return !slices.Contains(safeSysctls, strings.ReplaceAll(s.Name, "/", "."))
	}),
}
