package rbac

import (
	"cmp"
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"headway.dev/manifests/model/object"
)

// After returns an Index as x will be once the events have happened and
// aggregated ClusterRoles are updated; x does not change. It copies the table
// of roles and bindings, so use it only for plans.
func (x *Index) After(events []object.Event) *Index {
	x.mu.RLock()
	next := &Index{Kinds: x.Kinds, roles: maps.Clone(x.roles), bindings: maps.Clone(x.bindings)}
	x.mu.RUnlock()
	next.Observe(events)
	if slices.ContainsFunc(events, func(ev object.Event) bool { return ev.Key.GroupKind == clusterRoleKind }) {
		next.aggregate()
	}
	return next
}

// aggregate does to the Index what the aggregation controller does to the
// store, until nothing changes. What one role gathers may be gathered again:
// that takes at most as many rounds as there are roles.
func (x *Index) aggregate() {
	var all []object.Object
	for key, obj := range x.roles {
		if key.GroupKind == clusterRoleKind {
			all = append(all, obj)
		}
	}
	slices.SortFunc(all, func(a, b object.Object) int { return cmp.Compare(a.GetName(), b.GetName()) })
	for range all {
		changed := false
		for i, obj := range all {
			role, ok := obj.(*rbacv1.ClusterRole)
			if !ok || role.AggregationRule == nil || role.DeletionTimestamp != nil {
				continue
			}
			if rules := Aggregate(role, all); !equality.Semantic.DeepEqual(rules, role.Rules) {
				next := *role
				next.Rules = rules
				all[i], x.roles[keyOf(role)], changed = &next, &next, true
			}
		}
		if !changed {
			return
		}
	}
}
