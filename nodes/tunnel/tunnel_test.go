package tunnel_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/tunnel"
)

func pod(hostNetwork bool, phase corev1.PodPhase, ip string, port int32) corev1.Pod {
	return corev1.Pod{
		Spec:   corev1.PodSpec{HostNetwork: hostNetwork, Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: port}}}}},
		Status: corev1.PodStatus{Phase: phase, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

// The server reaches the agent and the node's pods, and nothing else: neither other ports
// of the machine nor what the machine reaches, whatever the API says of pods.
func TestAllows(t *testing.T) {
	cfg := tunnel.Config{
		NodeName: "n1", Own: netip.MustParseAddrPort("10.0.0.1:10250"),
		Ranges: func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")} },
		Pods: func() []corev1.Pod {
			return []corev1.Pod{
				pod(false, corev1.PodRunning, "10.42.1.7", 80), pod(false, corev1.PodSucceeded, "10.42.1.8", 80),
				pod(true, corev1.PodRunning, "10.0.0.1", 9443), pod(true, corev1.PodFailed, "10.0.0.1", 9444),
				pod(false, corev1.PodRunning, "10.0.0.1", 22), pod(false, corev1.PodRunning, "127.0.0.1", 22), pod(false, corev1.PodRunning, "10.0.0.9", 22),
				pod(false, corev1.PodRunning, "169.254.169.254", 80),
			}
		},
	}
	for address, want := range map[string]bool{
		"10.0.0.1:10250": true, "10.42.1.7:80": true, "10.42.1.7:81": true, "10.0.0.1:9443": true,
		"10.42.1.8:80": false, "10.42.1.9:80": false, "10.42.2.7:80": false,
		"10.0.0.1:9444": false, "10.0.0.1:22": false, "127.0.0.1:22": false, "127.0.0.1:10250": false, "10.0.0.9:22": false, "169.254.169.254:80": false, "[::1]:22": false,
	} {
		if got := cfg.Allows(netip.MustParseAddrPort(address)); got != want {
			t.Errorf("%s: %t, want %t", address, got, want)
		}
	}
}
