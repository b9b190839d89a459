package apps

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var replicaSet = kind.Define[appsv1.ReplicaSet, appsv1.ReplicaSetList](kind.Definition[*appsv1.ReplicaSet]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Plural:           "replicasets", Singular: "replicaset",
		ShortNames: []string{"rs"}, Categories: []string{"all"}, Namespaced: true,
	},
	Status:  true,
	Default: defaultReplicaSet,
	Lifecycle: kind.Lifecycle[*appsv1.ReplicaSet]{
		Create:       func(rs *appsv1.ReplicaSet) { rs.Status = appsv1.ReplicaSetStatus{} },
		Update:       func(rs, old *appsv1.ReplicaSet) { rs.Status = old.Status },
		UpdateStatus: func(rs, old *appsv1.ReplicaSet) { rs.Spec = old.Spec },
		Changed:      func(rs, old *appsv1.ReplicaSet) bool { return kind.Differ(rs.Spec, old.Spec) },
	},
	Table: kind.Table[*appsv1.ReplicaSet]{
		Columns: column.Define("Name", "#Desired", "#Current", "#Ready", "Age", "+Containers", "+Images", "+Selector"),
		Row:     replicaSetRow,
	},
	Fields: kind.Fields[*appsv1.ReplicaSet]{
		Names: []string{"status.replicas"},
		Read: func(rs *appsv1.ReplicaSet, into fields.Set) {
			into["status.replicas"] = strconv.Itoa(int(rs.Status.Replicas))
		},
	},
	PodTemplate: func(rs *appsv1.ReplicaSet) (*metav1.ObjectMeta, *corev1.PodSpec) {
		return &rs.Spec.Template.ObjectMeta, &rs.Spec.Template.Spec
	},
	Scale: func(rs *appsv1.ReplicaSet) kind.Scale {
		return kind.Scale{Replicas: &rs.Spec.Replicas, Selector: rs.Spec.Selector, Current: rs.Status.Replicas}
	},
})

func defaultReplicaSet(rs *appsv1.ReplicaSet) {
	fill.Unset(&rs.Spec.Replicas, 1)
	fill.PodSpec(&rs.Spec.Template.Spec)
}

func replicaSetRow(rs *appsv1.ReplicaSet, now time.Time) []any {
	containers, images := column.Containers(rs.Spec.Template.Spec.Containers)
	return []any{
		rs.Name, int64(ptr.Deref(rs.Spec.Replicas, 0)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas), column.Age(rs, now),
		containers, images, metav1.FormatLabelSelector(rs.Spec.Selector),
	}
}
