package printers

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

func deploymentRow(d *appsv1.Deployment, now time.Time) []any {
	containers, images := containersAndImages(d.Spec.Template.Spec.Containers)
	return []any{
		d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, value(d.Spec.Replicas)),
		int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), age(d, now),
		containers, images, selector(d.Spec.Selector),
	}
}

func replicaSetRow(rs *appsv1.ReplicaSet, now time.Time) []any {
	containers, images := containersAndImages(rs.Spec.Template.Spec.Containers)
	return []any{
		rs.Name, int64(value(rs.Spec.Replicas)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas), age(rs, now),
		containers, images, metav1.FormatLabelSelector(rs.Spec.Selector),
	}
}

// selector prints a deployment's selector as Kubernetes does: one that does not
// parse is shown as such.
func selector(s *metav1.LabelSelector) string {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "<invalid>"
	}
	return parsed.String()
}

func containersAndImages(containers []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range containers {
		n, i = append(n, c.Name), append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

func value(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}

func leaseRow(l *coordinationv1.Lease, now time.Time) []any {
	holder := ""
	if l.Spec.HolderIdentity != nil {
		holder = *l.Spec.HolderIdentity
	}
	return []any{l.Name, holder, age(l, now)}
}

func endpointSliceRow(s *discoveryv1.EndpointSlice, now time.Time) []any {
	var ports, addresses []string
	for i, p := range s.Ports {
		switch {
		case i == shown:
			ports = append(ports, fmt.Sprintf("%d more...", len(s.Ports)-shown))
		case i > shown:
		case p.Port != nil:
			ports = append(ports, fmt.Sprint(*p.Port))
		case p.Name != nil && *p.Name != "":
			ports = append(ports, *p.Name)
		}
	}
	count := 0
	for _, e := range s.Endpoints {
		for _, a := range e.Addresses {
			if count++; count <= shown {
				addresses = append(addresses, a)
			}
		}
	}
	list := or(strings.Join(addresses, ","), "<unset>")
	if count > shown {
		list += fmt.Sprintf(" + %d more...", count-shown)
	}
	return []any{s.Name, string(s.AddressType), or(strings.Join(ports, ","), "<unset>"), list, age(s, now)}
}

func gitRepositoryRow(g *sourcev1.GitRepository, now time.Time) []any {
	ready, message := readyCondition(g.Status.Conditions)
	return []any{g.Name, g.Spec.URL, age(g, now), ready, message}
}

func kustomizationRow(k *kustomizev1.Kustomization, now time.Time) []any {
	ready, message := readyCondition(k.Status.Conditions)
	return []any{k.Name, age(k, now), ready, message}
}

func readyCondition(conditions []metav1.Condition) (status, message string) {
	if c := meta.FindStatusCondition(conditions, "Ready"); c != nil {
		return string(c.Status), c.Message
	}
	return "", ""
}
