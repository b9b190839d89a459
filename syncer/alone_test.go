package syncer_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/rights"
)

// patched is a change of the Kustomization one.
func patched(edit func(*kustomizev1.Kustomization)) change.Change {
	return change.Patch(key("Kustomization", "headway-system", "one"), func(obj object.Object) bool {
		ks, ok := obj.(*kustomizev1.Kustomization)
		if ok {
			edit(ks)
		}
		return ok
	})
}

// substitutes edits the value of the variable v.
func substitutes(v string) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) { ks.Spec.PostBuild.Substitute["v"] = v }
}

// A Kustomization that is applied by itself, and is changed between its plan and
// its transaction, is applied as it is then, or not at all if it must not be:
// nothing of what was planned is stored.
func TestEditedWhileAlone(t *testing.T) {
	condition := func(name string) func(*kustomizev1.Kustomization) bool {
		return func(ks *kustomizev1.Kustomization) bool {
			return apimeta.IsStatusConditionTrue(ks.Status.Conditions, name)
		}
	}
	for name, c := range map[string]struct {
		edit   func(*kustomizev1.Kustomization)
		until  func(*kustomizev1.Kustomization) bool
		states []string
	}{
		"edited": {
			edit:   substitutes("second"),
			until:  func(ks *kustomizev1.Kustomization) bool { return ks.Status.ObservedGeneration == ks.Generation },
			states: []string{"a old of one", "a second of one"},
		},
		"suspended": {
			edit:   func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true },
			until:  condition("headway.dev/Suspended"),
			states: []string{"a old of one"},
		},
		"frozen": {
			edit: func(ks *kustomizev1.Kustomization) {
				ks.Annotations = map[string]string{"headway.dev/freeze": "* * * * * / 24h"}
			},
			until:  condition("headway.dev/Frozen"),
			states: []string{"a old of one"},
		},
		"bounded": {
			edit: func(ks *kustomizev1.Kustomization) {
				ks.Annotations = map[string]string{"headway.dev/on-failure": "nonsense"}
			},
			until: func(ks *kustomizev1.Kustomization) bool {
				return !apimeta.IsStatusConditionTrue(ks.Status.Conditions, "Ready")
			},
			states: []string{"a old of one"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := two()
			files["cluster/one.yaml"] = nested("one", "./one", "  postBuild: {substitute: {other: x}}\n")
			files["one/a.yaml"] = configMap("a", "${v:=old}")
			w, o := monoObserved(t, files, nil)
			head := git(t, w.work, "rev-parse", "HEAD")
			w.allApplied(head, "cluster", "one", "two")
			seen := o.observe(data("a"))
			met := make(chan struct{})
			o.mu.Lock()
			o.before = func(ctx context.Context) error {
				defer close(met)
				_, err := o.Store.Commit(ctx, change.Tx{Changes: []change.Change{patched(c.edit)}})
				return err
			}
			o.mu.Unlock()
			w.commit(patched(substitutes("first")))
			await(t, "it meets the edit", met)
			w.eventually("it is looked at as it is then", func() bool {
				ks, ok := w.store.Get(key("Kustomization", "headway-system", "one")).(*kustomizev1.Kustomization)
				return ok && c.until(ks)
			})
			wantStates(t, seen(), c.states...)
		})
	}
}

// late are rights that are taken away right after the last was asked for.
type late struct {
	*grantList
	mu     sync.Mutex
	revoke func()
}

// Escalates implements syncer.Access.
func (l *late) Escalates(ctx context.Context, user rights.User, view object.Reader, obj, old object.Object) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revoke != nil {
		l.revoke()
		l.revoke = nil
	}
	return l.grantList.Escalates(ctx, user, view, obj, old)
}

// Who loses rights between its plan and its transaction is refused.
func TestRightsRevokedWhileAlone(t *testing.T) {
	files := two()
	files["cluster/one.yaml"] = nested("one", "./one", "  serviceAccountName: deployer\n  postBuild: {substitute: {other: x}}\n")
	files["one/a.yaml"] = configMap("a", "${v:=old}")
	r := &late{grantList: &grantList{}}
	r.set(grants("get", "patch", "create", "delete")...)
	w, o := monoObserved(t, files, func(c *syncer.Config) { c.Access = r })
	w.commit(w.account("deployer"))
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	seen := o.observe(data("a"))
	r.mu.Lock()
	r.revoke = func() { r.set(grants("get")...) }
	r.mu.Unlock()
	w.commit(patched(substitutes("first")))
	w.eventually("one is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False ReconciliationFailed") })
	wantStates(t, seen(), "a old of one")
}
