package plugins_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/admission"
	"headway.dev/engine/admission/plugins"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Nothing is sent to a new node before somebody has seen that it is ready, whatever it
// says of itself.
func TestTaintOfNewNodes(t *testing.T) {
	c := start(t)
	taint := func(key, value string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: key, Value: value, Effect: effect}
	}
	given := taint(corev1.TaintNodeNotReady, "", corev1.TaintEffectNoSchedule)
	for name, test := range map[string]struct{ given, want []corev1.Taint }{
		"none":  {nil, []corev1.Taint{given}},
		"given": {[]corev1.Taint{taint(given.Key, "x", given.Effect)}, []corev1.Taint{taint(given.Key, "x", given.Effect)}},
		"other": {
			[]corev1.Taint{taint("team", "a", given.Effect), taint(given.Key, "", corev1.TaintEffectNoExecute)},
			[]corev1.Taint{taint("team", "a", given.Effect), taint(given.Key, "", corev1.TaintEffectNoExecute), given},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: test.given}}
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
			key := object.Key{GroupKind: schema.GroupKind{Kind: "Node"}, Name: name}
			c.must(change.Create(n, time.Now()))
			taints := func() []corev1.Taint { return c.store.Get(key).(*corev1.Node).Spec.Taints }
			if diff := cmp.Diff(test.want, taints()); diff != "" {
				t.Errorf("taints (-want +got):\n%s", diff)
			}
			c.must(change.Patch(key, func(obj object.Object) bool {
				obj.(*corev1.Node).Spec.Taints = nil
				return true
			}))
			if left := taints(); len(left) > 0 {
				t.Errorf("taints %v come back", left)
			}
		})
	}
}

// Pods tolerate for a while that their node is not ready or cannot be reached,
// unless they say something about that.
func TestDefaultTolerationSeconds(t *testing.T) {
	seconds := func(taint string, n int64) corev1.Toleration {
		return corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &n}
	}
	notReady, unreachable := corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable
	zero, ten := int64(0), int64(10)
	for name, test := range map[string]struct {
		cfg         plugins.Tolerations
		given, want []corev1.Toleration
	}{
		"none":     {want: []corev1.Toleration{seconds(notReady, 300), seconds(unreachable, 300)}},
		"by flags": {cfg: plugins.Tolerations{NotReady: &zero, Unreachable: &ten}, want: []corev1.Toleration{seconds(notReady, 0), seconds(unreachable, 10)}},
		"one of its own": {
			given: []corev1.Toleration{seconds(unreachable, 5)},
			want:  []corev1.Toleration{seconds(unreachable, 5), seconds(notReady, 300)},
		},
		"every effect": {
			given: []corev1.Toleration{{Key: notReady, Operator: corev1.TolerationOpExists}},
			want:  []corev1.Toleration{{Key: notReady, Operator: corev1.TolerationOpExists}, seconds(unreachable, 300)},
		},
		"another effect": {
			given: []corev1.Toleration{{Key: notReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
			want:  []corev1.Toleration{{Key: notReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}, seconds(notReady, 300), seconds(unreachable, 300)},
		},
		"everything": {
			given: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			want:  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startWith(t, plugins.Config{Tolerations: test.cfg})
			c.must(shop(), podNamed("web", func(s *corev1.PodSpec) { s.Tolerations = test.given }))
			if diff := cmp.Diff(test.want, c.spec("web").Tolerations); diff != "" {
				t.Errorf("tolerations (-want +got):\n%s", diff)
			}
		})
	}
}

// What is planned anew is told whole: what the cluster's own plugins make of it, too.
func TestForeseenAnew(t *testing.T) {
	c := start(t)
	c.must(shop())
	pod := newPod(func(p *corev1.Pod) { p.Name = "web" })
	ask := admission.Ask{View: c.store, Object: pod, Changes: true}
	answer := c.store.Foresee(t.Context(), ask)
	made, ok := answer.Object.(*corev1.Pod)
	if answer.Refused != nil || !ok || made.Spec.ServiceAccountName != "default" || len(made.Spec.Tolerations) != 2 || pod.Spec.ServiceAccountName != "" {
		t.Errorf("a new pod would be %+v, %v; want it with its account and tolerations", answer.Object, answer.Refused)
	}
	if ask.Old = made; c.store.Foresee(t.Context(), ask).Object != object.Object(pod) {
		t.Error("the plugins of the cluster were asked about what is there already")
	}
}
