package pod_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "B": "$(A)", "": "empty"}
	lookup := func(name string) (string, bool) { v, ok := values[name]; return v, ok && name != "" }
	for in, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$(B)": "$(A)", "$$(A)": "$(A)", "$$$(A)": "$1",
		"$(C)": "$(C)", "$(A": "$(A", "$": "$", "a$": "a$", "$A": "$A", "$()": "$()", "$($(A))": "$($(A))",
	} {
		if got := pod.Expand(in, lookup); got != want {
			t.Errorf("Expand(%q): got %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A)$$(")
	f.Fuzz(func(t *testing.T, s string) {
		got := pod.Expand(s, func(string) (string, bool) { return "", false })
		// Without any variable only $$ changes.
		if !strings.Contains(s, "$$") && got != s {
			t.Errorf("Expand(%q): got %q", s, got)
		}
	})
}

func facts() pod.Facts {
	missing := func(kind, name string) error { return apierrors.NewNotFound(corev1.Resource(kind), name) }
	return pod.Facts{
		PodIPs: []string{"10.1.0.5"}, HostIPs: []string{"192.0.2.1"},
		Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		Services: []pod.Service{
			{Namespace: "default", Name: "kubernetes", ClusterIP: "10.96.0.1", Ports: []pod.ServicePort{{Name: "https", Port: 443}}},
			{Namespace: "shop", Name: "my-db", ClusterIP: "10.96.0.9", Ports: []pod.ServicePort{{Protocol: "UDP", Port: 53}}},
			{Namespace: "shop", Name: "headless", ClusterIP: "None", Ports: []pod.ServicePort{{Port: 1}}},
			{Namespace: "other", Name: "foreign", ClusterIP: "10.96.0.7", Ports: []pod.ServicePort{{Port: 1}}},
		},
		ConfigMap: func(name string) (*corev1.ConfigMap, error) {
			if name != "cm" {
				return nil, missing("configmap", name)
			}
			return &corev1.ConfigMap{Data: map[string]string{"K": "v", "bad=name": "x"}}, nil
		},
		Secret: func(name string) (*corev1.Secret, error) {
			if name != "s" {
				return nil, missing("secret", name)
			}
			return &corev1.Secret{Data: map[string][]byte{"P": []byte("hidden")}}, nil
		},
	}
}

func TestEnvironment(t *testing.T) {
	p := newPod(func(p *corev1.Pod) { p.Spec.NodeName = "n1"; p.Labels = map[string]string{"l": "x"} })
	c := &p.Spec.Containers[0]
	c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	limit := func(name string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: name}}
	}
	c.EnvFrom = []corev1.EnvFromSource{
		{Prefix: "C_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "gone"}, Optional: new(true)}},
	}
	c.Env = []corev1.EnvVar{
		{Name: "A", Value: "1"},
		{Name: "B", Value: "$(A)-$(C_K)-$(LATER)-$(MY_DB_SERVICE_HOST)"},
		{Name: "LATER", Value: "2"},
		{Name: "A", Value: "3"},
		{Name: "NODE", ValueFrom: field("spec.nodeName")},
		{Name: "IP", ValueFrom: field("status.podIP")},
		{Name: "L", ValueFrom: field("metadata.labels['l']")},
		{Name: "MEM", ValueFrom: limit("limits.memory")},
		{Name: "CPU", ValueFrom: limit("limits.cpu")},
		{Name: "P", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "P"}}},
		{Name: "NONE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "no", Optional: new(true)}}},
	}
	got, err := pod.Environment(p, c, facts())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"C_K=v", "A=3", "B=1-v-$(LATER)-10.96.0.9", "LATER=2", "NODE=n1", "IP=10.1.0.5", "L=x", "MEM=67108864", "CPU=2", "P=hidden",
		"KUBERNETES_PORT=tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1",
		"KUBERNETES_PORT_443_TCP_PORT=443", "KUBERNETES_PORT_443_TCP_PROTO=tcp", "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443",
		"KUBERNETES_SERVICE_PORT_HTTPS=443",
		"MY_DB_PORT=udp://10.96.0.9:53", "MY_DB_PORT_53_UDP=udp://10.96.0.9:53", "MY_DB_PORT_53_UDP_ADDR=10.96.0.9", "MY_DB_PORT_53_UDP_PORT=53",
		"MY_DB_PORT_53_UDP_PROTO=udp", "MY_DB_SERVICE_HOST=10.96.0.9", "MY_DB_SERVICE_PORT=53",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	p.Spec.EnableServiceLinks = new(false)
	if got, err = pod.Environment(p, c, facts()); err != nil || slices.ContainsFunc(got, func(e string) bool { return strings.HasPrefix(e, "MY_DB") }) {
		t.Errorf("without service links: got %v, %v", got, err)
	}
}

