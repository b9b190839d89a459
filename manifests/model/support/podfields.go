package support

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var serviceSpec = fields{
	honoured: "ports selector clusterIP clusterIPs type sessionAffinity externalName externalTrafficPolicy publishNotReadyAddresses sessionAffinityConfig " +
		"ipFamilies ipFamilyPolicy allocateLoadBalancerNodePorts internalTrafficPolicy",
	rules: map[string]*Rule{
		"type": {
			Level: Hint, Values: "LoadBalancer, ExternalName", Reason: "there is no load balancer, which leaves a LoadBalancer with its node ports and without an address, and no cluster DNS for an ExternalName",
			asks: when(func(s *corev1.ServiceSpec) bool {
				return s.Type == corev1.ServiceTypeLoadBalancer || s.Type == corev1.ServiceTypeExternalName
			}),
		},
		"externalIPs":              notServed("the proxy does not answer at them; use a Service of type NodePort"),
		"loadBalancerIP":           {Level: Hint, Reason: "there is no load balancer"},
		"loadBalancerClass":        {Level: Hint, Reason: "there is no load balancer"},
		"loadBalancerSourceRanges": notServed("the proxy does not filter by the client's address"),
		"healthCheckNodePort":      {Level: Hint, Reason: "there is no load balancer, whose health checks would be answered at it"},
		"trafficDistribution":      {Level: Hint, Reason: "the proxy prefers no endpoint to another"},
	},
}

var podSpec = fields{
	honoured: "volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy " +
		"nodeSelector serviceAccountName serviceAccount automountServiceAccountToken nodeName hostNetwork hostPID hostIPC securityContext " +
		"imagePullSecrets hostname affinity schedulerName tolerations hostAliases priorityClassName priority dnsConfig readinessGates " +
		// Admission refuses pods with a runtime class: there are none.
		"runtimeClassName enableServiceLinks topologySpreadConstraints os hostUsers schedulingGates " +
		// Nothing is preempted, which is what Never asks for and what others may hope for.
		"preemptionPolicy",
	rules: map[string]*Rule{
		"shareProcessNamespace": {
			Level: Refused, Values: "true", Reason: "each container has a process namespace of its own",
			asks: when(func(s *corev1.PodSpec) bool { return s.ShareProcessNamespace != nil && *s.ShareProcessNamespace }),
		},
		"subdomain": {Level: Hint, Reason: "there is no cluster DNS"},
		"overhead":  notServed("it comes from runtime classes, which are not served"),
		"topologySpreadConstraints": {
			Level: Hint, Values: "ScheduleAnyway", Reason: "the scheduler does not spread pods",
			asks: when(func(s *corev1.PodSpec) bool {
				return slices.ContainsFunc(s.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
					return c.WhenUnsatisfiable == corev1.ScheduleAnyway
				})
			}),
		},
		"setHostnameAsFQDN": {
			Level: Refused, Values: "true", Reason: "there is no cluster DNS",
			asks: when(func(s *corev1.PodSpec) bool { return s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN }),
		},
		"hostUsers": {
			Level: Refused, Values: "false", Reason: "containers run in the node's user namespace",
			asks: when(func(s *corev1.PodSpec) bool { return s.HostUsers != nil && !*s.HostUsers }),
		},
		"resourceClaims":     noClaims,
		"resources":          notServed("requests and limits are those of the containers; set them there"),
		"hostnameOverride":   notServed("use hostname"),
		"schedulingGroup":    notServed("pods are scheduled one by one"),
		"evictionResponders": notServed("nothing asks them before an eviction"),
	},
}

var podSecurityContext = fields{
	honoured: "runAsUser runAsGroup runAsNonRoot supplementalGroups fsGroup sysctls fsGroupChangePolicy seccompProfile appArmorProfile",
	rules: map[string]*Rule{
		"seLinuxOptions":      noSELinux,
		"seLinuxChangePolicy": noSELinux,
		"windowsOptions":      noWindows,
		"supplementalGroupsPolicy": {
			Level: Refused, Values: "Strict", Reason: "groups of the image's /etc/group are merged",
			asks: when(func(sc *corev1.PodSecurityContext) bool {
				return sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
			}),
		},
	},
}

var (
	noSELinux = notServed("containers run without an SELinux label")
	noWindows = &Rule{Level: Hint, Reason: "nodes run Linux"}
)

var securityContext = fields{
	honoured: "capabilities privileged runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation seccompProfile appArmorProfile",
	rules: map[string]*Rule{
		"seLinuxOptions": noSELinux,
		"windowsOptions": noWindows,
		"procMount": {
			Level: Refused, Values: "Unmasked", Reason: "/proc is always masked, but for privileged containers",
			asks: when(func(sc *corev1.SecurityContext) bool {
				return sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount
			}),
		},
	},
}

var container = fields{
	honoured: "name image command args workingDir ports envFrom env resources restartPolicy volumeMounts livenessProbe readinessProbe startupProbe " +
		"lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty",
	rules: map[string]*Rule{
		"resizePolicy":       {Level: Hint, Reason: "containers are not resized while they run"},
		"restartPolicyRules": notServed("a container is restarted by restartPolicy alone"),
		"volumeDevices":      notServed("there are no block volumes"),
	},
}

// knownCapabilities are those of capabilities(7), without the prefix CAP_.
const knownCapabilities = "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID " +
	"IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID " +
	"SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"

var capabilities = func() fields {
	known := strings.Fields(knownCapabilities)
	unknown := func(list []corev1.Capability) bool {
		return slices.ContainsFunc(list, func(c corev1.Capability) bool {
			return !slices.Contains(known, strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_"))
		})
	}
	const values, reason = "unknown to Linux", "a name is not among those of capabilities(7)"
	return fields{honoured: "add drop", rules: map[string]*Rule{
		"add":  {Level: Refused, Values: values, Reason: reason, asks: when(func(c *corev1.Capabilities) bool { return unknown(c.Add) })},
		"drop": {Level: Refused, Values: values, Reason: reason, asks: when(func(c *corev1.Capabilities) bool { return unknown(c.Drop) })},
	}}
}()

var volumeSource = func() fields {
	f := fields{honoured: "hostPath emptyDir secret downwardAPI configMap projected", rules: map[string]*Rule{
		"persistentVolumeClaim": notServed("PersistentVolumeClaims are not served; use a hostPath, or an emptyDir for what may be lost"),
		"image":                 notServed("images are not mounted as volumes"),
	}}
	for name := range strings.FieldsSeq("gcePersistentDisk awsElasticBlockStore gitRepo nfs iscsi glusterfs rbd flexVolume cinder cephfs flocker fc azureFile " +
		"vsphereVolume quobyte azureDisk photonPersistentDisk portworxVolume scaleIO storageos csi ephemeral") {
		f.rules[name] = notServed("volumes are configMap, secret, downwardAPI, projected, emptyDir and hostPath")
	}
	return f
}()
