package rbac

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/auth/rbac/validation"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Store is what Reconcile needs of the store.
type Store interface {
	object.Reader
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
}

// Reconcile creates the default roles and bindings that are missing. To
// existing ones it adds the rules, subjects, labels and annotations that they
// lack, and removes rules that they once had and must not have. Whatever an
// administrator added stays, and so does all of an object whose annotation
// rbac.authorization.kubernetes.io/autoupdate is not "true".
func Reconcile(ctx context.Context, store Store, now time.Time) error {
	var changes []change.Change
	for _, want := range Defaults() {
		key := keyOf(want)
		switch live := store.Get(key); {
		case live == nil:
			changes = append(changes, change.Create(want, now))
		case live.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "true":
			changes = append(changes, change.Patch(key, func(obj object.Object) bool { return complete(obj, want) }))
		}
	}
	if _, err := store.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("reconcile the default roles: %w", err)
	}
	return aggregateDefaults(ctx, store)
}

// aggregateDefaults gathers the rules of admin, edit and view, so that they
// hold before the controller does that for all roles.
func aggregateDefaults(ctx context.Context, store Store) error {
	for _, name := range []string{"view", "edit", "admin"} { // each gathers the one before
		all, _ := store.List(clusterRoleKind, "")
		key := object.Key{GroupKind: clusterRoleKind, Name: name}
		edit := change.Patch(key, func(obj object.Object) bool {
			role := obj.(*rbacv1.ClusterRole)
			role.Rules = Aggregate(role, all)
			return true
		})
		if _, err := store.Commit(ctx, change.Tx{Changes: []change.Change{edit}}); err != nil {
			return fmt.Errorf("gather the rules of %s: %w", name, err)
		}
	}
	return nil
}

// complete adds to obj what of want it lacks, takes away what is withdrawn, and
// reports whether that was anything.
func complete(obj, want object.Object) bool {
	changed := false
	labels, annotations := maps.Clone(obj.GetLabels()), maps.Clone(obj.GetAnnotations())
	for _, m := range []struct {
		have *map[string]string
		want map[string]string
	}{{&labels, want.GetLabels()}, {&annotations, want.GetAnnotations()}} {
		for k, v := range m.want {
			if (*m.have)[k] == v {
				continue
			}
			if *m.have == nil {
				*m.have = map[string]string{}
			}
			(*m.have)[k], changed = v, true
		}
	}
	obj.SetLabels(labels)
	obj.SetAnnotations(annotations)
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		want := want.(*rbacv1.ClusterRole)
		if want.AggregationRule != nil {
			if o.AggregationRule == nil {
				o.AggregationRule, changed = want.AggregationRule, true
			}
			break
		}
		kept := slices.DeleteFunc(slices.Clone(o.Rules), func(rule rbacv1.PolicyRule) bool {
			return slices.ContainsFunc(withdrawn(o.Name), func(old rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(rule, old) })
		})
		if len(kept) < len(o.Rules) {
			o.Rules, changed = kept, true
		}
		if covered, missing := validation.Covers(o.Rules, want.Rules); !covered {
			o.Rules, changed = append(o.Rules, missing...), true
		}
	case *rbacv1.ClusterRoleBinding:
		for _, s := range want.(*rbacv1.ClusterRoleBinding).Subjects {
			if !slices.Contains(o.Subjects, s) {
				o.Subjects, changed = append(o.Subjects, s), true
			}
		}
	}
	return changed
}
