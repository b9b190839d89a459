package validation_test

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/manifests/model/validation"
)

const basePod = `
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop}
spec:
  volumes: [{name: data, emptyDir: {}}]
  containers:
  - name: web
    image: web:1
    ports: [{containerPort: 80, name: http}]
    env: [{name: A, value: b}]
    volumeMounts: [{name: data, mountPath: /data}]
    readinessProbe: {httpGet: {port: http}}
`

const dnsLabelMessage = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`

// web edits the base's container.
func web(edit func(c *corev1.Container)) func(*corev1.Pod) {
	return func(p *corev1.Pod) { edit(&p.Spec.Containers[0]) }
}

func podSpec(edit func(s *corev1.PodSpec)) func(*corev1.Pod) {
	return func(p *corev1.Pod) { edit(&p.Spec) }
}

func containerCases(t *testing.T) {
	t.Helper()
	create(t, basePod, cases[*corev1.Pod]{
		"none":     {podSpec(func(s *corev1.PodSpec) { s.Containers = nil }), []string{"spec.containers: Required value"}},
		"no name":  {web(func(c *corev1.Container) { c.Name = "" }), []string{"spec.containers[0].name: Required value"}},
		"bad name": {web(func(c *corev1.Container) { c.Name = "A_b" }), []string{`spec.containers[0].name: Invalid value: "A_b": ` + dnsLabelMessage}},
		"twice": {podSpec(func(s *corev1.PodSpec) { s.Containers = append(s.Containers, s.Containers[0]) }), []string{
			`spec.containers[1].name: Duplicate value: "web"`,
		}},
		"no image":    {web(func(c *corev1.Container) { c.Image = "" }), []string{"spec.containers[0].image: Required value"}},
		"blank image": {web(func(c *corev1.Container) { c.Image = " web" }), []string{`spec.containers[0].image: Invalid value: " web": must not have leading or trailing whitespace`}},
		"pull policy": {web(func(c *corev1.Container) { c.ImagePullPolicy = "Sometimes" }), []string{
			`spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`,
		}},
		"message policy": {web(func(c *corev1.Container) { c.TerminationMessagePolicy = "x" }), []string{
			`spec.containers[0].terminationMessagePolicy: Unsupported value: "x": supported values: "File", "FallbackToLogsOnError"`,
		}},
		"restart policy": {web(func(c *corev1.Container) { c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways) }), []string{
			`spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers`,
		}},
		"port 0":       {web(func(c *corev1.Container) { c.Ports[0].ContainerPort = 0 }), []string{`spec.containers[0].ports[0].containerPort: Required value`}},
		"port 70000":   {web(func(c *corev1.Container) { c.Ports[0].ContainerPort = 70000 }), []string{`spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive`}},
		"host port -1": {web(func(c *corev1.Container) { c.Ports[0].HostPort = -1 }), []string{`spec.containers[0].ports[0].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive`}},
		"protocol": {web(func(c *corev1.Container) { c.Ports[0].Protocol = "ICMP" }), []string{
			`spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`,
		}},
		"port name": {web(func(c *corev1.Container) { c.Ports[0].Name = "a-very-long-port-name" }), []string{
			`spec.containers[0].ports[0].name: Invalid value: "a-very-long-port-name": must be no more than 15 characters`,
		}},
		"port name twice": {web(func(c *corev1.Container) {
			c.Ports = append(c.Ports, corev1.ContainerPort{Name: "http", ContainerPort: 81, Protocol: "TCP"})
		}), []string{`spec.containers[0].ports[1].name: Duplicate value: "http"`}},
		"host port twice": {web(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80, Protocol: "TCP"}, {ContainerPort: 81, HostPort: 80, Protocol: "TCP"}}
		}), []string{`spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"`}},
		"host network": {podSpec(func(s *corev1.PodSpec) { s.HostNetwork = true; s.Containers[0].Ports[0].HostPort = 81 }), []string{
			"spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
		}},
	})
}

