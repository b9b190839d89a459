package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2" //nolint:depguard // the library wants a logger of it
	"k8s.io/kubectl/pkg/util/qos"

	"headway.dev/manifests/model/podspec"
)

// Rejection is the reason why a node does not run a pod that is bound to it, in
// the words of the kubelet.
type Rejection struct{ Reason, Message string }

// Status returns the status of a rejected pod.
func (r *Rejection) Status(p *corev1.Pod) corev1.PodStatus {
	s := *p.Status.DeepCopy()
	s.QOSClass = qos.GetPodQOS(p)
	s.Phase, s.Reason, s.Message = corev1.PodFailed, r.Reason, "Pod was rejected: "+r.Message
	return s
}

// Admit checks a pod that is new on this node, whoever bound it. others are the
// pods that the node has admitted and that use resources. The order is the
// kubelet's; the first thing that does not fit is the reason.
func Admit(p *corev1.Pod, node *corev1.Node, others []*corev1.Pod) *Rejection {
	for _, check := range []func(*corev1.Pod, *corev1.Node, []*corev1.Pod) *Rejection{systemFits, resourcesFit, affinityFits, portsFit, taintsFit} {
		if r := check(p, node, others); r != nil {
			return r
		}
	}
	return nil
}

func predicate(name, why string) *Rejection {
	return &Rejection{Reason: name, Message: fmt.Sprintf("Predicate %s failed: %s", name, why)}
}

// amount is a quantity as the kubelet counts it.
func amount(list corev1.ResourceList, name corev1.ResourceName) int64 {
	q := list[name]
	if name == corev1.ResourceCPU {
		return podspec.Milli(q)
	}
	return podspec.Whole(q)
}

func resourcesFit(p *corev1.Pod, node *corev1.Node, others []*corev1.Pod) *Rejection {
	lacking := func(name corev1.ResourceName, requested, used, capacity int64) *Rejection {
		return &Rejection{
			Reason:  "OutOf" + string(name),
			Message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, requested, used, capacity),
		}
	}
	allocatable := node.Status.Allocatable
	if limit := amount(allocatable, corev1.ResourcePods); int64(len(others))+1 > limit {
		return lacking(corev1.ResourcePods, 1, int64(len(others)), limit)
	}
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	used := map[corev1.ResourceName]int64{}
	for _, o := range others {
		for name, q := range resourcehelper.PodRequests(o, resourcehelper.PodResourcesOptions{UseStatusResources: true}) {
			used[name] += amount(corev1.ResourceList{name: q}, name)
		}
	}
	first := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	var rest []corev1.ResourceName
	for name := range requests {
		// The node need not know of an extended resource that others hand out.
		if _, known := allocatable[name]; known && !slices.Contains(first, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	for _, name := range append(first, rest...) {
		wanted, has := amount(requests, name), amount(allocatable, name)
		if wanted > 0 && wanted > has-used[name] {
			return lacking(name, wanted, used[name], has)
		}
	}
	return nil
}

func affinityFits(p *corev1.Pod, node *corev1.Node, _ []*corev1.Pod) *Rejection {
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(node); err != nil || !ok {
		return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
	}
	return nil
}

func portsFit(p *corev1.Pod, _ *corev1.Node, others []*corev1.Pod) *Rejection {
	var taken []corev1.ContainerPort
	for _, o := range others {
		taken = append(taken, hostPorts(o)...)
	}
	for _, want := range hostPorts(p) {
		for _, have := range taken {
			if want.HostPort == have.HostPort && want.Protocol == have.Protocol &&
				(want.HostIP == have.HostIP || want.HostIP == anyAddress || have.HostIP == anyAddress) {
				return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
			}
		}
	}
	return nil
}

const anyAddress = "0.0.0.0"

// hostPorts are the ports of the node that a pod takes, with the defaults in.
func hostPorts(p *corev1.Pod) []corev1.ContainerPort {
	containers := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	var out []corev1.ContainerPort
	for _, c := range containers {
		for _, port := range c.Ports {
			if port.HostPort == 0 {
				continue
			}
			if port.Protocol == "" {
				port.Protocol = corev1.ProtocolTCP
			}
			if port.HostIP == "" {
				port.HostIP = anyAddress
			}
			out = append(out, port)
		}
	}
	return out
}

func taintsFit(p *corev1.Pod, node *corev1.Node, _ []*corev1.Pod) *Rejection {
	noExecute := func(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }
	if _, untolerated := corev1helpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, p.Spec.Tolerations, noExecute, true); untolerated {
		return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
	}
	return nil
}

func systemFits(p *corev1.Pod, _ *corev1.Node, _ []*corev1.Pod) *Rejection {
	// The kubelet looks at the label of the pod; a nodeSelector is affinity.
	if os := p.Labels[corev1.LabelOSStable]; os != "" && os != string(corev1.Linux) {
		return &Rejection{Reason: "PodOSSelectorNodeLabelDoesNotMatch", Message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	if p.Spec.OS != nil && p.Spec.OS.Name != corev1.Linux {
		return &Rejection{Reason: "PodOSNotSupported", Message: "Failed to admit pod as the OS field doesn't match node OS"}
	}
	return nil
}
