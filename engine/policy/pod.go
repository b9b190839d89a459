package policy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"headway.dev/manifests/nodepolicy"
)

// pod is what policies depend on of a pod.
type pod struct {
	place
	labels labels.Set
	// ips are empty unless it is a peer: it has a network of its own, and runs.
	ips   []netip.Addr
	ports []nodepolicy.NamedPort
	// on is the node whose network the pod has a part of; empty: none.
	on string
}

// place is where a pod is, and what it is told there.
type place struct {
	node string
	// The profiles are nil if the pod is not isolated.
	ingress, egress *profile
}

func (p place) each(f func(*profile)) {
	for _, pr := range []*profile{p.ingress, p.egress} {
		if pr != nil {
			f(pr)
		}
	}
}

// read is what policies depend on of a pod. Policies are not about pods that use the
// network of their node.
func read(p *corev1.Pod) *pod {
	is := &pod{labels: p.Labels}
	if p.Spec.HostNetwork {
		return is
	}
	is.on = p.Spec.NodeName
	is.ports = namedPorts(&p.Spec)
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return is
	}
	for _, ip := range p.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			is.ips = append(is.ips, addr.Unmap())
		}
	}
	return is
}

func namedPorts(s *corev1.PodSpec) []nodepolicy.NamedPort {
	var ports []nodepolicy.NamedPort
	see := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.Name != "" && p.ContainerPort > 0 && p.ContainerPort < 1<<16 {
				protocol := string(p.Protocol)
				if protocol == "" {
					protocol = string(corev1.ProtocolTCP)
				}
				ports = append(ports, nodepolicy.NamedPort{Name: p.Name, Protocol: protocol, Port: uint16(p.ContainerPort)})
			}
		}
	}
	for i := range s.InitContainers {
		if c := &s.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			see(c)
		}
	}
	for i := range s.Containers {
		see(&s.Containers[i])
	}
	return ports
}

// same reports whether policies mean the same for both.
func (p *pod) same(q *pod) bool {
	return p.on == q.on && labels.Equals(p.labels, q.labels) && slices.Equal(p.ips, q.ips) && slices.Equal(p.ports, q.ports)
}

// wire is what the pod's node is told.
func (p *pod) wire() *nodepolicy.Pod {
	w := &nodepolicy.Pod{Ports: p.ports}
	if p.ingress != nil {
		w.Ingress = p.ingress.id
	}
	if p.egress != nil {
		w.Egress = p.egress.id
	}
	return w
}
