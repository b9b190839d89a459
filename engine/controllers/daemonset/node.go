package daemonset

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/go-logr/logr"
)

// Verdict is what a node is to a set: whether it should run a pod of it, and, if not,
// whether one that runs there may stay.
type Verdict struct{ Run, Stay bool }

// matcher judges nodes for one set.
type matcher struct {
	nodeName    string
	affinity    nodeaffinity.RequiredNodeAffinity
	tolerations []corev1.Toleration
}

func newMatcher(ds *appsv1.DaemonSet) matcher {
	spec := &ds.Spec.Template.Spec
	return matcher{
		nodeName:    spec.NodeName,
		affinity:    nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec}),
		tolerations: tolerations(spec),
	}
}

// Judge says what a node is to a set, by its name, labels and taints.
func (m matcher) judge(node *corev1.Node) Verdict {
	if m.nodeName != "" && m.nodeName != node.Name {
		return Verdict{}
	}
	// An affinity that cannot be read matches nothing; validation has refused it.
	if fits, err := m.affinity.Match(node); err != nil || !fits {
		return Verdict{}
	}
	v := Verdict{Run: true, Stay: true}
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || m.tolerates(taint) {
			continue
		}
		v.Run = false
		if taint.Effect == corev1.TaintEffectNoExecute {
			v.Stay = false
		}
	}
	return v
}

func (m matcher) tolerates(taint *corev1.Taint) bool {
	for i := range m.tolerations {
		if m.tolerations[i].ToleratesTaint(logr.Discard(), taint, false) {
			return true
		}
	}
	return false
}
