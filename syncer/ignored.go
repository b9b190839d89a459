package syncer

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/support"
	"headway.dev/syncer/plan"
)

// tellIgnored records an event with each object that was just stored and sets
// fields that have no effect.
func (k *kustomization) tellIgnored(actions []plan.Action) {
	for _, a := range actions {
		if a.Type != plan.Create && a.Type != plan.Update {
			continue
		}
		for _, w := range support.Warnings(a.Object) {
			k.s.env.Record(a.Object, corev1.EventTypeWarning, "FieldWithoutEffect", fmt.Sprint(w))
		}
	}
}
