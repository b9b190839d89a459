package printers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

func namespaceRow(ns *corev1.Namespace, now time.Time) []any {
	return []any{ns.Name, string(ns.Status.Phase), age(ns, now)}
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
				return or(a.Address, none)
			}
		}
		return none
	}
	info := node.Status.NodeInfo
	return []any{
		node.Name, status, or(strings.Join(nodeRoles(node), ","), none), age(node, now), info.KubeletVersion,
		address(corev1.NodeInternalIP), address(corev1.NodeExternalIP),
		or(info.OSImage, "<unknown>"), or(info.KernelVersion, "<unknown>"), or(info.ContainerRuntimeVersion, "<unknown>"),
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

func configMapRow(cm *corev1.ConfigMap, now time.Time) []any {
	return []any{cm.Name, int64(len(cm.Data) + len(cm.BinaryData)), age(cm, now)}
}

func secretRow(s *corev1.Secret, now time.Time) []any {
	return []any{s.Name, string(s.Type), int64(len(s.Data)), age(s, now)}
}

func serviceAccountRow(sa *corev1.ServiceAccount, now time.Time) []any {
	return []any{sa.Name, int64(len(sa.Secrets)), age(sa, now)}
}

func serviceRow(svc *corev1.Service, now time.Time) []any {
	clusterIP := none
	if len(svc.Spec.ClusterIPs) > 0 {
		clusterIP = svc.Spec.ClusterIPs[0]
	} else {
		clusterIP = or(svc.Spec.ClusterIP, clusterIP)
	}
	var ports []string
	for _, p := range svc.Spec.Ports {
		if p.NodePort > 0 {
			ports = append(ports, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return []any{
		svc.Name, string(svc.Spec.Type), clusterIP, externalIP(svc), or(strings.Join(ports, ","), none), age(svc, now),
		metav1.FormatLabelSelector(metav1.SetAsLabelSelector(svc.Spec.Selector)),
	}
}

func externalIP(svc *corev1.Service) string {
	ips := svc.Spec.ExternalIPs
	switch svc.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return svc.Spec.ExternalName
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
	case corev1.ServiceTypeLoadBalancer:
		balancers := sets.New[string]()
		for _, i := range svc.Status.LoadBalancer.Ingress {
			if a := or(i.IP, i.Hostname); a != "" {
				balancers.Insert(a)
			}
		}
		// As kubectl has it, also with external addresses of the spec alone.
		if len(ips) == 0 && balancers.Len() == 0 {
			return "<pending>"
		}
		ips = slices.Concat(sets.List(balancers), ips)
	}
	return or(strings.Join(ips, ","), none)
}

// shown is how many addresses or ports of a long list a column shows.
const shown = 3

func endpointsRow(e *corev1.Endpoints, now time.Time) []any {
	var list []string
	count := 0
	add := func(s string) {
		if count++; count <= shown {
			list = append(list, s)
		}
	}
	for _, subset := range e.Subsets {
		if len(subset.Ports) == 0 {
			for _, a := range subset.Addresses {
				add(a.IP)
			}
			continue
		}
		for _, p := range subset.Ports {
			for _, a := range subset.Addresses {
				add(hostPort(a.IP, p.Port))
			}
		}
	}
	cell := or(strings.Join(list, ","), none)
	if count > shown {
		cell += fmt.Sprintf(" + %d more...", count-shown)
	}
	return []any{e.Name, cell, age(e, now)}
}

func hostPort(host string, port int32) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d", host, port)
}

func eventRow(e *corev1.Event, now time.Time) []any {
	first := since(e.FirstTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = sinceMicro(e.EventTime, now)
	}
	last := since(e.LastTimestamp, now)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := e.Count
	if e.Series != nil {
		last = sinceMicro(e.Series.LastObservedTime, now)
		count = e.Series.Count
	} else if count == 0 {
		// An event of the new API that has not repeated has no count.
		count = 1
	}
	target := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		target += "/" + e.InvolvedObject.Name
	}
	return []any{
		last, e.Type, e.Reason, target, e.InvolvedObject.FieldPath, eventSource(e), strings.TrimSpace(e.Message),
		first, int64(count), e.Name,
	}
}

func eventSource(e *corev1.Event) string {
	component := or(e.Source.Component, e.ReportingController)
	host := or(e.Source.Host, e.ReportingInstance)
	if host == "" {
		return component
	}
	return component + ", " + host
}
