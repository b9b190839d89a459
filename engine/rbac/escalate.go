package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/auth/rbac/validation"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// fullAuthority are the rules of someone who may do everything.
var fullAuthority = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

// Grant is the write of a role or a binding.
type Grant struct {
	User User
	// Next replaces Old, which is nil for a creation.
	Next, Old object.Object
	// Roles looks up the roles that bindings refer to.
	Roles object.Reader
	// May checks the verbs escalate and bind.
	May func(Request) bool
	// Name is the object's name in the request: a POST has none.
	Name string
}

// Escalates returns nil unless storing Next would give someone rights that the
// user does not have; then it returns the API server's Forbidden error. The
// verb escalate on a role, or bind on the role that a binding refers to, allows
// it. Objects of other kinds grant nothing.
func (x *Index) Escalates(g Grant) error {
	switch next := g.Next.(type) {
	case *rbacv1.Role:
		return x.role(g, next.Rules, false)
	case *rbacv1.ClusterRole:
		old, _ := g.Old.(*rbacv1.ClusterRole)
		return x.role(g, next.Rules, next.AggregationRule != nil || old != nil && old.AggregationRule != nil)
	case *rbacv1.RoleBinding:
		return x.binding(g, next.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		return x.binding(g, next.RoleRef)
	}
	return nil
}

func (x *Index) role(g Grant, rules []rbacv1.PolicyRule, aggregates bool) error {
	request := x.About("escalate", keyOf(g.Next))
	request.Name = g.Name
	if g.User.master() || onlyForGarbageCollection(g.Next, g.Old) || g.May(request) {
		return nil
	}
	if err := x.confirm(g.User, g.Next.GetNamespace(), rules); err != nil {
		return forbidden(g.Next, err)
	}
	// An aggregation can gather anything.
	if aggregates && x.confirm(g.User, "", fullAuthority) != nil {
		return forbidden(g.Next, errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

func (x *Index) binding(g Grant, ref rbacv1.RoleRef) error {
	role := refKey(ref, g.Next.GetNamespace())
	request := x.About("bind", role)
	request.Namespace = g.Next.GetNamespace()
	if g.User.master() || onlyForGarbageCollection(g.Next, g.Old) || g.May(request) {
		return nil
	}
	rules, ok := rulesOf(g.Roles.Get(role))
	if !ok {
		return apierrors.NewNotFound(resourceOf(role), role.Name)
	}
	if err := x.confirm(g.User, g.Next.GetNamespace(), rules); err != nil {
		return forbidden(g.Next, err)
	}
	return nil
}

// confirm fails unless the user has all of the rules in the namespace.
func (x *Index) confirm(user User, namespace string, rules []rbacv1.PolicyRule) error {
	own, fault := x.Rules(user, namespace)
	covered, missing := validation.Covers(own, rules)
	if covered {
		return nil
	}
	var lines []string
	for _, rule := range compact(missing) {
		lines = append(lines, describe(rule))
	}
	slices.Sort(lines)
	msg := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		user.Name, user.Groups, strings.Join(slices.Compact(lines), "\n"))
	if fault != nil {
		msg += fmt.Sprintf("; resolution errors: %v", []error{fault})
	}
	return errors.New(msg)
}

// compact joins the verbs of rules that are about the same single resource.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	at := map[[3]string]int{}
	var out []rbacv1.PolicyRule
	for _, rule := range rules {
		if len(rule.APIGroups) != 1 || len(rule.Resources) != 1 || len(rule.ResourceNames) > 1 || len(rule.NonResourceURLs) > 0 {
			out = append(out, rule)
			continue
		}
		key := [3]string{rule.APIGroups[0], rule.Resources[0]}
		if len(rule.ResourceNames) == 1 {
			key[2] = rule.ResourceNames[0]
		}
		if i, ok := at[key]; ok {
			out[i].Verbs = append(slices.Clone(out[i].Verbs), rule.Verbs...)
			continue
		}
		at[key] = len(out)
		out = append(out, rule)
	}
	return out
}

// describe is a rule in Kubernetes' short form.
func describe(r rbacv1.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups},
		{"Resources", r.Resources},
		{"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames},
		{"Verbs", r.Verbs},
	} {
		if len(p.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// onlyForGarbageCollection reports whether an update changes nothing but what lets
// the object be collected.
func onlyForGarbageCollection(next, old object.Object) bool {
	if old == nil {
		return false
	}
	same := next.DeepCopyObject().(object.Object)
	same.SetOwnerReferences(old.GetOwnerReferences())
	same.SetFinalizers(old.GetFinalizers())
	same.SetSelfLink(old.GetSelfLink())
	same.SetManagedFields(old.GetManagedFields())
	same.SetResourceVersion(old.GetResourceVersion())
	same.GetObjectKind().SetGroupVersionKind(old.GetObjectKind().GroupVersionKind())
	return equality.Semantic.DeepEqual(same, old)
}

func forbidden(obj object.Object, err error) error {
	return apierrors.NewForbidden(resourceOf(keyOf(obj)), obj.GetName(), err)
}

func resourceOf(key object.Key) schema.GroupResource {
	kind, _ := scheme.ForKind(key.GroupKind)
	return kind.Resource().GroupResource()
}

// keyOf is the key of a role or binding, whose kinds are served.
func keyOf(obj object.Object) object.Key {
	key, _ := scheme.KeyOf(obj)
	return key
}
