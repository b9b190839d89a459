package disruption_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"headway.dev/engine/controllers/disruption"
	"headway.dev/manifests/model/kinds/policy"
)

// However evictions, deletions, new pods, edits of the budget and counts follow each
// other, no eviction is allowed that leaves fewer healthy pods than the budget asks
// for. Evictions whose pod stays count again only after their time.
func TestNeverTooMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock, made := now, 0
		pods := map[string]*corev1.Pod{}
		promised := map[string]time.Time{} // evicted, and not deleted yet
		b := least(intstr.FromInt32(int32(rapid.IntRange(0, 4).Draw(t, "least"))))
		list := func() []*corev1.Pod {
			var all []*corev1.Pod
			for i := range made {
				if p := pods[fmt.Sprint("a-", i)]; p != nil {
					all = append(all, p)
				}
			}
			return all
		}
		one := func() *corev1.Pod {
			all := list()
			if len(all) == 0 {
				t.Skip("no pods")
			}
			return rapid.SampledFrom(all).Draw(t, "pod")
		}
		healthy := func() int32 {
			var n int32
			for _, p := range list() {
				_, leaving := promised[p.Name]
				if p.DeletionTimestamp == nil && !leaving {
					n++
				}
			}
			return n
		}
		count := func() {
			b.Status = disruption.Decide(b, list(), nil, clock).Status
			for name, at := range promised {
				if clock.After(at.Add(2 * time.Minute)) {
					delete(promised, name) // it stays after all
				}
			}
		}
		actions := map[string]func(*rapid.T){
			"new pod": func(*rapid.T) {
				name := fmt.Sprint("a-", made)
				made++
				pods[name] = pod(name, "a")
			},
			"count": func(*rapid.T) { count() },
			"edit": func(t *rapid.T) {
				b.Spec.MinAvailable = new(intstr.FromInt32(int32(rapid.IntRange(0, 4).Draw(t, "least"))))
				b.Generation++
			},
			"evict": func(t *rapid.T) {
				p := one()
				if p.DeletionTimestamp != nil || b.Status.ObservedGeneration < b.Generation || b.Status.DisruptionsAllowed == 0 {
					return // as pods/eviction refuses it, or need not ask
				}
				b.Status = *b.Status.DeepCopy()
				b.Status.DisruptionsAllowed--
				policy.SetAllowed(&b.Status, clock)
				if b.Status.DisruptedPods == nil {
					b.Status.DisruptedPods = map[string]metav1.Time{}
				}
				b.Status.DisruptedPods[p.Name] = metav1.NewTime(clock)
				promised[p.Name] = clock
				if left := healthy(); left < b.Spec.MinAvailable.IntVal {
					t.Fatalf("%d pods are left of %d", left, b.Spec.MinAvailable.IntVal)
				}
			},
			"delete what was evicted": func(*rapid.T) {
				if p := one(); !promised[p.Name].IsZero() {
					p.DeletionTimestamp = new(metav1.NewTime(clock))
					delete(promised, p.Name)
				}
			},
			"gone": func(*rapid.T) {
				if p := one(); p.DeletionTimestamp != nil {
					delete(pods, p.Name)
				}
			},
			// Within what is believed of an eviction, its pod is deleted: time passes only
			// when none is on its way, or for so long that all of them stay.
			"time": func(*rapid.T) {
				clock = clock.Add(3 * time.Minute)
				count()
			},
		}
		// What matters most comes most often.
		for _, name := range []string{"evict", "count", "new pod"} {
			actions[name+" as well"], actions[name+" again"] = actions[name], actions[name]
		}
		t.Repeat(actions)
	})
}
