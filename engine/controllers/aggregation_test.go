package controllers_test

import (
	"slices"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A ClusterRole with an aggregationRule has the rules of what it selects, also
// by way of another such role, and loses them with it.
func TestAggregation(t *testing.T) {
	c := start(t, 0)
	key := func(name string) object.Key {
		return object.Key{GroupKind: schema.GroupKind{Group: rbacv1.GroupName, Kind: "ClusterRole"}, Name: name}
	}
	gathering := func(name, label, own string) *rbacv1.ClusterRole {
		r := &rbacv1.ClusterRole{
			ObjectMeta:      metav1.ObjectMeta{Name: name},
			AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{label: "true"}}}},
		}
		if own != "" {
			r.Labels = map[string]string{own: "true"}
		}
		return r
	}
	c.commit(change.Create(gathering("all", "to-all", ""), time.Now()), change.Create(gathering("some", "to-some", "to-all"), time.Now()))
	c.commit(change.Create(&rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "leaf", Labels: map[string]string{"to-some": "true"}},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}},
	}, time.Now()))
	resources := func(name string) []string {
		var list []string
		if r, ok := c.store.Get(key(name)).(*rbacv1.ClusterRole); ok {
			for _, rule := range r.Rules {
				list = append(list, rule.Resources...)
			}
		}
		return list
	}
	for _, name := range []string{"some", "all"} {
		c.eventually(name+" has the rules of leaf", func() bool { return slices.Equal(resources(name), []string{"pods"}) })
	}
	c.commit(change.Delete(key("leaf"), metav1.DeleteOptions{}, time.Now()))
	for _, name := range []string{"some", "all"} {
		c.eventually(name+" has no rules", func() bool { return len(resources(name)) == 0 })
	}
}
