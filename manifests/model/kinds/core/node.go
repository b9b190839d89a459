package core

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var node = kind.Define[corev1.Node, corev1.NodeList](kind.Definition[*corev1.Node]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Node"),
		Plural:           "nodes", Singular: "node",
		ShortNames: []string{"no"},
	},
	Status:  true,
	Default: defaultNode,
	// A node may bring its status on creation.
	Lifecycle: kind.Lifecycle[*corev1.Node]{
		Update:       func(node, old *corev1.Node) { node.Status = old.Status },
		UpdateStatus: func(node, old *corev1.Node) { node.Spec = old.Spec },
	},
	Table: kind.Table[*corev1.Node]{
		Columns: column.Define("Name", "Status", "Roles", "Age", "Version", "+Internal-IP", "+External-IP", "+OS-Image", "+Kernel-Version", "+Container-Runtime"),
		Row:     nodeRow,
	},
	Fields: kind.Fields[*corev1.Node]{
		Names: []string{"spec.unschedulable"},
		Read: func(node *corev1.Node, into fields.Set) {
			into["spec.unschedulable"] = strconv.FormatBool(node.Spec.Unschedulable)
		},
	},
})

func defaultNode(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	fill.Milli(n.Status.Capacity)
	fill.Milli(n.Status.Allocatable)
}

func nodeRow(node *corev1.Node, now time.Time) []any {
	status := "Unknown"
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "NotReady"
			if c.Status == corev1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if node.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	address := func(t corev1.NodeAddressType) string {
		for _, a := range node.Status.Addresses {
			if a.Type == t {
				return column.Or(a.Address, column.None)
			}
		}
		return column.None
	}
	info := node.Status.NodeInfo
	return []any{
		node.Name, status, column.Or(strings.Join(nodeRoles(node), ","), column.None), column.Age(node, now), info.KubeletVersion,
		address(corev1.NodeInternalIP), address(corev1.NodeExternalIP),
		column.Or(info.OSImage, "<unknown>"), column.Or(info.KernelVersion, "<unknown>"), column.Or(info.ContainerRuntimeVersion, "<unknown>"),
	}
}

// nodeRoles reads the roles from the labels node-role.kubernetes.io/ROLE and
// kubernetes.io/role=ROLE.
func nodeRoles(node *corev1.Node) []string {
	roles := sets.New[string]()
	for label, value := range node.Labels {
		if role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/"); ok && role != "" {
			roles.Insert(role)
		} else if label == "kubernetes.io/role" && value != "" {
			roles.Insert(value)
		}
	}
	return sets.List(roles)
}
