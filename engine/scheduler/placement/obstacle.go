package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/engine/scheduler/placement/profile"
)

// Obstacle is one of the things for which a node does not take a pod. The scheduler
// names the first of them, and all are in the way.
type Obstacle struct {
	// Reason is in Kubernetes' words.
	Reason string
	// Fix is what would have to be otherwise; empty if that is the pod itself, as for
	// those of a DaemonSet, which are for one node each.
	Fix string
	// Fields of the pod that it is about; [*] stands for every container.
	Fields []string
	// far is how much would have to be otherwise.
	far float64
}

// Hurdles are the obstacles of one node.
type Hurdles struct {
	Node      string
	Obstacles []Obstacle // none if the pod fits
}

// far is how far the pod is from fitting.
func (h *Hurdles) far() (sum float64) {
	for _, o := range h.Obstacles {
		sum += o.far
	}
	return sum
}

// What is counted for obstacles that are not a part of a node: what passes or takes one
// command, what takes a line in a manifest, and what another node has to be found for.
const (
	near    = 0.5
	oneLine = 1
	distant = 10
)

// Obstacles asks every node what would have to be otherwise for the pod to fit. The
// nodes where it fits come first, then those where least would have to be.
func Obstacles(pod *corev1.Pod, s *Snapshot) []Hurdles {
	if own := s.on[pod.UID]; own != nil {
		s.lift(own)
		defer s.put(own, own.node)
	}
	s.cycles++
	c := newCycle(newPodInfo(pod, s), s)
	list := make([]Hurdles, 0, s.Len())
	for _, n := range s.list() {
		c.refresh()
		list = append(list, Hurdles{Node: n.name, Obstacles: obstaclesOf(c, n)})
	}
	slices.SortFunc(list, func(a, b Hurdles) int {
		return cmp.Or(cmp.Compare(a.far(), b.far()), cmp.Compare(a.Node, b.Node))
	})
	return list
}

func obstaclesOf(c *cycle, n *nodeInfo) []Obstacle {
	v := c.filter(n)
	if v == nil {
		return nil
	}
	list := slices.Concat(byItself(c, n), byRoom(c, n), byOthers(c, n))
	if len(list) == 0 {
		list = append(list, Obstacle{Reason: strings.Join(v.reasons, ", "), Fix: n.name + " is kept for another pod that is no less important", far: oneLine})
	}
	return list
}

