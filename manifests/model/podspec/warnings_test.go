package podspec_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/podspec"
)

// TestWarnings: each of Kubernetes' warnings about pods, in its words.
func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct{ template, want string }{
		"nothing odd": {`spec: {containers: [{name: a, env: [{name: A, value: x}, {name: A, value: $(A)y}]}], hostAliases: [{ip: 10.0.0.1}], dnsConfig: {nameservers: [10.0.0.1]}}`, ""},
		"labels of nodes": {`spec: {topologySpreadConstraints: [{topologyKey: failure-domain.beta.kubernetes.io/zone, labelSelector: {}}], affinity: {nodeAffinity: {
requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: beta.kubernetes.io/arch, values: [-]}]}]}, preferredDuringSchedulingIgnoredDuringExecution: [{preference: {matchExpressions: [{key: a, values: [-]}]}}]}}}`, `
t.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead
t.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: - is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
t.spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`},
		"no selector": {`spec: {topologySpreadConstraints: [{}], affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{}]}, podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{}]}}}`, `
t.spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod
t.spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod
t.spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod`},
		"annotations": {`{metadata: {annotations: {scheduler.alpha.kubernetes.io/critical-pod: "", seccomp.security.alpha.kubernetes.io/pod: x, container.seccomp.security.alpha.kubernetes.io/a: x, container.apparmor.security.beta.kubernetes.io/a: localhost/x}}, spec: {initContainers: [{name: a}]}}`, `
t.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead
t.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead
t.metadata.annotations[container.seccomp.security.alpha.kubernetes.io/a]: non-functional in v1.27+; use the "seccompProfile" field instead
t.metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: deprecated since v1.30; use the "appArmorProfile" field instead`},
		"annotations with their fields": {`{metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: x, container.apparmor.security.beta.kubernetes.io/a: unconfined}}, spec: {containers: [{name: a}], securityContext: {seccompProfile: {}, appArmorProfile: {type: Unconfined}}}}`, ""},
		"twice": {`spec: {hostAliases: [{ip: 10.0.0.1}, {ip: 10.0.0.1}], imagePullSecrets: [{name: a}, {name: a}, {}]}`, `
t.spec.hostAliases[1].ip: duplicate ip "10.0.0.1"
t.spec.imagePullSecrets[1].name: duplicate name "a"
t.spec.imagePullSecrets[2].name: invalid empty name ""`},
		"parts of bytes": {`spec: {overhead: {ephemeral-storage: 1m}, containers: [{resources: {requests: {memory: 1500m}}}]}`, `
t.spec.overhead[ephemeral-storage]: fractional byte value "1m" is invalid, must be an integer
t.spec.containers[0].resources.requests[memory]: fractional byte value "1500m" is invalid, must be an integer`},
		"ports": {`spec: {containers: [{ports: [{name: a, containerPort: 1, hostIP: 10.0.0.1}, {name: a, containerPort: 2, hostPort: 3}]}, {ports: [{containerPort: 2, hostPort: 3, hostIP: 10.0.0.1}, {containerPort: 2, hostPort: 3, hostIP: 10.0.0.1}]}]}`, `
t.spec.containers[0].ports[0]: hostIP set without hostPort: {Name:a HostPort:0 ContainerPort:1 Protocol: HostIP:10.0.0.1}
t.spec.containers[1].ports[0]: dangerously ambiguous port definition with t.spec.containers[0].ports[1]
t.spec.containers[1].ports[1]: dangerously ambiguous port definition with t.spec.containers[0].ports[1]
t.spec.containers[1].ports[1]: duplicate port definition with t.spec.containers[1].ports[0]
t.spec.containers[0].ports[1]: duplicate port name "a" with t.spec.containers[0].ports[0], services and probes that select ports by name will use t.spec.containers[0].ports[0]`},
		"grace and addresses": {`spec: {terminationGracePeriodSeconds: -1, dnsConfig: {nameservers: [010.0.0.1]}, hostAliases: [{ip: "::FFFF"}]}`, `
t.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1
t.spec.dnsConfig.nameservers[0]: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"
t.spec.hostAliases[0].ip: IPv6 address "::FFFF" should be in RFC 5952 canonical format ("::ffff")`},
		"volumes": {`spec: {volumes: [{name: a, configMap: {name: c, items: [{path: x}, {path: x/y}]}}, {name: b, projected: {sources: [{}, {secret: {name: s, items: [{path: p/q}]}}, {serviceAccountToken: {path: p}}]}}]}`, `
volume "a" (ConfigMap "c"): overlapping paths: "x/y" with "x"
volume "b" (Projected) has no sources provided
volume "b" (Projected): overlapping paths: "p" (ServiceAccountToken) with "p/q" (Secret "s")`},
	} {
		var template corev1.PodTemplateSpec
		if err := yaml.UnmarshalStrict([]byte(c.template), &template); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		told := podspec.Warnings(&template.ObjectMeta, &template.Spec, field.NewPath("t"))
		if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), strings.Join(told, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
