package core

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

var node = kind.Define[corev1.Node, corev1.NodeList](kind.Definition[*corev1.Node]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Node"),
		Plural:           "nodes", Singular: "node",
		ShortNames: []string{"no"},
	},
	Order:        kind.Anywhere,
	Volatile:     true,
	Status:       true,
	Subresources: []string{"proxy"},
	Default:      defaultNode,
	// A node may bring its status on creation.
	Lifecycle: kind.Lifecycle[*corev1.Node]{
		Update:       func(node, old *corev1.Node) { node.Status = old.Status },
		UpdateStatus: func(node, old *corev1.Node) { node.Spec = old.Spec },
	},
	Honours: honour.Types{
		honour.Of[corev1.Node](): {Honoured: "TypeMeta metadata spec status"},
		honour.Of[corev1.NodeSpec](): {
			Honoured: "podCIDR podCIDRs providerID unschedulable taints",
			Rules: map[string]*honour.Rule{
				"externalID":          {Level: honour.Hint, Reason: "nothing reads it"},
				"configSource":        honour.NotServed("agents take their settings from their flags"),
				"podPreemptionPolicy": honour.NotServed("nothing is preempted for a pod that is resized"),
			},
		},
		honour.Of[corev1.Taint](): {Honoured: "key value effect timeAdded"},
	},
	Rules: kind.Rules[*corev1.Node]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateNode,
		Update: validateNodeUpdate,
		Status: validateNodeStatus,
	},
	Warnings: func(node, _ *corev1.Node) []string {
		var told []string
		if node.Spec.ConfigSource != nil { //nolint:staticcheck // that is what is told
			told = append(told, "spec.configSource: the feature is removed")
		}
		if node.Spec.DoNotUseExternalID != "" {
			told = append(told, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
		}
		for i, block := range node.Spec.PodCIDRs {
			told = append(told, validation.GetWarningsForCIDR(rule.Spec.Child("podCIDRs").Index(i), block)...)
		}
		return told
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
	kernel := column.Or(info.KernelVersion, "<unknown>")
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		node.Name, status, column.Or(strings.Join(nodeRoles(node), ","), column.None), column.Age(node, now), info.KubeletVersion,
		address(corev1.NodeInternalIP), address(corev1.NodeExternalIP),
		column.Or(info.OSImage, "<unknown>"), kernel, column.Or(info.ContainerRuntimeVersion, "<unknown>"),
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

func validateNode(n *corev1.Node) field.ErrorList {
	// That they are said to be in the metadata is the API's.
	errs := taints(n.Spec.Taints, rule.Metadata.Child("taints"))
	errs = append(errs, nodeCIDRs(n.Spec.PodCIDRs, rule.Spec.Child("podCIDRs"))...)
	return append(errs, validateNodeStatus(n, n)...)
}

func nodeCIDRs(list []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, cidr := range list {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), cidr, true, nil)...)
	}
	if len(list) < 2 {
		return errs
	}
	both, err := netutils.IsDualStackCIDRStrings(list)
	if err != nil {
		errs = append(errs, field.InternalError(path, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%w", err)))
	}
	if !both || len(list) > 2 {
		errs = append(errs, field.Invalid(path, list, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

func validateNodeStatus(n, _ *corev1.Node) field.ErrorList {
	errs := declaredFeatures(n.Status.DeclaredFeatures, rule.Status.Child("declaredFeatures"))
	for name, list := range map[string]corev1.ResourceList{"capacity": n.Status.Capacity, "allocatable": n.Status.Allocatable} {
		for _, resource := range slices.Sorted(maps.Keys(list)) {
			errs = append(errs, podspec.Quantity(resource, list[resource], rule.Status.Child(name, string(resource)))...)
		}
	}
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		errs = append(errs, rule.Unique(seen, a, rule.Status.Child("addresses").Index(i))...)
	}
	return errs
}

func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	if old.Spec.PodCIDR != "" && n.Spec.PodCIDR != old.Spec.PodCIDR {
		errs = append(errs, field.Forbidden(rule.Spec.Child("podCIDR"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	for i, cidr := range old.Spec.PodCIDRs {
		if len(n.Spec.PodCIDRs) == len(old.Spec.PodCIDRs) && n.Spec.PodCIDRs[i] == cidr {
			continue
		}
		errs = append(errs, field.Forbidden(rule.Spec.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
		if len(n.Spec.PodCIDRs) != len(old.Spec.PodCIDRs) {
			break
		}
	}
	switch id := n.Spec.ProviderID; {
	case old.Spec.ProviderID == "" || id == old.Spec.ProviderID:
	case id == "":
		errs = append(errs, field.Invalid(rule.Spec.Child("providerID"), nil, "field cannot be cleared once set"))
	default:
		errs = append(errs, field.Invalid(rule.Spec.Child("providerID"), nil, "field cannot be modified once set"))
	}
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(rule.Spec.Child("externalID"), "may not be updated"))
	}
	return errs
}

func taints(list []corev1.Taint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.Taint]bool{}
	for i, t := range list {
		at := path.Index(i)
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		if bad := validation.IsValidLabelValue(t.Value); len(bad) > 0 {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, strings.Join(bad, ";")))
		}
		errs = append(errs, rule.OneOf(t.Effect, at.Child("effect"), podspec.TaintEffects...)...)
		if key := (corev1.Taint{Key: t.Key, Effect: t.Effect}); seen[key] {
			twice := field.Duplicate(at, t)
			twice.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, twice)
		} else {
			seen[key] = true
		}
	}
	return errs
}

// declaredFeatures are sorted.
func declaredFeatures(list []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := 1; i < len(list); i++ {
		switch at := path.Index(i); {
		case list[i] == list[i-1]:
			errs = append(errs, field.Duplicate(at, list[i]))
		case list[i] < list[i-1]:
			errs = append(errs, field.Invalid(at, list[i], "list must be sorted alphabetically"))
		}
	}
	return errs
}
