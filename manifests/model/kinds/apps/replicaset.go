package apps

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

var replicaSet = kind.Define[appsv1.ReplicaSet, appsv1.ReplicaSetList](kind.Definition[*appsv1.ReplicaSet]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Plural:           "replicasets", Singular: "replicaset",
		ShortNames: []string{"rs"}, Categories: []string{"all"}, Namespaced: true,
	},
	Order:   230,
	Status:  true,
	Default: defaultReplicaSet,
	Lifecycle: kind.Lifecycle[*appsv1.ReplicaSet]{
		Create:       func(rs *appsv1.ReplicaSet) { rs.Status = appsv1.ReplicaSetStatus{} },
		Update:       func(rs, old *appsv1.ReplicaSet) { rs.Status = old.Status },
		UpdateStatus: func(rs, old *appsv1.ReplicaSet) { rs.Spec = old.Spec },
		Changed:      func(rs, old *appsv1.ReplicaSet) bool { return kind.Differ(rs.Spec, old.Spec) },
	},
	Honours: honour.Types{
		honour.Of[appsv1.ReplicaSet]():     {Honoured: "TypeMeta metadata spec status"},
		honour.Of[appsv1.ReplicaSetSpec](): {Honoured: "replicas minReadySeconds selector template"},
	},
	Rules: kind.Rules[*appsv1.ReplicaSet]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateReplicaSet,
		Update: validateReplicaSetUpdate,
		Status: validateReplicaSetStatus,
		Duplicates: func(rs *appsv1.ReplicaSet) field.ErrorList {
			return podspec.Duplicates(&rs.Spec.Template.Spec, rule.Spec.Child("template", "spec"))
		},
	},
	Warnings: func(rs, old *appsv1.ReplicaSet) []string {
		if old == nil {
			return append(podspec.NameWarnings(rs.Name), podspec.Warnings(&rs.Spec.Template.ObjectMeta, &rs.Spec.Template.Spec, rule.Spec.Child("template"))...)
		}
		if rs.Generation == old.Generation {
			return nil
		}
		return podspec.Warnings(&rs.Spec.Template.ObjectMeta, &rs.Spec.Template.Spec, rule.Spec.Child("template"))
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
	Rollout: replicaSetRollout,
	Scale: func(rs *appsv1.ReplicaSet) kind.Scale {
		return kind.Scale{Replicas: &rs.Spec.Replicas, Selector: rs.Spec.Selector, Current: rs.Status.Replicas}
	},
	Health: kind.Health[*appsv1.ReplicaSet]{
		Of: replicaSetHealth,
		Pods: func(rs *appsv1.ReplicaSet, _ object.Reader, owned func(object.Object) []*corev1.Pod) []*corev1.Pod {
			return owned(rs)
		},
		MinReadySeconds: func(rs *appsv1.ReplicaSet) int32 { return rs.Spec.MinReadySeconds },
	},
})

func defaultReplicaSet(rs *appsv1.ReplicaSet) {
	fill.Unset(&rs.Spec.Replicas, 1)
	fill.PodSpec(&rs.Spec.Template.Spec)
}

func replicaSetRollout(rs *appsv1.ReplicaSet, edit kind.Edit) kind.Rollout {
	r := kind.Rollout{Pods: int(ptr.Deref(rs.Spec.Replicas, 1))}
	if edit.Template() {
		r.Note = "a ReplicaSet leaves its pods as they are: the new template counts for new ones only"
	}
	return r
}

func replicaSetRow(rs *appsv1.ReplicaSet, now time.Time) []any {
	containers, images := column.Containers(rs.Spec.Template.Spec.Containers)
	return []any{
		rs.Name, int64(ptr.Deref(rs.Spec.Replicas, 0)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas), column.Age(rs, now),
		containers, images, metav1.FormatLabelSelector(rs.Spec.Selector),
	}
}

func validateReplicaSet(rs *appsv1.ReplicaSet) field.ErrorList {
	errs := rule.OptionalNonNegative(rs.Spec.Replicas, rule.Spec.Child("replicas"))
	errs = append(errs, rule.NonNegative(rs.Spec.MinReadySeconds, rule.Spec.Child("minReadySeconds"))...)
	return append(errs, selected(rs.Spec.Selector, &rs.Spec.Template)...)
}

func validateReplicaSetUpdate(rs, old *appsv1.ReplicaSet) field.ErrorList {
	return rule.Immutable(rs.Spec.Selector, old.Spec.Selector, rule.Spec.Child("selector"))
}

func validateReplicaSetStatus(rs, _ *appsv1.ReplicaSet) field.ErrorList {
	s := &rs.Status
	errs := rule.NonNegative(s.ObservedGeneration, rule.Status.Child("observedGeneration"))
	errs = append(errs, replicaCounts(s.Replicas, s.ReadyReplicas, s.AvailableReplicas)...)
	return append(errs, upToReplicas("fullyLabeledReplicas", s.FullyLabeledReplicas, s.Replicas)...)
}

func replicaSetHealth(rs *appsv1.ReplicaSet, reader object.Reader) health.Result {
	s := rs.Status
	replicas := health.Replicas{
		Kind: "ReplicaSet", Observed: s.ObservedGeneration, Want: ptr.Deref(rs.Spec.Replicas, 1),
		Are: s.Replicas, Labelled: s.FullyLabeledReplicas, Available: s.AvailableReplicas, Ready: s.ReadyReplicas,
	}
	for _, c := range s.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			replicas.Failure = c.Reason + ": " + c.Message
		}
	}
	return replicas.Of(rs, reader)
}
