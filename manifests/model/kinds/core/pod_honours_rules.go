package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/honour"
)

var podSpecFields = honour.Fields{
	Honoured: "volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy " +
		"nodeSelector serviceAccountName serviceAccount automountServiceAccountToken nodeName hostNetwork hostPID hostIPC securityContext " +
		"imagePullSecrets hostname affinity schedulerName tolerations hostAliases priorityClassName priority dnsConfig readinessGates " +
		"runtimeClassName overhead enableServiceLinks topologySpreadConstraints os hostUsers schedulingGates preemptionPolicy resources subdomain setHostnameAsFQDN",
	Rules: map[string]*honour.Rule{
		"shareProcessNamespace": {
			Level: honour.Refused, Values: "true", Reason: "each container has a process namespace of its own",
			Asks: honour.When(func(s *corev1.PodSpec) bool { return s.ShareProcessNamespace != nil && *s.ShareProcessNamespace }),
		},
		"hostUsers": {
			Level: honour.Refused, Values: "false", Reason: "containers run in the node's user namespace",
			Asks: honour.When(func(s *corev1.PodSpec) bool { return s.HostUsers != nil && !*s.HostUsers }),
		},
		"resourceClaims":     noClaims,
		"hostnameOverride":   honour.NotServed("use hostname"),
		"schedulingGroup":    honour.NotServed("pods are scheduled one by one"),
		"evictionResponders": honour.NotServed("nothing asks them before an eviction"),
	},
}

var podSecurityContextFields = honour.Fields{
	Honoured: "runAsUser runAsGroup runAsNonRoot supplementalGroups fsGroup sysctls fsGroupChangePolicy seccompProfile appArmorProfile seLinuxOptions",
	Rules: map[string]*honour.Rule{
		"seLinuxChangePolicy": honour.NotServed(noSELinux),
		"windowsOptions":      noWindows,
		"supplementalGroupsPolicy": {
			Level: honour.Refused, Values: "Strict", Reason: "groups of the image's /etc/group are merged",
			Asks: honour.When(func(sc *corev1.PodSecurityContext) bool {
				return sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
			}),
		},
	},
}

const noSELinux = "containers run without an SELinux label"

// seLinuxOptionsFields refuse a label; what many charts write, {}, asks for none.
var seLinuxOptionsFields = honour.Fields{Rules: map[string]*honour.Rule{
	"user": honour.NotServed(noSELinux), "role": honour.NotServed(noSELinux), "type": honour.NotServed(noSELinux), "level": honour.NotServed(noSELinux),
}}

var noWindows = &honour.Rule{Level: honour.Hint, Reason: "nodes run Linux"}

var securityContextFields = honour.Fields{
	Honoured: "capabilities privileged runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation seccompProfile appArmorProfile seLinuxOptions",
	Rules: map[string]*honour.Rule{
		"windowsOptions": noWindows,
		"procMount": {
			Level: honour.Refused, Values: "Unmasked", Reason: "/proc is always masked, but for privileged containers",
			Asks: honour.When(func(sc *corev1.SecurityContext) bool {
				return sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount
			}),
		},
	},
}

var containerFields = honour.Fields{
	Honoured: "name image command args workingDir ports envFrom env resources resizePolicy restartPolicy volumeMounts livenessProbe readinessProbe startupProbe " +
		"lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty",
	Rules: map[string]*honour.Rule{
		"restartPolicyRules": honour.NotServed("a container is restarted by restartPolicy alone"),
		"volumeDevices":      honour.NotServed("there are no block volumes"),
	},
}

// knownCapabilities are those of capabilities(7), without the prefix CAP_.
const knownCapabilities = "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID " +
	"IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID " +
	"SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"

var capabilitiesFields = func() honour.Fields {
	known := strings.Fields(knownCapabilities)
	unknown := func(list []corev1.Capability) bool {
		return slices.ContainsFunc(list, func(c corev1.Capability) bool {
			return !slices.Contains(known, strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_"))
		})
	}
	const values, reason = "unknown to Linux", "a name is not among those of capabilities(7)"
	return honour.Fields{Honoured: "add drop", Rules: map[string]*honour.Rule{
		"add":  {Level: honour.Refused, Values: values, Reason: reason, Asks: honour.When(func(c *corev1.Capabilities) bool { return unknown(c.Add) })},
		"drop": {Level: honour.Refused, Values: values, Reason: reason, Asks: honour.When(func(c *corev1.Capabilities) bool { return unknown(c.Drop) })},
	}}
}()

var volumeSourceFields = func() honour.Fields {
	f := honour.Fields{Honoured: "hostPath emptyDir secret persistentVolumeClaim ephemeral downwardAPI configMap projected", Rules: map[string]*honour.Rule{
		"image": honour.NotServed("images are not mounted as volumes"),
	}}
	for name := range strings.FieldsSeq("gcePersistentDisk awsElasticBlockStore gitRepo nfs iscsi glusterfs rbd flexVolume cinder cephfs flocker fc azureFile " +
		"vsphereVolume quobyte azureDisk photonPersistentDisk portworxVolume scaleIO storageos csi") {
		f.Rules[name] = honour.NotServed("volumes are configMap, secret, downwardAPI, projected, emptyDir, hostPath, persistentVolumeClaim and ephemeral")
	}
	return f
}()
