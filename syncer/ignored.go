package syncer

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/support"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// maxIgnored is how many fields without effect a plan names.
const maxIgnored = 20

// ignored tells of fields that the commit sets and that have no effect.
func (one *planned) ignored(c *checklist) {
	told, more := 0, 0
	for _, a := range one.res.Actions {
		if a.Type != plan.Create && a.Type != plan.Update {
			continue
		}
		for _, w := range support.Warnings(a.Object) {
			if told == maxIgnored {
				more++
				continue
			}
			told++
			c.add(wire.CheckWarning, w.Field, "%s: %s", flux.Describe(a.Key), w)
		}
	}
	if more > 0 {
		c.add(wire.CheckWarning, "fields", "%s more without effect", wire.Plural(more, "field"))
	}
}

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
