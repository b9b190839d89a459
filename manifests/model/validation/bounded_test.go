package validation_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/validation"
)

// TestManyErrors: of thousands of mistakes the first are told, and how many more
// there are.
func TestManyErrors(t *testing.T) {
	labels := map[string]string{}
	for i := range 20_000 {
		labels[fmt.Sprintf("-%d", i)] = "x"
	}
	errs := validation.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "d", Labels: labels}})
	if len(errs) != 501 || !strings.HasSuffix(errs[500].Error(), "(19499 further errors are not listed)") {
		t.Errorf("%d errors, the last: %v", len(errs), errs[len(errs)-1])
	}
}

// TestManyScopes: a quota whose scopes are all wrong for all of its resources is
// refused without an error for each pair.
func TestManyScopes(t *testing.T) {
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q", Namespace: "d"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	selector := quota.DeepCopy()
	selector.Spec.ScopeSelector = &corev1.ScopeSelector{}
	for i := range 5_000 {
		name := corev1.ResourceName(fmt.Sprintf("hugepages-%dMi", i))
		quota.Spec.Hard[name], selector.Spec.Hard[name] = resource.MustParse("1"), resource.MustParse("1")
		quota.Spec.Scopes = append(quota.Spec.Scopes, corev1.ResourceQuotaScopeBestEffort)
		selector.Spec.ScopeSelector.MatchExpressions = append(selector.Spec.ScopeSelector.MatchExpressions,
			corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeBestEffort, Operator: corev1.ScopeSelectorOpExists})
	}
	for _, q := range []*corev1.ResourceQuota{quota, selector} {
		errs := validation.Create(q)
		if len(errs) != 501 {
			t.Errorf("%d errors, want those that are told", len(errs))
		}
		if size := len(fmt.Sprint(errs.ToAggregate())); size > 1<<20 {
			t.Errorf("they are told in %d bytes", size)
		}
	}
}

// TestErrorsAndRefusals: what is left out of errors, and of fields that are refused,
// is told once.
func TestErrorsAndRefusals(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "d", Labels: map[string]string{}}}
	for i := range 1_000 {
		pod.Labels[fmt.Sprintf("-%d", i)] = "x"
	}
	for i := range 600 {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", i), VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/"}}})
	}
	errs := validation.Create(pod)
	if len(errs) != 501 {
		t.Fatalf("%d errors", len(errs))
	}
	if told := errs[500].Error(); strings.Count(told, "further errors") != 1 {
		t.Errorf("the last: %s", told)
	}
}
