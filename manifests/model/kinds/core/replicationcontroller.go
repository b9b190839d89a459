package core

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
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

// replicationController is the older form of a ReplicaSet, with a selector of
// labels alone. engine/controllers/replicaset serves both.
// https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
var replicationController = kind.Define[corev1.ReplicationController, corev1.ReplicationControllerList](kind.Definition[*corev1.ReplicationController]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		Plural:           "replicationcontrollers", Singular: "replicationcontroller",
		ShortNames: []string{"rc"}, Categories: []string{"all"}, Namespaced: true,
	},
	Order:   235,
	Status:  true,
	REST:    kind.REST{Orphans: true},
	Default: defaultReplicationController,
	Lifecycle: kind.Lifecycle[*corev1.ReplicationController]{
		Create:       func(rc *corev1.ReplicationController) { rc.Status = corev1.ReplicationControllerStatus{} },
		Update:       func(rc, old *corev1.ReplicationController) { rc.Status = old.Status },
		UpdateStatus: func(rc, old *corev1.ReplicationController) { rc.Spec = old.Spec },
		Changed:      func(rc, old *corev1.ReplicationController) bool { return kind.Differ(rc.Spec, old.Spec) },
	},
	Honours: honour.Types{
		honour.Of[corev1.ReplicationController]():     {Honoured: "TypeMeta metadata spec status"},
		honour.Of[corev1.ReplicationControllerSpec](): {Honoured: "replicas minReadySeconds selector template"},
	},
	Rules: kind.Rules[*corev1.ReplicationController]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateReplicationController,
		Status: validateReplicationControllerStatus,
		Duplicates: func(rc *corev1.ReplicationController) field.ErrorList {
			return podspec.Duplicates(&templateOf(rc).Spec, rule.Spec.Child("template", "spec"))
		},
	},
	Warnings: func(rc, old *corev1.ReplicationController) []string {
		if old != nil && rc.Generation == old.Generation {
			return nil
		}
		var texts []string
		if faults := validation.IsDNS1123Label(rc.Name); old == nil && len(faults) > 0 {
			texts = append(texts, fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", faults))
		}
		template := templateOf(rc)
		return append(texts, podspec.Warnings(&template.ObjectMeta, &template.Spec, rule.Spec.Child("template"))...)
	},
	Table: kind.Table[*corev1.ReplicationController]{
		Columns: column.Define("Name", "#Desired", "#Current", "#Ready", "Age", "+Containers", "+Images", "+Selector"),
		Row: func(rc *corev1.ReplicationController, now time.Time) []any {
			containers, images := column.Containers(templateOf(rc).Spec.Containers)
			return []any{
				rc.Name, int64(ptr.Deref(rc.Spec.Replicas, 0)), int64(rc.Status.Replicas), int64(rc.Status.ReadyReplicas), column.Age(rc, now),
				containers, images, labels.FormatLabels(rc.Spec.Selector),
			}
		},
	},
	Fields: kind.Fields[*corev1.ReplicationController]{
		Names: []string{"status.replicas"},
		Read: func(rc *corev1.ReplicationController, into fields.Set) {
			into["status.replicas"] = strconv.Itoa(int(rc.Status.Replicas))
		},
	},
	PodTemplate: func(rc *corev1.ReplicationController) (*metav1.ObjectMeta, *corev1.PodSpec) {
		template := templateOf(rc)
		return &template.ObjectMeta, &template.Spec
	},
	Rollout: func(rc *corev1.ReplicationController, edit kind.Edit) kind.Rollout {
		r := kind.Rollout{Pods: int(ptr.Deref(rc.Spec.Replicas, 1))}
		if edit.Template() {
			r.Note = "a ReplicationController leaves its pods as they are: the new template counts for new ones only"
		}
		return r
	},
	Scale: func(rc *corev1.ReplicationController) kind.Scale {
		return kind.Scale{Replicas: &rc.Spec.Replicas, Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}, Current: rc.Status.Replicas}
	},
	Health: kind.Health[*corev1.ReplicationController]{
		Of: func(rc *corev1.ReplicationController, reader object.Reader) health.Result {
			s := rc.Status
			replicas := health.Replicas{
				Kind: "ReplicationController", Observed: s.ObservedGeneration, Want: ptr.Deref(rc.Spec.Replicas, 1),
				Are: s.Replicas, Labelled: s.FullyLabeledReplicas, Available: s.AvailableReplicas, Ready: s.ReadyReplicas,
			}
			for _, c := range s.Conditions {
				if c.Type == corev1.ReplicationControllerReplicaFailure && c.Status == corev1.ConditionTrue {
					replicas.Failure = c.Reason + ": " + c.Message
				}
			}
			return replicas.Of(rc, reader)
		},
		Pods: func(rc *corev1.ReplicationController, _ object.Reader, owned func(object.Object) []*corev1.Pod) []*corev1.Pod {
			return owned(rc)
		},
		MinReadySeconds: func(rc *corev1.ReplicationController) int32 { return rc.Spec.MinReadySeconds },
	},
})

// templateOf is the template, or an empty one in the place of one that is missing,
// which validation refuses.
func templateOf(rc *corev1.ReplicationController) *corev1.PodTemplateSpec {
	if rc.Spec.Template == nil {
		return &corev1.PodTemplateSpec{}
	}
	return rc.Spec.Template
}

// defaultReplicationController takes the selector and the labels from the template.
func defaultReplicationController(rc *corev1.ReplicationController) {
	fill.Unset(&rc.Spec.Replicas, 1)
	template := rc.Spec.Template
	if template == nil {
		return
	}
	if template.Labels != nil {
		if len(rc.Spec.Selector) == 0 {
			rc.Spec.Selector = maps.Clone(template.Labels)
		}
		if len(rc.Labels) == 0 {
			rc.Labels = maps.Clone(template.Labels)
		}
	}
	fill.PodSpec(&template.Spec)
}

func validateReplicationController(rc *corev1.ReplicationController) field.ErrorList {
	s := &rc.Spec
	errs := rule.NonNegative(s.MinReadySeconds, rule.Spec.Child("minReadySeconds"))
	if len(s.Selector) == 0 {
		errs = append(errs, field.Required(rule.Spec.Child("selector"), ""))
	}
	if s.Replicas == nil {
		errs = append(errs, field.Required(rule.Spec.Child("replicas"), ""))
	}
	errs = append(errs, rule.OptionalNonNegative(s.Replicas, rule.Spec.Child("replicas"))...)
	path := rule.Spec.Child("template")
	if s.Template == nil {
		return append(errs, field.Required(path, ""))
	}
	if selector := labels.Set(s.Selector).AsSelector(); !selector.Empty() && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, podspec.ValidateReplicaTemplate(s.Template, "ReplicationController", path)...)
}

func validateReplicationControllerStatus(rc, _ *corev1.ReplicationController) field.ErrorList {
	s, path := &rc.Status, rule.Status
	const tooMany = "cannot be greater than status.replicas"
	counts := []struct {
		name  string
		count int32
	}{{"fullyLabeledReplicas", s.FullyLabeledReplicas}, {"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas}}
	errs := rule.NonNegative(s.Replicas, path.Child("replicas"))
	for _, c := range counts {
		errs = append(errs, rule.NonNegative(c.count, path.Child(c.name))...)
	}
	errs = append(errs, rule.NonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	for _, c := range counts {
		if c.count > s.Replicas {
			errs = append(errs, field.Invalid(path.Child(c.name), c.count, tooMany))
		}
	}
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}