func envCases(t *testing.T) {
	t.Helper()
	set := func(v corev1.EnvVar) func(*corev1.Pod) {
		return web(func(c *corev1.Container) { c.Env = []corev1.EnvVar{v} })
	}
	from := func(s corev1.EnvVarSource) func(*corev1.Pod) { return set(corev1.EnvVar{Name: "A", ValueFrom: &s}) }
	key := func(name, key string) *corev1.ConfigMapKeySelector {
		return &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}
	}
	ref := func(path string) *corev1.ObjectFieldSelector {
		return &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}
	}
	create(t, basePod, cases[*corev1.Pod]{
		"no name": {set(corev1.EnvVar{}), []string{"spec.containers[0].env[0].name: Required value"}},
		"equals sign": {set(corev1.EnvVar{Name: "A=B"}), []string{
			`spec.containers[0].env[0].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='`,
		}},
		"no source": {from(corev1.EnvVarSource{}), []string{
			"spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
		}},
		"two sources": {from(corev1.EnvVarSource{FieldRef: ref("status.podIP"), ConfigMapKeyRef: key("c", "k")}), []string{
			`spec.containers[0].env[0].valueFrom: Invalid value: "": may not have more than one field specified at a time`,
		}},
		"value and source": {set(corev1.EnvVar{Name: "A", Value: "b", ValueFrom: &corev1.EnvVarSource{FieldRef: ref("status.podIP")}}), []string{
			"spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
		}},
		"no key":        {from(corev1.EnvVarSource{ConfigMapKeyRef: key("c", "")}), []string{`spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Required value`}},
		"field unknown": {from(corev1.EnvVarSource{FieldRef: ref("spec.nothing")}), []string{`spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.nothing": error converting fieldPath: field label not supported: spec.nothing`}},
		"field not for env": {from(corev1.EnvVarSource{FieldRef: ref("metadata.labels")}), []string{
			`spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"`,
		}},
		"one label": {from(corev1.EnvVarSource{FieldRef: ref("metadata.labels['app']")}), nil},
		"resource": {from(corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.gpu"}}), []string{
			`spec.containers[0].env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"`,
		}},
		"divisor": {from(corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu", Divisor: resource.MustParse("2m")}}), []string{
			`spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource`,
		}},
		"envFrom nothing": {web(func(c *corev1.Container) { c.EnvFrom = []corev1.EnvFromSource{{}} }), []string{
			"spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
		}},
		"envFrom without name": {web(func(c *corev1.Container) {
			c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{}}}
		}), []string{"spec.containers[0].envFrom[0].configMapRef.name: Required value"}},
	})
}

func resourceCases(t *testing.T) {
	t.Helper()
	set := func(requests, limits map[corev1.ResourceName]string) func(*corev1.Pod) {
		return web(func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
			for k, v := range requests {
				c.Resources.Requests[k] = resource.MustParse(v)
			}
			for k, v := range limits {
				c.Resources.Limits[k] = resource.MustParse(v)
			}
		})
	}
	type list = map[corev1.ResourceName]string
	create(t, basePod, cases[*corev1.Pod]{
		"fine":     {set(list{"cpu": "1", "memory": "1Gi"}, list{"cpu": "2"}), nil},
		"cpu":      {set(list{"cpu": "2"}, list{"cpu": "1"}), []string{`spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`}},
		"memory":   {set(list{"memory": "2Gi"}, list{"memory": "1Gi"}), []string{`spec.containers[0].resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi`}},
		"negative": {set(nil, list{"cpu": "-1"}), []string{`spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		"unknown": {set(nil, list{"gpu": "1"}), []string{
			`spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified`,
			`spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers`,
		}},
		"extended":         {set(list{"example.com/gpu": "1"}, list{"example.com/gpu": "1"}), nil},
		"extended, half":   {set(nil, list{"example.com/gpu": "500m"}), []string{`spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer`}},
		"extended, no cap": {set(list{"example.com/gpu": "1"}, nil), []string{`spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources`}},
		"extended, less": {set(list{"example.com/gpu": "1"}, list{"example.com/gpu": "2"}), []string{
			`spec.containers[0].resources.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2`,
		}},
	})
}

func probeCases(t *testing.T) {
	t.Helper()
	probe := func(edit func(p *corev1.Probe)) func(*corev1.Pod) {
		return web(func(c *corev1.Container) { edit(c.ReadinessProbe) })
	}
	create(t, basePod, cases[*corev1.Pod]{
		"nothing to do": {probe(func(p *corev1.Probe) { p.HTTPGet = nil }), []string{"spec.containers[0].readinessProbe: Required value: must specify a handler type"}},
		"two handlers": {probe(func(p *corev1.Probe) { p.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromInt32(80)} }), []string{
			"spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
		}},
		"port": {probe(func(p *corev1.Probe) { p.HTTPGet.Port = intstr.FromInt32(0) }), []string{
			"spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
		}},
		"scheme": {probe(func(p *corev1.Probe) { p.HTTPGet.Scheme = "FTP" }), []string{
			`spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"`,
		}},
		"period": {probe(func(p *corev1.Probe) { p.PeriodSeconds = -1 }), []string{
			"spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
		}},
		"exec": {probe(func(p *corev1.Probe) { p.ProbeHandler = corev1.ProbeHandler{Exec: &corev1.ExecAction{}} }), []string{
			"spec.containers[0].readinessProbe.exec.command: Required value",
		}},
		"grace of readiness": {probe(func(p *corev1.Probe) { p.TerminationGracePeriodSeconds = new(int64(1)) }), []string{
			"spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
		}},
		"liveness": {web(func(c *corev1.Container) {
			c.LivenessProbe = c.ReadinessProbe.DeepCopy()
			c.LivenessProbe.SuccessThreshold = 2
		}), []string{
			"spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
		}},
		"sleep": {web(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 31}}}
		}), []string{"spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"}},
		"of an init container": {podSpec(func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{s.Containers[0]}
			s.InitContainers[0].Name = "init"
		}), []string{"spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"}},
		"of a sidecar": {podSpec(func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{s.Containers[0]}
			s.InitContainers[0].Name = "init"
			s.InitContainers[0].RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}), nil},
		"init of the same name": {podSpec(func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{s.Containers[0]}
			s.InitContainers[0].ReadinessProbe = nil
		}), []string{`spec.initContainers[0].name: Duplicate value: "web"`}},
	})
}

