package apps

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var deployment = kind.Define[appsv1.Deployment, appsv1.DeploymentList](kind.Definition[*appsv1.Deployment]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Plural:           "deployments", Singular: "deployment",
		ShortNames: []string{"deploy"}, Categories: []string{"all"}, Namespaced: true,
	},
	Status:  true,
	REST:    kind.REST{StatusResets: []string{"metadata.labels"}},
	Default: defaultDeployment,
	Lifecycle: kind.Lifecycle[*appsv1.Deployment]{
		Create: func(d *appsv1.Deployment) { d.Status = appsv1.DeploymentStatus{} },
		Update: func(d, old *appsv1.Deployment) { d.Status = old.Status },
		UpdateStatus: func(d, old *appsv1.Deployment) {
			d.Spec = old.Spec
			d.Labels = old.Labels
		},
		// Annotations count too: the controller copies them to the replica sets.
		Changed: func(d, old *appsv1.Deployment) bool {
			return kind.Differ(d.Spec, old.Spec) || kind.Differ(d.Annotations, old.Annotations)
		},
	},
	Table: kind.Table[*appsv1.Deployment]{
		Columns: column.Define("Name", "Ready", "#Up-to-date", "#Available", "Age", "+Containers", "+Images", "+Selector"),
		Row:     deploymentRow,
	},
	PodTemplate: func(d *appsv1.Deployment) (*metav1.ObjectMeta, *corev1.PodSpec) {
		return &d.Spec.Template.ObjectMeta, &d.Spec.Template.Spec
	},
	Scale: func(d *appsv1.Deployment) kind.Scale {
		return kind.Scale{Replicas: &d.Spec.Replicas, Selector: d.Spec.Selector, Current: d.Status.Replicas}
	},
})

func defaultDeployment(d *appsv1.Deployment) {
	fill.Unset(&d.Spec.Replicas, 1)
	fill.Unset(&d.Spec.RevisionHistoryLimit, 10)
	fill.Unset(&d.Spec.ProgressDeadlineSeconds, 600)
	strategy := &d.Spec.Strategy
	fill.Zero(&strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		fill.Unset(&strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		fill.Unset(&strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		fill.Unset(&strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	fill.PodSpec(&d.Spec.Template.Spec)
}

func deploymentRow(d *appsv1.Deployment, now time.Time) []any {
	containers, images := column.Containers(d.Spec.Template.Spec.Containers)
	return []any{
		d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 0)),
		int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), column.Age(d, now),
		containers, images, selectorCell(d.Spec.Selector),
	}
}

// selectorCell prints a deployment's selector as Kubernetes does: one that does not
// parse is shown as such.
func selectorCell(s *metav1.LabelSelector) string {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "<invalid>"
	}
	return parsed.String()
}
