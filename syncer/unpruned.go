package syncer

import (
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/status"
	"headway.dev/syncer/wire"
)

// unpruned is the message of UnprunedCondition, or empty.
func unpruned(r *round) string {
	var list []string
	for _, a := range r.plan.Actions {
		if a.Heir != nil && a.Heir.Unsure {
			list = append(list, fmt.Sprintf("%s (%s)", flux.Describe(a.Key), a.Reason))
		}
	}
	if len(list) == 0 {
		return ""
	}
	const most = 10
	n := len(list)
	if n > most {
		list = append(list[:most], fmt.Sprintf("and %d more", n-most))
	}
	return fmt.Sprintf("%s: %s no longer declared, and not deleted: %s; decided once that one is mended or gone", r.head.Revision(), wire.Plural(n, "object"), strings.Join(list, ", "))
}

// keep remembers for whom something is kept, to look again when those change,
// and tells of what stays for one that cannot be rendered.
func (k *kustomization) keep(ks *kustomizev1.Kustomization, r *round) {
	heirs := map[object.Key]bool{}
	for _, a := range r.plan.Actions {
		if a.Heir != nil {
			heirs[owners.KeyOf(a.Heir.Owner)] = true
		}
	}
	k.mu.Lock()
	k.heirs = heirs
	k.mu.Unlock()
	msg := unpruned(r)
	if _, told, _ := strings.Cut(msg, ": "); told != k.left {
		k.left = told
		if told != "" {
			k.s.env.Record(ks, corev1.EventTypeWarning, status.PruneSkippedReason, flux.Bounded(msg))
		}
	}
}

// keepsFor reports whether the Kustomization keeps something for another.
func (k *kustomization) keepsFor(heir object.Key) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.heirs[heir]
}