func volumeCases(t *testing.T) {
	t.Helper()
	volume := func(source corev1.VolumeSource) func(*corev1.Pod) {
		return podSpec(func(s *corev1.PodSpec) {
			s.Volumes = append(s.Volumes, corev1.Volume{Name: "more", VolumeSource: source})
		})
	}
	ephemeral := func(edit func(*corev1.PersistentVolumeClaimTemplate)) func(*corev1.Pod) {
		template := &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
		}}
		if edit != nil {
			edit(template)
		}
		return volume(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: template}})
	}
	mount := func(edit func(m *corev1.VolumeMount)) func(*corev1.Pod) {
		return web(func(c *corev1.Container) { edit(&c.VolumeMounts[0]) })
	}
	create(t, basePod, cases[*corev1.Pod]{
		"mount of nothing": {mount(func(m *corev1.VolumeMount) { m.Name = "x" }), []string{`spec.containers[0].volumeMounts[0].name: Not found: "x"`}},
		"no path":          {mount(func(m *corev1.VolumeMount) { m.MountPath = "" }), []string{`spec.containers[0].volumeMounts[0].mountPath: Required value`}},
		"sub path":         {mount(func(m *corev1.VolumeMount) { m.SubPath = "a/../b" }), []string{`spec.containers[0].volumeMounts.subPath: Invalid value: "a/../b": must not contain '..'`}},
		"absolute":         {mount(func(m *corev1.VolumeMount) { m.SubPath = "/a" }), []string{`spec.containers[0].volumeMounts.subPath: Invalid value: "/a": must be a relative path`}},
		"propagation": {mount(func(m *corev1.VolumeMount) { m.MountPropagation = new(corev1.MountPropagationBidirectional) }), []string{
			`spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers`,
		}},
		"two at one path": {web(func(c *corev1.Container) { c.VolumeMounts = append(c.VolumeMounts, c.VolumeMounts[0]) }), []string{
			`spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/data": must be unique`,
		}},
		"name twice":     {podSpec(func(s *corev1.PodSpec) { s.Volumes = append(s.Volumes, s.Volumes[0]) }), []string{`spec.volumes[1].name: Duplicate value: "data"`}},
		"no type":        {volume(corev1.VolumeSource{}), []string{"spec.volumes[1]: Required value: must specify a volume type"}},
		"two types":      {volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}, HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}), []string{`spec.volumes[1].emptyDir: Forbidden: may not specify more than 1 volume type`}},
		"host path":      {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}), []string{`spec.volumes[1].hostPath.path: Required value`}},
		"host path type": {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x", Type: new(corev1.HostPathType("Dir"))}}), []string{`spec.volumes[1].hostPath.type: Unsupported value: "Dir": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"`}},
		"config map":     {volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}), []string{`spec.volumes[1].configMap.name: Required value`}},
		"secret":         {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}), []string{`spec.volumes[1].secret.secretName: Required value`}},
		"mode":           {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: new(int32(0o1000))}}), []string{`spec.volumes[1].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive`}},
		"item":           {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Path: "..a"}}}}), []string{`spec.volumes[1].secret.items[0].key: Required value`, `spec.volumes[1].secret.items[0].path: Invalid value: "..a": must not start with '..'`}},
		"downward":       {volume(corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "a"}}}}), []string{`spec.volumes[1].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required`}},
		"projected":      {volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{}}}}}), []string{`spec.volumes[1].projected.sources[0].secret.name: Required value`}},
		"negative size":  {volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: new(resource.MustParse("-1"))}}), []string{`spec.volumes[1].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity`}},
		"claim, no name": {volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}), []string{`spec.volumes[1].persistentVolumeClaim.claimName: Required value`}},
		"ephemeral":      {ephemeral(nil), nil},
		"ephemeral, no template": {volume(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}), []string{
			`spec.volumes[1].ephemeral.volumeClaimTemplate: Required value`,
		}},
		"ephemeral, no modes": {ephemeral(func(t *corev1.PersistentVolumeClaimTemplate) { t.Spec.AccessModes = nil }), []string{
			`spec.volumes[1].ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode is required`,
		}},
		"ephemeral, label": {ephemeral(func(t *corev1.PersistentVolumeClaimTemplate) { t.Labels = map[string]string{"a": "b c"} }), []string{
			`spec.volumes[1].ephemeral.volumeClaimTemplate.metadata.labels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`,
		}},
		"ephemeral, name": {ephemeral(func(t *corev1.PersistentVolumeClaimTemplate) { t.Name = "x" }), []string{
			`spec.volumes[1].ephemeral.volumeClaimTemplate.metadata: Invalid value: {"name":"x"}: field is immutable`,
		}},
		"ephemeral, long name": {func(p *corev1.Pod) { p.Name = strings.Repeat("a", 250); ephemeral(nil)(p) }, []string{
			`spec.volumes[1].name: Invalid value: "more": PVC name "` + strings.Repeat("a", 250) + `-more": must be no more than 253 characters`,
		}},
		"no name of its own": {podSpec(func(s *corev1.PodSpec) { s.Volumes = append(s.Volumes, s.Volumes[0]); s.Volumes[1].Name = "" }), []string{
			`spec.volumes[1].name: Required value`,
		}},
	})
}

func podSpecCases(t *testing.T) {
	t.Helper()
	create(t, basePod, cases[*corev1.Pod]{
		"restart policy": {podSpec(func(s *corev1.PodSpec) { s.RestartPolicy = "Maybe" }), []string{
			`spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"`,
		}},
		"keys of labels, merged": {podSpec(func(s *corev1.PodSpec) {
			s.TopologySpreadConstraints, s.Affinity = keyed(1)
		}), nil},
		"keys of labels, merged beside its own": {podSpec(func(s *corev1.PodSpec) {
			s.TopologySpreadConstraints, s.Affinity = keyed(2)
		}), []string{
			`spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys[0]: Invalid value: "hash": exists in both matchLabelKeys and labelSelector`,
			`spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: "hash": exists in both matchLabelKeys and labelSelector`,
		}},
		"amounts of the pod": {podSpec(func(s *corev1.PodSpec) {
			s.Resources = shares("2", "4")
			s.Containers[0].Resources = *shares("2", "4")
		}), nil},
		"less than its containers ask for": {podSpec(func(s *corev1.PodSpec) {
			s.Resources = shares("1", "4")
			s.Containers[0].Resources = *shares("2", "4")
		}), []string{`spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2`}},
		"less than a container may have": {podSpec(func(s *corev1.PodSpec) {
			s.Resources = shares("1", "2")
			s.Containers[0].Resources = *shares("1", "3")
		}), []string{`spec.resources.containers[0][cpu].limits: Invalid value: "3": must be less than or equal to pod limits of 2`}},
		"more requested than allowed": {podSpec(func(s *corev1.PodSpec) { s.Resources = shares("2", "1") }), []string{
			`spec.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`,
		}},
		"amounts that a pod cannot have": {podSpec(func(s *corev1.PodSpec) {
			s.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"ephemeral-storage": resource.MustParse("1Gi")}}
		}), []string{`spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"`}},
		"half a huge page": {podSpec(func(s *corev1.PodSpec) {
			s.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1"), "hugepages-2Mi": resource.MustParse("3Mi")}
			s.Containers[0].Resources.Requests = s.Containers[0].Resources.Limits.DeepCopy()
		}), []string{
			`spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`,
			`spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`,
		}},
		"pages of no size": {podSpec(func(s *corev1.PodSpec) {
			s.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1"), "hugepages-large": resource.MustParse("2Mi")}}
		}), []string{`spec.resources.limits[hugepages-large]: Invalid value: "2Mi": 2Mi is not positive integer multiple of hugepages-large`}},
		"dns policy": {podSpec(func(s *corev1.PodSpec) { s.DNSPolicy = "Nope" }), []string{
			`spec.dnsPolicy: Unsupported value: "Nope": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"`,
		}},
		"dns none": {podSpec(func(s *corev1.PodSpec) { s.DNSPolicy = "None" }), []string{"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
		"name server": {podSpec(func(s *corev1.PodSpec) { s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"x"}} }), []string{
			`spec.dnsConfig.nameservers[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
		}},
		"deadline": {podSpec(func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = new(int64(0)) }), []string{
			"spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
		}},
		"gates and node": {podSpec(func(s *corev1.PodSpec) {
			s.SchedulingGates, s.NodeName = []corev1.PodSchedulingGate{{Name: "a"}}, "n"
		}), []string{"spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"}},
		"operating system": {podSpec(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: "plan9"} }), []string{`spec.os: Unsupported value: "plan9": supported values: "linux", "windows"`}},
		"hostname":         {podSpec(func(s *corev1.PodSpec) { s.Hostname = "A" }), []string{`spec.hostname: Invalid value: "A": ` + dnsLabelMessage}},
		"user": {podSpec(func(s *corev1.PodSpec) { s.SecurityContext.RunAsUser = new(int64(-1)) }), []string{
			"spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
		}},
		"seccomp": {podSpec(func(s *corev1.PodSpec) {
			s.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: "Localhost"}
		}), []string{
			"spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
			"spec.securityContext.seccompProfile.type: Forbidden: not supported yet: use RuntimeDefault or Unconfined",
		}},
		"privileged": {web(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{Privileged: new(true), AllowPrivilegeEscalation: new(false)}
		}), []string{"spec.containers[0].securityContext: Invalid value: {\"privileged\":true,\"allowPrivilegeEscalation\":false}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"}},
		"pid": {podSpec(func(s *corev1.PodSpec) { s.ShareProcessNamespace = new(true); s.HostPID = true }), []string{
			"spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
			"spec.shareProcessNamespace: Forbidden: not supported yet: each container has a process namespace of its own",
		}},
		"toleration without a key": {podSpec(func(s *corev1.PodSpec) { s.Tolerations = []corev1.Toleration{{Operator: "Equal"}} }), []string{
			"spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
		}},
		"toleration seconds": {podSpec(func(s *corev1.PodSpec) {
			s.Tolerations = []corev1.Toleration{{Key: "a", Effect: "NoSchedule", TolerationSeconds: new(int64(1))}}
		}), []string{"spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"}},
		"toleration effect": {podSpec(func(s *corev1.PodSpec) { s.Tolerations = []corev1.Toleration{{Key: "a", Effect: "No"}} }), []string{
			`spec.tolerations[0].effect: Unsupported value: "No": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`,
		}},
		"affinity": {podSpec(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{
				NodeAffinity:    &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{}},
				PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "a"}}},
			}
		}), []string{
			"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
		}},
		"node operator": {podSpec(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "a", Operator: "In"}}}},
			}}}
		}), []string{"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"}},
		"spread": {podSpec(func(s *corev1.PodSpec) {
			s.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{WhenUnsatisfiable: "x"}}
		}), []string{
			"spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
			"spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
			`spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "x": supported values: "DoNotSchedule", "ScheduleAnyway"`,
		}},
		"spread twice": {podSpec(func(s *corev1.PodSpec) {
			one := corev1.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: "ScheduleAnyway", MinDomains: new(int32(0)), NodeTaintsPolicy: new(corev1.NodeInclusionPolicy("x")), MatchLabelKeys: []string{"a"}}
			s.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{one, {MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: "ScheduleAnyway"}}
		}), []string{
			"spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
			"spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
			"spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero",
			`spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: "x": supported values: "Honor", "Ignore"`,
			`spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{zone, ScheduleAnyway}"`,
		}},
		"keys of labels": {podSpec(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
				{Weight: 1, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: "zone", MatchLabelKeys: []string{"a"}}},
				{Weight: 1, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{}, MatchLabelKeys: []string{"a"}, MismatchLabelKeys: []string{"a"}}},
			}}}
		}), []string{
			"spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
			`spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[1].podAffinityTerm.matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys`,
		}},
		"policies": {podSpec(func(s *corev1.PodSpec) {
			s.SecurityContext.FSGroupChangePolicy = new(corev1.PodFSGroupChangePolicy("x"))
			s.SecurityContext.SupplementalGroupsPolicy = new(corev1.SupplementalGroupsPolicy("x"))
		}), []string{
			`spec.securityContext.fsGroupChangePolicy: Unsupported value: "x": supported values: "Always", "OnRootMismatch"`,
			`spec.securityContext.supplementalGroupsPolicy: Unsupported value: "x": supported values: "Merge", "Strict"`,
		}},
		"AppArmor": {podSpec(func(s *corev1.PodSpec) {
			s.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: "Some"}
			s.Containers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: "Unconfined", LocalhostProfile: new("x")}}
		}), []string{
			`spec.securityContext.appArmorProfile.type: Unsupported value: "Some": supported values: "Localhost", "RuntimeDefault", "Unconfined"`,
			`spec.containers[0].securityContext.appArmorProfile.localhostProfile: Invalid value: "x": can only be set when AppArmor type is Localhost`,
		}},
		"host's sysctls": {podSpec(func(s *corev1.PodSpec) {
			s.HostNetwork, s.Containers[0].Ports = true, nil
			s.Containers[0].ReadinessProbe = nil
			s.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.tcp_syncookies", Value: "1"}}
		}), []string{`spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.tcp_syncookies": may not be specified when 'hostNetwork' is true`}},
		"another system's options": {podSpec(func(s *corev1.PodSpec) {
			s.OS = &corev1.PodOS{Name: corev1.Linux}
			s.SecurityContext.WindowsOptions = &corev1.WindowsSecurityContextOptions{}
		}), []string{"spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"}},
		"node by its name": {podSpec(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"A"}}}}},
			}}}
		}), []string{`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values[0]: Invalid value: "A": ` + subdomainMessage}},
		"finalizer": {func(p *corev1.Pod) { p.Finalizers = []string{"mine"} }, []string{`metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`}},
		"host alias": {podSpec(func(s *corev1.PodSpec) { s.HostAliases = []corev1.HostAlias{{IP: "a"}} }), []string{
			`spec.hostAliases[0].ip: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
		}},
	})
}

func podUpdateCases(t *testing.T) {
	t.Helper()
	update(t, basePod, cases[*corev1.Pod]{
		"image":      {web(func(c *corev1.Container) { c.Image = "web:2" }), nil},
		"deadline":   {podSpec(func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = new(int64(5)) }), nil},
		"toleration": {podSpec(func(s *corev1.PodSpec) { s.Tolerations = append(s.Tolerations, corev1.Toleration{Key: "a"}) }), nil},
		"labels":     {func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, nil},
		"no image":   {web(func(c *corev1.Container) { c.Image = "" }), []string{"spec.containers[0].image: Required value"}},
		"fewer":      {podSpec(func(s *corev1.PodSpec) { s.Containers = nil }), []string{"spec.containers: Forbidden: pod updates may not add or remove containers"}},
	})
	update(t, strings.Replace(basePod, "spec:\n", "spec:\n  tolerations: [{key: b, operator: Exists}]\n", 1), cases[*corev1.Pod]{
		"tolerates no": {podSpec(func(s *corev1.PodSpec) { s.Tolerations = nil }), []string{"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"}},
	})
	gated := strings.Replace(basePod, "spec:\n", "spec:\n  schedulingGates: [{name: a}]\n  nodeSelector: {a: b}\n  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}\n", 1)
	terms := func(edit func(list *[]corev1.NodeSelectorTerm)) func(*corev1.Pod) {
		return podSpec(func(s *corev1.PodSpec) {
			edit(&s.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms)
		})
	}
	update(t, gated, cases[*corev1.Pod]{
		"no gates": {podSpec(func(s *corev1.PodSpec) { s.SchedulingGates = nil }), nil},
		"another gate": {podSpec(func(s *corev1.PodSpec) {
			s.SchedulingGates = append(s.SchedulingGates, corev1.PodSchedulingGate{Name: "b"})
		}), []string{"spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"}},
		"another selector": {podSpec(func(s *corev1.PodSpec) { s.NodeSelector["c"] = "d" }), nil},
		"no selector":      {podSpec(func(s *corev1.PodSpec) { s.NodeSelector = nil }), []string{"spec.nodeSelector: Invalid value: null: only additions to spec.nodeSelector are allowed (no mutations or deletions)"}},
		"another requirement": {terms(func(list *[]corev1.NodeSelectorTerm) {
			(*list)[0].MatchExpressions = append((*list)[0].MatchExpressions, corev1.NodeSelectorRequirement{Key: "b", Operator: "Exists"})
		}), nil},
		"another term": {terms(func(list *[]corev1.NodeSelectorTerm) { *list = append(*list, (*list)[0]) }), []string{
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Invalid value: [{"matchExpressions":[{"key":"a","operator":"Exists"}]},{"matchExpressions":[{"key":"a","operator":"Exists"}]}]: no additions/deletions to non-empty NodeSelectorTerms list are allowed`,
		}},
		"other requirements": {terms(func(list *[]corev1.NodeSelectorTerm) { (*list)[0].MatchExpressions[0].Key = "b" }), []string{
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: {"matchExpressions":[{"key":"b","operator":"Exists"}]}: only additions are allowed (no mutations or deletions)`,
		}},
	})
	const want = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
	old, pod := parse[*corev1.Pod](t, basePod), parse[*corev1.Pod](t, basePod)
	pod.Spec.Containers[0].Env[0].Value = "changed"
	errs := validation.Update(pod, old)
	if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), want) || !strings.Contains(errs[0].Error(), "changed") {
		t.Errorf("Update = %v, want %s and the difference", errs, want)
	}
}

func podStatusCases(t *testing.T) {
	t.Helper()
	ended := corev1.ContainerStatus{Name: "web", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}
	base := strings.Replace(basePod, "spec:\n", "spec:\n  restartPolicy: Never\n", 1)
	old, pod := parse[*corev1.Pod](t, base), parse[*corev1.Pod](t, base)
	old.Status.ContainerStatuses = []corev1.ContainerStatus{ended}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web"}}
	pod.Status.PodIPs = []corev1.PodIP{{IP: "x"}}
	shownOf(pod).status++
	compare(t, validation.UpdateStatus(pod, old), []string{
		"status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
		`status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
	})
	updateStatus(t, basePod, cases[*corev1.Pod]{
		"condition": {func(p *corev1.Pod) { p.Status.Conditions = []corev1.PodCondition{{Type: "a b", Status: "True"}} }, []string{`metadata.conditions[0].Type: Invalid value: "a b": ` + qualifiedMessage}},
		"addresses": {func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "10.0.0.1"}} }, []string{
			`status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.1"}]: may specify no more than one IP for each IP family`,
			`status.podIPs[1]: Duplicate value: {"ip":"10.0.0.1"}`,
		}},
		"host":      {func(p *corev1.Pod) { p.Status.HostIPs = []corev1.HostIP{{IP: "10.0.0.1"}} }, []string{"status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`"}},
		"nominated": {func(p *corev1.Pod) { p.Status.NominatedNodeName = "A" }, []string{`status.nominatedNodeName: Invalid value: "A": ` + subdomainMessage}},
	})
}

// shares are a request and a limit of CPUs.
func shares(request, limit string) *corev1.ResourceRequirements {
	return &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(request)}, Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(limit)},
	}
}

// keyed selects by a label, which is among those of the pod, so many times.
func keyed(times int) ([]corev1.TopologySpreadConstraint, *corev1.Affinity) {
	selector := &metav1.LabelSelector{}
	for i := range times {
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{Key: "hash", Operator: metav1.LabelSelectorOpIn, Values: []string{strconv.Itoa(i)}})
	}
	return []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selector, MatchLabelKeys: []string{"hash"}}},
		&corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone", LabelSelector: selector, MatchLabelKeys: []string{"hash"}}}}}
}
