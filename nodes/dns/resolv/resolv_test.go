package resolv_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/dns/resolv"
)

func TestConf(t *testing.T) {
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("s%d.example", i))
	}
	long := strings.Repeat("a", 63)
	long = strings.Join([]string{long, long, long}, ".") // 191 characters
	node := resolv.Node{Servers: []string{"10.96.0.10"}, Domain: "cluster.local", ResolvConf: "search lan\nnameserver 192.0.2.53\noptions edns0\n"}
	const clusters = "search shop.svc.cluster.local svc.cluster.local cluster.local lan"
	for _, c := range []struct {
		name     string
		spec     func(*corev1.PodSpec)
		want     string
		warnings []string
	}{
		{"cluster first", func(s *corev1.PodSpec) { s.DNSPolicy = "ClusterFirst" }, clusters + "\nnameserver 10.96.0.10\noptions ndots:5\n", nil},
		{"the node's", func(s *corev1.PodSpec) { s.DNSPolicy = "Default" }, "search lan\nnameserver 192.0.2.53\noptions edns0\n", nil},
		{"in the node's network", func(s *corev1.PodSpec) { s.DNSPolicy, s.HostNetwork = "ClusterFirst", true }, "search lan\nnameserver 192.0.2.53\noptions edns0\n", nil},
		{"the cluster's in the node's network", func(s *corev1.PodSpec) { s.DNSPolicy, s.HostNetwork = "ClusterFirstWithHostNet", true }, clusters + "\nnameserver 10.96.0.10\noptions ndots:5\n", nil},
		{"own", func(s *corev1.PodSpec) {
			s.DNSPolicy = "None"
			s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}}}
		}, "nameserver 192.0.2.1\noptions ndots:2\n", nil},
		{"overridden", func(s *corev1.PodSpec) {
			s.DNSPolicy = "ClusterFirst"
			s.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"lan", "corp"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("1")}, {Name: "rotate"}}}
		}, clusters + " corp\nnameserver 10.96.0.10\noptions ndots:1 rotate\n", nil},
		{"too many", func(s *corev1.PodSpec) {
			s.DNSPolicy = "None"
			s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}, Searches: many}
		}, "search " + strings.Join(many[:32], " ") + "\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n", []string{
			"Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3",
			"Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Join(many[:32], " "),
		}},
		{"too long", func(s *corev1.PodSpec) {
			s.DNSPolicy = "None"
			s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Searches: []string{long + "." + long, "short"}}
			for i := range 12 {
				s.DNSConfig.Searches = append(s.DNSConfig.Searches, fmt.Sprintf("%x.%s", i, long))
			}
		}, "search short 0." + long + " 1." + long + " 2." + long + " 3." + long + " 4." + long + " 5." + long + " 6." + long + " 7." + long + " 8." + long + " 9." + long + "\nnameserver 192.0.2.1\n", []string{
			"Search Line limits were exceeded, some search paths have been omitted, the applied search line is: short 0." + long + " 1." + long + " 2." + long + " 3." + long + " 4." + long + " 5." + long + " 6." + long + " 7." + long + " 8." + long + " 9." + long,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}
			c.spec(&p.Spec)
			conf, warnings := resolv.Conf(p, node)
			if diff := cmp.Diff(c.want, conf); diff != "" {
				t.Errorf("resolv.conf (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
	// Without a cluster DNS, pods have the node's.
	p := &corev1.Pod{Spec: corev1.PodSpec{DNSPolicy: "ClusterFirst"}}
	if got, _ := resolv.Conf(p, resolv.Node{ResolvConf: node.ResolvConf}); got != node.ResolvConf {
		t.Errorf("without a cluster DNS: %q", got)
	}
}
