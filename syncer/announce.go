package syncer

import (
	"cmp"
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// announce reports what was applied: events, log, progress.
func (k *kustomization) announce(ks *kustomizev1.Kustomization, r *round, actions []plan.Action) {
	words := map[plan.Type]string{plan.Create: "created", plan.Update: "configured", plan.Delete: "deleted"}
	var lines []string
	for _, a := range actions {
		if w := words[a.Type]; w != "" {
			lines = append(lines, flux.Describe(a.Key)+" "+w)
		}
	}
	const most = 50
	if n := len(lines); n > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", n-most))
	}
	if len(lines) > 0 && r.culprits != "" {
		lines = append(lines, r.culprits)
	}
	if len(lines) > 0 {
		k.s.env.Record(ks, corev1.EventTypeNormal, meta.ProgressingReason, strings.Join(lines, "\n"))
	}
	k.s.env.Log.Info("applied", "kustomization", k.name(), "revision", r.head.Revision(), "objects", len(r.items), "rendered", r.made, "compared", r.plan.Compared, "changes", len(actions), "drift", r.drift, "millis", r.millis)
	message := ""
	if r.drift {
		message = cmp.Or(r.culprits, "it was not as Git has it")
	}
	k.s.env.Emit(wire.Event{
		Source: flux.SourceName(ks), Kustomization: k.name(), Phase: "commit", Revision: r.head.Revision(), Commit: r.commit, Actions: r.plan.Told(false), Message: message,
	})
}
