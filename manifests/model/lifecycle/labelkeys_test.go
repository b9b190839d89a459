package lifecycle_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/lifecycle"
)

// The values that a pod's labels have when it is created are in its selectors from then
// on, also if its manifest, which has none, is applied again, or its labels change. What
// it was made of is not changed.
func TestLabelKeys(t *testing.T) {
	selector := func(merged ...metav1.LabelSelectorRequirement) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}, MatchExpressions: merged}
	}
	declared := func() *corev1.Pod {
		term := corev1.PodAffinityTerm{TopologyKey: "zone", LabelSelector: selector(), MatchLabelKeys: []string{"hash", "none"}, MismatchLabelKeys: []string{"tenant"}}
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web", "hash": "1", "tenant": "a"}},
			Spec: corev1.PodSpec{
				Affinity: &corev1.Affinity{
					PodAffinity:     &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: *term.DeepCopy()}}},
					PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "host", LabelSelector: selector()}, *term.DeepCopy()}},
				},
				TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{TopologyKey: "zone", LabelSelector: selector(), MatchLabelKeys: []string{"hash"}}},
			},
		}
	}
	in := metav1.LabelSelectorRequirement{Key: "hash", Operator: metav1.LabelSelectorOpIn, Values: []string{"1"}}
	notIn := metav1.LabelSelectorRequirement{Key: "tenant", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"a"}}
	check := func(what string, p *corev1.Pod, term, spread *metav1.LabelSelector) {
		t.Helper()
		anti := p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		got := []*metav1.LabelSelector{
			p.Spec.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector,
			anti[0].LabelSelector, anti[1].LabelSelector, p.Spec.TopologySpreadConstraints[0].LabelSelector,
		}
		if d := cmp.Diff([]*metav1.LabelSelector{term, selector(), term, spread}, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	template := declared()
	made := *template // shares what it points to
	lifecycle.PrepareCreate(&made, time.Now())
	check("the template", template, selector(), selector())
	check("created", &made, selector(in, notIn), selector(in))
	again := made
	lifecycle.PrepareCreate(&again, time.Now())
	check("created of what was created", &again, selector(in, notIn), selector(in))

	stored := made.DeepCopy()
	stored.Labels["hash"] = "2"
	applied := declared()
	applied.Labels["hash"] = "3"
	lifecycle.PrepareUpdate(applied, stored)
	check("applied again", applied, selector(in, notIn), selector(in))
	if d := cmp.Diff(stored.Spec, applied.Spec); d != "" || applied.Generation != stored.Generation {
		t.Errorf("to apply it again changes the spec (-stored +applied):\n%s", d)
	}

	other := declared()
	other.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[1].LabelSelector.MatchLabels["app"] = "db"
	lifecycle.PrepareUpdate(other, stored)
	if got := other.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[1].LabelSelector; len(got.MatchExpressions) != 0 || other.Generation == stored.Generation {
		t.Errorf("another selector is %+v, generation %d: it must stay what it is, to be refused", got, other.Generation)
	}
}
