package plan_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

// What admission makes of what Git declares is no change, although Git has
// another value: only a change that is left after admission is one.
func TestWhatAdmissionMakesIsNoChange(t *testing.T) {
	s := memstore.New()
	carryOut(t, s, plan.New(nil).Plan(t.Context(), input(items(t, namespace, config)), s))
	rewrite := func(obj object.Object) bool {
		obj.(*corev1.ConfigMap).Data["a"] = "by admission"
		return true
	}
	key := object.Key{Namespace: "web", Name: "web"}
	key.Kind = "ConfigMap"
	if _, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{change.Patch(key, rewrite)}}); err != nil {
		t.Fatal(err)
	}
	in := input(items(t, namespace, config))
	want(t, plan.New(nil).Plan(t.Context(), in, s), "Unchanged Namespace/web", "Update ConfigMap/web data.a:by admission>one")
	in.Admit = func(next, live object.Object) (object.Object, bool) {
		if live == nil {
			t.Error("asked about an object that does not exist")
		}
		next = next.DeepCopyObject().(object.Object)
		if _, ok := next.(*corev1.ConfigMap); ok {
			rewrite(next)
		}
		return next, true
	}
	want(t, plan.New(nil).Plan(t.Context(), in, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
	// What it said is remembered while it cannot be asked, and nothing else is.
	silent := in
	silent.Admit = func(_, _ object.Object) (object.Object, bool) { return nil, false }
	want(t, plan.New(nil).Plan(t.Context(), silent, s), "Unchanged Namespace/web", "Update ConfigMap/web data.a:by admission>one")
	remembers := plan.New(nil)
	want(t, remembers.Plan(t.Context(), in, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
	want(t, remembers.Plan(t.Context(), silent, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
	want(t, remembers.Plan(t.Context(), silent, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
	// Once admission does that no longer, Git's value is missed.
	later := in
	later.Admit = nil
	want(t, remembers.Plan(t.Context(), later, s), "Unchanged Namespace/web", "Update ConfigMap/web data.a:by admission>one")
	edited := input(items(t, namespace, strings.Replace(config, "b: two", "b: three", 1)))
	edited.Admit = in.Admit
	want(t, plan.New(nil).Plan(t.Context(), edited, s), "Unchanged Namespace/web", "Update ConfigMap/web data.b:two>three")
}
