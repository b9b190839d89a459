package placement

import (
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
)

const anyAddress = "0.0.0.0"

// Kubernetes' words for why a node is not taken.
const (
	reasonUnschedulable = "node(s) were unschedulable"
	reasonNodeName      = "node(s) didn't match the requested node name"
	reasonAffinity      = "node(s) didn't match Pod's node affinity/selector"
	reasonTaint         = "node(s) had untolerated taint(s)"
	reasonPorts         = "node(s) didn't have free ports for the requested pod ports"
	reasonPods          = "Too many pods"
)

// verdict is why a pod does not fit on a node; it fits if there is no reason.
type verdict struct {
	reasons []string
	// final says that it would not fit without the node's other pods either.
	final bool
	// detail is for operators only: a pod's status does not tell about taints.
	detail string
}

func final(reason string) verdict { return verdict{reasons: []string{reason}, final: true} }

// filter applies the filters in the order of the package's documentation; the
// first that refuses decides.
func filter(p *podInfo, n *nodeInfo) verdict {
	spec := &p.pod.Spec
	if n.node.Spec.Unschedulable && !tolerates(spec.Tolerations, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		return final(reasonUnschedulable)
	}
	if spec.NodeName != "" && spec.NodeName != n.name {
		return final(reasonNodeName)
	}
	for i := range n.node.Spec.Taints {
		t := &n.node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(spec.Tolerations, *t) {
			return verdict{reasons: []string{reasonTaint}, final: true, detail: "taint " + t.ToString()}
		}
	}
	if ok, err := p.affinity.Match(n.node); err != nil || !ok {
		return final(reasonAffinity)
	}
	if slices.ContainsFunc(p.ports, n.taken) {
		return verdict{reasons: []string{reasonPorts}}
	}
	return n.fits(p)
}

func tolerates(tolerations []corev1.Toleration, taint corev1.Taint) bool {
	return len(tolerations) > 0 && scheduling.TolerationsTolerateTaint(logr.Discard(), tolerations, &taint, false)
}

// taken reports whether a host port is in use; the wildcard address conflicts
// with every address.
func (n *nodeInfo) taken(want hostPort) bool {
	if want.ip != anyAddress {
		wildcard := want
		wildcard.ip = anyAddress
		return n.ports[want] > 0 || n.ports[wildcard] > 0
	}
	for have := range n.ports {
		if have.port == want.port && have.protocol == want.protocol {
			return true
		}
	}
	return false
}

// fits compares what is left of each resource with what the pod requests.
func (n *nodeInfo) fits(p *podInfo) verdict {
	var v verdict
	if int64(len(n.pods))+1 > n.maxPods {
		v.reasons = append(v.reasons, reasonPods)
	}
	check := func(name corev1.ResourceName, want, used, have int64) {
		if want > 0 && want > have-used {
			v.reasons = append(v.reasons, "Insufficient "+string(name))
			v.final = v.final || want > have
		}
	}
	check(corev1.ResourceCPU, p.exact.milliCPU, n.requested.milliCPU, n.allocatable.milliCPU)
	check(corev1.ResourceMemory, p.exact.memory, n.requested.memory, n.allocatable.memory)
	check(corev1.ResourceEphemeralStorage, p.exact.ephemeral, n.requested.ephemeral, n.allocatable.ephemeral)
	for name, want := range p.exact.others {
		check(name, want, n.requested.others[name], n.allocatable.others[name])
	}
	return v
}
