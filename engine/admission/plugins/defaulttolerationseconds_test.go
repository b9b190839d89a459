package plugins_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/admission/plugins"
)

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
