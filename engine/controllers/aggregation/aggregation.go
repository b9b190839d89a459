// Package aggregation maintains the rules of ClusterRoles with an
// aggregationRule: the union of the rules of the ClusterRoles that it selects.
package aggregation

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

var clusterRole = schema.GroupKind{Group: rbacv1.GroupName, Kind: "ClusterRole"}

// New makes the controller.
func New(env control.Env) control.Controller {
	return control.Controller{
		Name: "clusterrole-aggregation-controller",
		// All at once: a role may be selected by any other, and what one gathers
		// may be gathered again.
		Keys: func(ev object.Event, add func(object.Key)) {
			if ev.Key.GroupKind == clusterRole {
				add(object.Key{GroupKind: clusterRole})
			}
		},
		Reconcile: func(ctx context.Context, _ object.Key) (time.Duration, error) {
			all, _ := env.Store.List(clusterRole, "")
			var changes []change.Change
			for _, obj := range all {
				role, ok := obj.(*rbacv1.ClusterRole)
				if !ok || role.AggregationRule == nil || role.DeletionTimestamp != nil {
					continue
				}
				rules := rbac.Aggregate(role, all)
				if equality.Semantic.DeepEqual(rules, role.Rules) {
					continue
				}
				changes = append(changes, control.Present(change.Patch(object.KeyOf(clusterRole, role), func(obj object.Object) bool {
					obj.(*rbacv1.ClusterRole).Rules = rules
					return true
				})))
			}
			if _, err := env.Commit(ctx, change.Tx{Changes: changes}); err != nil {
				return 0, fmt.Errorf("gather the rules of cluster roles: %w", err)
			}
			return 0, nil
		},
	}
}
