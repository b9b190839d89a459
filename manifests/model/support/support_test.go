package support_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/support"
)

var update = flag.Bool("update", false, "write the table of fields into docs/api-compatibility.md")

// TestEveryFieldIsListed walks the Go types of the API: a field that a new
// version of it brings is ignored by nobody.
func TestEveryFieldIsListed(t *testing.T) {
	for _, gap := range support.Gaps() {
		t.Error(gap)
	}
}

// TestDocumentation holds the table of docs/api-compatibility.md against the
// one in the code.
func TestDocumentation(t *testing.T) {
	const file, begin, end = "../../../docs/api-compatibility.md", "<!-- fields: made by go test ./manifests/model/support -update -->\n", "<!-- end of fields -->\n"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no lines %q and %q", file, begin, end)
	}
	want := support.Markdown()
	if old == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the table says; run go test ./manifests/model/support -update\n%s", file, cmp.Diff(old, want))
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func pod(edit func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "first"}},
		Containers:     []corev1.Container{{Name: "one"}, {Name: "two"}},
	}}
	edit(&p.Spec)
	return p
}

func TestRefusals(t *testing.T) {
	security := func(sc corev1.SecurityContext) *corev1.Pod {
		return pod(func(s *corev1.PodSpec) { s.Containers[1].SecurityContext = &sc })
	}
	podSecurity := func(sc corev1.PodSecurityContext) *corev1.Pod {
		return pod(func(s *corev1.PodSpec) { s.SecurityContext = &sc })
	}
	service := func(spec corev1.ServiceSpec) *corev1.Service { return &corev1.Service{Spec: spec} }
	volume := func(source corev1.VolumeSource) *corev1.Pod {
		return pod(func(s *corev1.PodSpec) { s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: source}} })
	}
	terms := []corev1.PodAffinityTerm{{TopologyKey: "zone"}}
	for name, test := range map[string]struct {
		obj  runtime.Object
		want []string // the fields
	}{
		"nothing": {pod(func(*corev1.PodSpec) {}), nil},
		"affinity": {pod(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
		}), nil},
		"anti-affinity": {pod(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
		}), nil},
		"spread": {pod(func(s *corev1.PodSpec) {
			s.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{WhenUnsatisfiable: corev1.DoNotSchedule}}
		}), nil},
		"user namespace":   {pod(func(s *corev1.PodSpec) { s.HostUsers = new(false) }), []string{"spec.hostUsers"}},
		"host users":       {pod(func(s *corev1.PodSpec) { s.HostUsers = new(true) }), nil},
		"shared processes": {pod(func(s *corev1.PodSpec) { s.ShareProcessNamespace = new(true) }), []string{"spec.shareProcessNamespace"}},
		"pod's resources": {pod(func(s *corev1.PodSpec) {
			s.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}}
		}), nil},
		"FQDN":         {pod(func(s *corev1.PodSpec) { s.SetHostnameAsFQDN, s.Subdomain = new(true), "db" }), nil},
		"external":     {service(corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"}), nil},
		"host name":    {pod(func(s *corev1.PodSpec) { s.HostnameOverride = new("x") }), []string{"spec.hostnameOverride"}},
		"claims":       {pod(func(s *corev1.PodSpec) { s.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} }), []string{"spec.resourceClaims"}},
		"claim":        {pod(func(s *corev1.PodSpec) { s.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "gpu"}} }), []string{"spec.containers[0].resources.claims"}},
		"windows":      {pod(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} }), []string{"spec.os.name"}},
		"linux":        {pod(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Linux} }), nil},
		"overhead":     {pod(func(s *corev1.PodSpec) { s.Overhead = corev1.ResourceList{"cpu": resource.MustParse("1")} }), nil},
		"block volume": {pod(func(s *corev1.PodSpec) { s.InitContainers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "v"}} }), []string{"spec.initContainers[0].volumeDevices"}},
		"read-only": {pod(func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{}, {RecursiveReadOnly: new(corev1.RecursiveReadOnlyEnabled)}}
		}), []string{"spec.containers[0].volumeMounts[1].recursiveReadOnly"}},
		"read-only, perhaps": {pod(func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{RecursiveReadOnly: new(corev1.RecursiveReadOnlyIfPossible)}}
		}), nil},
		"SCTP host port": {pod(func(s *corev1.PodSpec) {
			s.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 1, Protocol: corev1.ProtocolSCTP}}
		}), []string{"spec.containers[0].ports[0].hostPort"}},
		"host port at an IPv6 address": {pod(func(s *corev1.PodSpec) {
			s.Containers[0].Ports = []corev1.ContainerPort{
				{HostPort: 1, HostIP: "::1"}, {HostPort: 2, HostIP: "127.0.0.1"}, {HostPort: 3, HostIP: "::ffff:127.0.0.1"}, {HostPort: 4, HostIP: "localhost"}, {HostIP: "::1"}, {HostPort: 5},
			}
		}), []string{"spec.containers[0].ports[0].hostIP", "spec.containers[0].ports[2].hostIP", "spec.containers[0].ports[3].hostIP"}},
		"SCTP port": {pod(func(s *corev1.PodSpec) {
			s.Containers[0].Ports = []corev1.ContainerPort{{Protocol: corev1.ProtocolSCTP}}
		}), nil},
		"AppArmor":    {security(corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}}), []string{"spec.containers[1].securityContext.appArmorProfile.type"}},
		"no AppArmor": {security(corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}}), nil},
		"AppArmor, as annotation": {
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"container.apparmor.security.beta.kubernetes.io/one": "runtime/default"}}},
			[]string{"metadata.annotations"},
		},
		"proc":                {security(corev1.SecurityContext{ProcMount: new(corev1.UnmaskedProcMount)}), []string{"spec.containers[1].securityContext.procMount"}},
		"masked proc":         {security(corev1.SecurityContext{ProcMount: new(corev1.DefaultProcMount)}), nil},
		"seccomp":             {security(corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost}}), []string{"spec.containers[1].securityContext.seccompProfile.type"}},
		"capability":          {security(corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN", "NET_ADMN"}}}), []string{"spec.containers[1].securityContext.capabilities.add"}},
		"dropped capability":  {security(corev1.SecurityContext{Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"EVERYTHING"}}}), []string{"spec.containers[1].securityContext.capabilities.drop"}},
		"known capabilities":  {security(corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"CAP_SYS_TIME", "BPF"}, Drop: []corev1.Capability{"ALL", "all"}}}), nil},
		"SELinux":             {podSecurity(corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Level: "s0"}}), []string{"spec.securityContext.seLinuxOptions.level"}},
		"container's SELinux": {security(corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Role: "r"}}), []string{"spec.containers[1].securityContext.seLinuxOptions.role"}},
		"no SELinux label":    {podSecurity(corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{}}), nil},
		"container without":   {security(corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{}}), nil},
		"no source ranges":    {service(corev1.ServiceSpec{LoadBalancerSourceRanges: []string{}, ExternalIPs: []string{}}), nil},
		"groups":              {podSecurity(corev1.PodSecurityContext{SupplementalGroupsPolicy: new(corev1.SupplementalGroupsPolicyStrict)}), []string{"spec.securityContext.supplementalGroupsPolicy"}},
		"merged groups":       {podSecurity(corev1.PodSecurityContext{SupplementalGroupsPolicy: new(corev1.SupplementalGroupsPolicyMerge)}), nil},
		"unsafe sysctl":       {podSecurity(corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net.ipv4.tcp_syncookies"}, {Name: "kernel.msgmax"}}}), []string{"spec.securityContext.sysctls[1].name"}},
		"sysctl with slashes": {podSecurity(corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net/ipv4/tcp_syncookies"}}}), nil},
		"network storage":     {volume(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}), []string{"spec.volumes[0].nfs"}},
		"persistent storage":  {volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}), nil},
		"claim of a template": {volume(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}), nil},
		"huge pages":          {volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumHugePages}}), []string{"spec.volumes[0].emptyDir.medium"}},
		"emptyDir":            {volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: new(resource.MustParse("1Mi"))}}), nil},
		"external IPs":        {service(corev1.ServiceSpec{ExternalIPs: []string{"192.0.2.1"}}), nil},
		"source ranges":       {service(corev1.ServiceSpec{LoadBalancerSourceRanges: []string{"192.0.2.0/24"}}), nil},
		"SCTP":                {service(corev1.ServiceSpec{Ports: []corev1.ServicePort{{}, {Protocol: corev1.ProtocolSCTP}}}), nil},
		"ephemeral container": {pod(func(s *corev1.PodSpec) {
			s.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{VolumeDevices: []corev1.VolumeDevice{{}}}}}
		}), []string{"spec.ephemeralContainers[0].volumeDevices"}},
		"template of a Deployment": {
			&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{HostUsers: new(false)}}}},
			[]string{"spec.template.spec.hostUsers"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range support.Refusals(test.obj, nil) {
				got = append(got, err.Field)
				if !strings.HasPrefix(err.Detail, "not supported yet: ") {
					t.Errorf("detail = %q, want the reason", err.Detail)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("refused %q, want %q", got, test.want)
			}
			if warnings := support.Warnings(test.obj); len(warnings) > 0 {
				t.Errorf("warned of %q too", warnings)
			}
			// What was accepted by an earlier version can still be changed.
			if errs := support.Refusals(test.obj, test.obj); len(errs) > 0 {
				t.Errorf("an update that leaves it as it is: %v", errs)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for name, test := range map[string]struct {
		obj  runtime.Object
		want string
	}{
		"load balancer": {&corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: new("example.com/other")}}, "spec.loadBalancerClass"},
	} {
		t.Run(name, func(t *testing.T) {
			warnings := support.Warnings(test.obj)
			if len(warnings) != 1 || warnings[0].Field != test.want || warnings[0].Reason == "" {
				t.Errorf("warnings = %q, want one about %s with a reason", warnings, test.want)
			}
			if errs := support.Refusals(test.obj, nil); len(errs) > 0 {
				t.Errorf("refused too: %v", errs)
			}
		})
	}
}

func BenchmarkRefusals(b *testing.B) {
	p := pod(func(*corev1.PodSpec) {})
	for b.Loop() {
		support.Refusals(p, nil)
	}
}