func TestEnvironmentErrors(t *testing.T) {
	ref := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	for want, e := range map[string]*corev1.EnvVarSource{
		`configmap "gone" not found`:               {ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref("gone"), Key: "k"}},
		`secret "gone" not found`:                  {SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("gone"), Key: "k"}},
		`couldn't find key k in ConfigMap shop/cm`: {ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref("cm"), Key: "k"}},
		`couldn't find key k in Secret shop/s`:     {SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("s"), Key: "k"}},
	} {
		p := newPod()
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: e}}
		if _, err := pod.Environment(p, &p.Spec.Containers[0], facts()); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	const capacity = 4 << 30
	for _, c := range []struct {
		name             string
		requests, limits corev1.ResourceList
		want             runtime.Resources
		oom              int
		qos              corev1.PodQOSClass
	}{
		{"none", nil, nil, runtime.Resources{CPUShares: 2}, 1000, "BestEffort"},
		{"requests", list("250m", "1Gi"), nil, runtime.Resources{CPUShares: 256}, 750, "Burstable"},
		{"a tiny request", list("1m", "1Ki"), nil, runtime.Resources{CPUShares: 2}, 999, "Burstable"},
		{"limits only", nil, list("500m", "64Mi"), runtime.Resources{CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, MemoryBytes: 64 << 20}, 1000, "Burstable"},
		{"guaranteed", list("2", "64Mi"), list("2", "64Mi"), runtime.Resources{CPUShares: 2048, CPUQuota: 200000, CPUPeriod: 100000, MemoryBytes: 64 << 20}, -997, "Guaranteed"},
		{"a tiny limit", list("1m", ""), list("1m", ""), runtime.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100000}, 999, "Burstable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPod()
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: c.requests, Limits: c.limits}
			if c.name == "limits only" {
				// The API defaults requests from limits; here the formula alone is tested.
				c.oom = pod.OOMScoreAdj(p, &p.Spec.Containers[0], capacity)
			} else if got := pod.SandboxConfig(p, "").QOSClass; got != string(c.qos) {
				t.Errorf("QoS class: got %s, want %s", got, c.qos)
			}
			if diff := cmp.Diff(c.want, pod.ContainerResources(p, &p.Spec.Containers[0])); diff != "" {
				t.Errorf("resources (-want +got):\n%s", diff)
			}
			if got := pod.OOMScoreAdj(p, &p.Spec.Containers[0], capacity); got != c.oom {
				t.Errorf("oom_score_adj: got %d, want %d", got, c.oom)
			}
		})
	}
}

// The host name has the pod's domain if it asks for that and has one, as far as the
// kernel takes it.
func TestKernelHostname(t *testing.T) {
	for _, c := range []struct {
		name, hostname, subdomain string
		full                      *bool
		want, err                 string
	}{
		{"web-0", "", "", nil, "web-0", ""},
		{"web-0", "web", "", new(true), "web", ""},
		{"web-0", "web", "front", nil, "web", ""},
		{"web-0", "web", "front", new(false), "web", ""},
		{"web-0", "", "front", new(true), "web-0.front.shop.svc.cluster.local", ""},
		{"web-0", strings.Repeat("w", 40), "front", new(true), "", "failed to construct FQDN from pod hostname and cluster domain, FQDN " +
			strings.Repeat("w", 40) + ".front.shop.svc.cluster.local is too long (64 characters is the max, 69 characters requested)"},
	} {
		p := newPod()
		p.Namespace, p.Name = "shop", c.name
		p.Spec.Hostname, p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = c.hostname, c.subdomain, c.full
		got, err := pod.KernelHostname(p, "cluster.local")
		if text := fmt.Sprint(err); got != c.want || c.err == "" && err != nil || c.err != "" && text != c.err {
			t.Errorf("%+v: got %q, %v", c, got, err)
		}
	}
}