// byItself is what the node's object says.
func byItself(c *cycle, n *nodeInfo) (list []Obstacle) {
	spec, by := &c.p.pod.Spec, c.p.profile
	cordon := n.node.Spec.Unschedulable && by.Has(profile.NodeUnschedulable) && !tolerates(spec.Tolerations, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	if cordon {
		list = append(list, Obstacle{cordoned.reasons[0], fmt.Sprintf("uncordon %s", n.name), nil, near})
	}
	if spec.NodeName != "" && spec.NodeName != n.name && by.Has(profile.NodeName) {
		list = append(list, Obstacle{otherName.reasons[0], "remove spec.nodeName, which is " + spec.NodeName, []string{"spec.nodeName"}, distant})
	}
	for _, t := range n.node.Spec.Taints {
		if !by.Has(profile.TaintToleration) || t.Effect == corev1.TaintEffectPreferNoSchedule || cordon && t.Key == corev1.TaintNodeUnschedulable || tolerates(spec.Tolerations, t) {
			continue
		}
		o := Obstacle{tainted.reasons[0], "add a toleration for " + taintText(t), []string{"spec.tolerations"}, oneLine}
		if strings.HasPrefix(t.Key, "node.kubernetes.io/") {
			o.Fix, o.Fields = fmt.Sprintf("wait until the taint %s of %s is gone", t.Key, n.name), nil
		}
		list = append(list, o)
	}
	if by.Has(profile.NodeAffinity) && by.Required != nil && !by.Required.Match(n.node) {
		list = append(list, Obstacle{enforced.reasons[0], fmt.Sprintf("label %s as the profile %s of the scheduler asks for (addedAffinity), or set another spec.schedulerName", n.name, by.Name), []string{"spec.schedulerName"}, oneLine})
	}
	if by.Has(profile.NodeAffinity) && c.p.narrowed && !c.allowed(n) {
		list = append(list, unmatched(c, n))
	}
	return list
}

// taintText is a taint as kubectl describe has it.
func taintText(t corev1.Taint) string {
	if t.Value == "" {
		return t.Key + ":" + string(t.Effect)
	}
	return t.Key + "=" + t.Value + ":" + string(t.Effect)
}

// unmatched is that the node's labels are others.
func unmatched(c *cycle, n *nodeInfo) Obstacle {
	if c.p.one {
		return Obstacle{unaffine.reasons[0], "", []string{"spec.affinity.nodeAffinity"}, 2 * distant}
	}
	var lacks []string
	var other bool // it asks for another node by its name
	for _, key := range slices.Sorted(maps.Keys(c.p.pod.Spec.NodeSelector)) {
		if have, ok := n.node.Labels[key]; !ok || have != c.p.pod.Spec.NodeSelector[key] {
			lacks, other = append(lacks, key+"="+c.p.pod.Spec.NodeSelector[key]), other || key == corev1.LabelHostname
		}
	}
	if other {
		return Obstacle{unaffine.reasons[0], fmt.Sprintf("change spec.nodeSelector, which asks for %s=%s", corev1.LabelHostname, c.p.pod.Spec.NodeSelector[corev1.LabelHostname]), []string{"spec.nodeSelector"}, 2 * oneLine}
	}
	if len(lacks) > 0 {
		return Obstacle{unaffine.reasons[0], fmt.Sprintf("label %s with %s, or change spec.nodeSelector", n.name, strings.Join(lacks, ",")), []string{"spec.nodeSelector"}, oneLine}
	}
	return Obstacle{unaffine.reasons[0], fmt.Sprintf("change spec.affinity.nodeAffinity so that it allows %s, or the labels of %[1]s", n.name), []string{"spec.affinity.nodeAffinity"}, 2 * oneLine}
}

// byRoom is what others have taken, or the node does not have.
func byRoom(c *cycle, n *nodeInfo) (list []Obstacle) {
	for _, port := range c.p.ports {
		if c.p.profile.Has(profile.NodePorts) && n.taken(port) {
			list = append(list, Obstacle{portTaken.reasons[0], fmt.Sprintf("free the host port %d/%s on %s, or take another", port.port, port.protocol, n.name), []string{"spec.containers[*].ports"}, oneLine})
		}
	}
	if !c.p.profile.Has(profile.NodeResourcesFit) {
		return list
	}
	if int64(len(n.pods))+1 > n.maxPods {
		list = append(list, Obstacle{"Too many pods", fmt.Sprintf("remove a pod from %s, which has %d of at most %d", n.name, len(n.pods), n.maxPods), nil, oneLine})
	}
	lacks := func(name corev1.ResourceName, called string, want, used, have int64, text func(int64) string) {
		if want <= 0 || want <= have-used {
			return
		}
		o := Obstacle{Reason: "Insufficient " + string(name), Fields: []string{"spec.containers[*].resources.requests." + string(name), "spec.containers[*].resources.limits." + string(name)}}
		if want > have {
			o.Fix, o.far = fmt.Sprintf("asks for %s %s, and %s has %s in all: lower the request, or add a larger node", text(want), called, n.name, text(have)), distant
		} else {
			o.Fix, o.far = fmt.Sprintf("needs %s more %s on %s", text(want-have+used), called, n.name), float64(want-have+used)/float64(have)
		}
		list = append(list, o)
	}
	want, used, have := &c.p.exact, &n.requested, &n.allocatable
	lacks(corev1.ResourceCPU, "CPU", want.milliCPU, used.milliCPU, have.milliCPU, milliText)
	lacks(corev1.ResourceMemory, "memory", want.memory, used.memory, have.memory, bytesText)
	lacks(corev1.ResourceEphemeralStorage, "ephemeral storage", want.ephemeral, used.ephemeral, have.ephemeral, bytesText)
	for _, name := range slices.Sorted(maps.Keys(want.others)) {
		if c.p.profile.Ignores(name) {
			continue
		}
		lacks(name, string(name), want.others[name], used.others[name], have.others[name], func(v int64) string { return fmt.Sprint(v) })
	}
	return list
}

func milliText(v int64) string {
	return apiresource.NewMilliQuantity(v, apiresource.DecimalSI).String()
}

// bytesText rounds up to whole Mi, so that it is enough.
func bytesText(v int64) string {
	const mi = 1 << 20
	if v > mi {
		v = (v + mi - 1) / mi * mi
	}
	return apiresource.NewQuantity(v, apiresource.BinarySI).String()
}

// byOthers is what the rules between pods say.
func byOthers(c *cycle, n *nodeInfo) (list []Obstacle) {
	for i := range c.hard {
		x := &c.hard[i]
		by := "spec.topologySpreadConstraints"
		if x.Owners {
			by = "the profile " + c.p.profile.Name + " of the scheduler"
		}
		switch d := x.top.of[n.slot]; {
		case d == none:
			list = append(list, Obstacle{unlabeled.reasons[0], fmt.Sprintf("label %s with %s, by which %s spreads", n.name, x.Topology, by), []string{"spec.topologySpreadConstraints"}, oneLine})
		case at(x.counts, d)+x.Self-x.least > x.MaxSkew:
			list = append(list, Obstacle{skewed.reasons[0], fmt.Sprintf("have room where fewer of its pods are (%s), or allow more than maxSkew %d in %s", x.Topology, x.MaxSkew, by), []string{"spec.topologySpreadConstraints"}, oneLine})
		}
	}
	switch c.between(n) {
	case unattract:
		list = append(list, Obstacle{unattract.reasons[0], "run a pod there that spec.affinity.podAffinity asks for", []string{"spec.affinity.podAffinity"}, oneLine})
	case repelled:
		list = append(list, Obstacle{repelled.reasons[0], "have a node without the pods that spec.affinity.podAntiAffinity keeps away from", []string{"spec.affinity.podAntiAffinity"}, oneLine})
	case barred:
		list = append(list, Obstacle{barred.reasons[0], "have a node without the pods whose anti-affinity keeps this one away", []string{"metadata.labels"}, oneLine})
	}
	return list
}
