package rbac_test

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// After knows roles, bindings and aggregations that come and go; the Index that
// it was made from does not.
func TestAfter(t *testing.T) {
	sum := clusterRole("sum")
	sum.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": "sum"}}}}
	sumOfSums := clusterRole("a-sum-of-sums")
	sumOfSums.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": "all"}}}}
	sum.Labels = map[string]string{"to": "all"}
	part := clusterRole("part", rule("get", "core", "pods"))
	part.Labels = map[string]string{"to": "sum"}
	gathered := sum.DeepCopy()
	gathered.Rules = part.Rules
	gatheredTwice := sumOfSums.DeepCopy()
	gatheredTwice.Rules = part.Rules

	type objects []object.Object
	pods, bound := role("shop", "r", rule("get", "core", "pods")), binding("shop", "b", "Role r", "User ada")
	for name, c := range map[string]struct {
		before, put, removed objects
		now, then            bool
	}{
		"nothing":                    {before: objects{pods, bound}, now: true, then: true},
		"a binding comes":            {before: objects{pods}, put: objects{bound}, then: true},
		"a role comes":               {before: objects{bound}, put: objects{pods}, then: true},
		"both come":                  {put: objects{bound, pods}, then: true},
		"a binding goes":             {before: objects{pods, bound}, removed: objects{bound}, now: true},
		"a role goes":                {before: objects{pods, bound}, removed: objects{pods}, now: true},
		"its subject changes":        {before: objects{pods, bound}, put: objects{binding("shop", "b", "Role r", "User bob")}, now: true},
		"its rules change":           {before: objects{pods, bound}, put: objects{role("shop", "r", rule("list", "core", "pods"))}, now: true},
		"what is aggregated comes":   {before: objects{sum, binding("shop", "b", "ClusterRole sum", "User ada")}, put: objects{part}, then: true},
		"it is aggregated again":     {before: objects{sum, sumOfSums, binding("shop", "b", "ClusterRole a-sum-of-sums", "User ada")}, put: objects{part}, then: true},
		"what is aggregated goes":    {before: objects{gathered, part, binding("shop", "b", "ClusterRole sum", "User ada")}, removed: objects{part}, now: true},
		"what is gathered so goes":   {before: objects{gathered, gatheredTwice, part, binding("shop", "b", "ClusterRole a-sum-of-sums", "User ada")}, removed: objects{part}, now: true},
		"another is bound elsewhere": {before: objects{pods}, put: objects{binding("other", "b", "Role r", "User ada")}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(c.before...)
			var events []object.Event
			for _, obj := range slices.Concat(c.put, c.removed) {
				key, err := scheme.KeyOf(obj)
				if err != nil {
					t.Fatal(err)
				}
				ev := object.Event{Type: object.Added, Key: key, Object: obj, Old: w.objects[key]}
				if slices.Contains(c.removed, obj) {
					ev.Type = object.Deleted
				} else if ev.Old != nil {
					ev.Type = object.Modified
				}
				events = append(events, ev)
			}
			may := func(x *rbac.Index) bool {
				ok, _ := x.Authorize(rbac.User{Name: "ada"}, request("get", "core pods shop x"))
				return ok
			}
			next := w.After(events)
			if got := may(next); got != c.then {
				t.Errorf("after: %v, want %v", got, c.then)
			}
			if got := may(&w.Index); got != c.now {
				t.Errorf("now: %v, want %v: After changed what it was made from", got, c.now)
			}
			// What happens later to the one does not happen to the other.
			for _, obj := range c.before {
				w.remove(obj)
			}
			if got := may(next); got != c.then {
				t.Errorf("after, once the roles are removed now: %v, want %v", got, c.then)
			}
		})
	}
}
