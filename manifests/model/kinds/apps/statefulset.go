package apps

import (
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
var statefulSet = kind.Define[appsv1.StatefulSet, appsv1.StatefulSetList](kind.Definition[*appsv1.StatefulSet]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		Plural:           "statefulsets", Singular: "statefulset",
		ShortNames: []string{"sts"}, Categories: []string{"all"}, Namespaced: true,
	},
	Order:   210,
	Status:  true,
	Default: defaultStatefulSet,
	Lifecycle: kind.Lifecycle[*appsv1.StatefulSet]{
		Create:       func(s *appsv1.StatefulSet) { s.Status = appsv1.StatefulSetStatus{} },
		Update:       func(s, old *appsv1.StatefulSet) { s.Status = old.Status },
		UpdateStatus: func(s, old *appsv1.StatefulSet) { s.Spec = old.Spec },
		Changed:      func(s, old *appsv1.StatefulSet) bool { return kind.Differ(s.Spec, old.Spec) },
	},
	Honours: honour.Types{
		honour.Of[appsv1.StatefulSet](): {Honoured: "TypeMeta metadata spec status"},
		honour.Of[appsv1.StatefulSetSpec](): {
			Honoured: "replicas selector template serviceName podManagementPolicy updateStrategy revisionHistoryLimit minReadySeconds persistentVolumeClaimRetentionPolicy ordinals volumeClaimTemplates",
		},
		honour.Of[appsv1.StatefulSetUpdateStrategy]():                       {Honoured: "type rollingUpdate"},
		honour.Of[appsv1.RollingUpdateStatefulSetStrategy]():                {Honoured: "partition maxUnavailable"},
		honour.Of[appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy](): {Honoured: "whenDeleted whenScaled"},
		honour.Of[appsv1.StatefulSetOrdinals]():                             {Honoured: "start"},
	},
	Rules: kind.Rules[*appsv1.StatefulSet]{
		Name:   apivalidation.NameIsDNSLabel,
		Object: validateStatefulSet,
		Create: validateNewStatefulSet,
		Update: validateStatefulSetUpdate,
		Status: validateStatefulSetStatus,
		Duplicates: func(s *appsv1.StatefulSet) field.ErrorList {
			return podspec.Duplicates(&s.Spec.Template.Spec, rule.Spec.Child("template", "spec"))
		},
	},
	Warnings: func(s, old *appsv1.StatefulSet) []string {
		template := &s.Spec.Template
		var told []string
		if old == nil || s.Generation != old.Generation {
			told = podspec.Warnings(&template.ObjectMeta, &template.Spec, rule.Spec.Child("template"))
		}
		for i := range s.Spec.VolumeClaimTemplates {
			told = append(told, rule.ClaimWarnings(&s.Spec.VolumeClaimTemplates[i].Spec, rule.Spec.Child("volumeClaimTemplates").Index(i))...)
		}
		if limit := s.Spec.RevisionHistoryLimit; limit != nil && *limit < 0 {
			told = append(told, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
		}
		return told
	},
	Table: kind.Table[*appsv1.StatefulSet]{
		Columns: column.Define("Name", "Ready", "Age", "+Containers", "+Images"),
		Row: func(s *appsv1.StatefulSet, now time.Time) []any {
			containers, images := column.Containers(s.Spec.Template.Spec.Containers)
			return []any{s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, ptr.Deref(s.Spec.Replicas, 0)), column.Age(s, now), containers, images}
		},
	},
	PodTemplate: func(s *appsv1.StatefulSet) (*metav1.ObjectMeta, *corev1.PodSpec) {
		return &s.Spec.Template.ObjectMeta, &s.Spec.Template.Spec
	},
	Rollout: statefulSetRollout,
	Rolls:   true,
	Scale: func(s *appsv1.StatefulSet) kind.Scale {
		return kind.Scale{Replicas: &s.Spec.Replicas, Selector: s.Spec.Selector, Current: s.Status.Replicas}
	},
	Health: kind.Health[*appsv1.StatefulSet]{
		Of: statefulSetHealth,
		Pods: func(s *appsv1.StatefulSet, _ object.Reader, owned func(object.Object) []*corev1.Pod) []*corev1.Pod {
			return owned(s)
		},
		MinReadySeconds: func(s *appsv1.StatefulSet) int32 { return s.Spec.MinReadySeconds },
	},
})

func defaultStatefulSet(s *appsv1.StatefulSet) {
	fill.Zero(&s.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	strategy := &s.Spec.UpdateStrategy
	fill.Zero(&strategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		fill.Unset(&strategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
		fill.Unset(&strategy.RollingUpdate.Partition, 0)
		fill.Unset(&strategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	fill.Unset(&s.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	fill.Zero(&s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	fill.Zero(&s.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	fill.Unset(&s.Spec.Replicas, 1)
	fill.Unset(&s.Spec.RevisionHistoryLimit, 10)
	fill.PodSpec(&s.Spec.Template.Spec)
	for i := range s.Spec.VolumeClaimTemplates {
		claim := &s.Spec.VolumeClaimTemplates[i]
		claim.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
		fill.Claim(claim)
	}
}

// Claims are the claims of a stateful set's pod of a number, as they are made.
func Claims(set *appsv1.StatefulSet, number int) []kind.PodClaim {
	var claims []kind.PodClaim
	seen := map[string]bool{}
	for i := range set.Spec.VolumeClaimTemplates {
		template := &set.Spec.VolumeClaimTemplates[i]
		if seen[template.Name] {
			continue
		}
		seen[template.Name] = true
		claim := template.DeepCopy()
		claim.TypeMeta, claim.Status, claim.Namespace = metav1.TypeMeta{}, corev1.PersistentVolumeClaimStatus{}, set.Namespace
		claim.Name = fmt.Sprintf("%s-%s-%d", template.Name, set.Name, number)
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
		if set.Spec.Selector != nil {
			maps.Copy(claim.Labels, set.Spec.Selector.MatchLabels)
		}
		claims = append(claims, kind.PodClaim{Volume: template.Name, Claim: claim})
	}
	return claims
}
