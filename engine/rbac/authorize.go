package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"headway.dev/manifests/model/object"
)

// masters is the group whose members may do everything, whatever roles allow.
const masters = "system:masters"

// NodeClients is the group as which the API server asks nodes: its members may do
// with nodes what that takes, and nothing else. A node says itself where it is
// asked, and what it is asked may be a user's own path (nodes/proxy): with more
// rights, who may use that could have the API server ask itself.
const NodeClients = "system:kubelet-api-admins"

// User is the user of a request.
type User struct {
	Name   string
	Groups []string
	// UID and Extra are what roles do not look at, but others who decide may.
	UID   string
	Extra map[string][]string
}

func (u User) master() bool { return slices.Contains(u.Groups, masters) }

// Request is a request about a resource, or about a path that is not one.
type Request struct {
	Verb string
	// Path is set for a request that is not about a resource; then the other
	// fields are ignored.
	Path            string
	Group, Resource string
	Subresource     string
	Namespace, Name string
}

// About is the request to do a verb with an object. As in the API a Namespace is in itself, so that a
// role in it may allow to read, change or delete it; its creation is not.
func (x *Index) About(verb string, key object.Key) Request {
	r := Request{Verb: verb, Group: key.Group, Resource: key.Kind, Namespace: key.Namespace, Name: key.Name}
	if k, ok := x.Kinds.Set().ForKind(key.GroupKind); ok {
		r.Resource = k.Plural
	}
	if key.GroupKind == namespaceKind && verb != "create" {
		r.Namespace = key.Name
	}
	return r
}

// Authorize reports whether a user may do what is requested, and in Kubernetes'
// words why, or what is wrong with bindings that might have allowed it.
func (x *Index) Authorize(user User, r Request) (allowed bool, reason string) {
	if user.master() {
		return true, ""
	}
	var faults []error
	x.visit(user, r.Namespace, func(b *binding, rules []rbacv1.PolicyRule, err error) bool {
		if err != nil {
			faults = append(faults, err)
			return true
		}
		for i := range rules {
			if matches(&rules[i], r) {
				allowed, reason = true, "RBAC: allowed by "+b.String()
				return false
			}
		}
		return true
	})
	if !allowed && len(faults) > 0 {
		reason = fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(faults))
	}
	return allowed, reason
}

// Allowed returns nil if a user may do the verb on an object, and otherwise the
// API server's Forbidden error.
func (x *Index) Allowed(user User, verb string, key object.Key) error {
	r := x.About(verb, key)
	allowed, reason := x.Authorize(user, r)
	if allowed {
		return nil
	}
	return Forbidden(user, r, reason)
}

// Forbidden is the API server's error about a request that nobody allows.
func Forbidden(user User, r Request, reason string) error {
	msg := fmt.Sprintf("User %q cannot %s resource %q in API group %q", user.Name, r.Verb, r.Resource, r.Group)
	if r.Namespace != "" {
		msg += fmt.Sprintf(" in the namespace %q", r.Namespace)
	} else {
		msg += " at the cluster scope"
	}
	if reason != "" {
		msg += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: r.Group, Resource: r.Resource}, r.Name, errors.New(msg))
}

// Rules returns all rules of a user that apply in a namespace (empty: in the
// whole cluster). The error names bindings without a role; apart from these the
// rules are complete.
func (x *Index) Rules(user User, namespace string) ([]rbacv1.PolicyRule, error) {
	var all []rbacv1.PolicyRule
	var faults []error
	x.visit(user, namespace, func(_ *binding, rules []rbacv1.PolicyRule, err error) bool {
		if err != nil {
			faults = append(faults, err)
		}
		all = append(all, rules...)
		return true
	})
	return all, utilerrors.NewAggregate(faults)
}

// String describes a binding as Kubernetes' reasons do.
func (b *binding) String() string {
	name, who := b.name, b.subject.Name
	if b.namespace != "" {
		name += "/" + b.namespace
	}
	if b.subject.Kind == rbacv1.ServiceAccountKind {
		namespace := b.subject.Namespace
		if namespace == "" {
			namespace = b.namespace
		}
		who += "/" + namespace
	}
	return fmt.Sprintf("%s %q of %s %q to %s %q", b.kind, name, b.ref.Kind, b.ref.Name, b.subject.Kind, who)
}

// matches reports whether a rule allows a request.
func matches(rule *rbacv1.PolicyRule, r Request) bool {
	if !contains(rule.Verbs, r.Verb, rbacv1.VerbAll) {
		return false
	}
	if r.Path != "" {
		return slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool {
			prefix, isPrefix := strings.CutSuffix(url, "*")
			return url == r.Path || isPrefix && strings.HasPrefix(r.Path, prefix)
		})
	}
	return contains(rule.APIGroups, r.Group, rbacv1.APIGroupAll) && matchesResource(rule.Resources, r) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.Name))
}

func contains(list []string, value, all string) bool {
	return slices.Contains(list, value) || slices.Contains(list, all)
}

// matchesResource knows "*", "pods", "pods/log" and "*/scale".
func matchesResource(resources []string, r Request) bool {
	for _, resource := range resources {
		if resource == rbacv1.ResourceAll {
			return true
		}
		if r.Subresource == "" {
			if resource == r.Resource {
				return true
			}
			continue
		}
		parent, sub, ok := strings.Cut(resource, "/")
		if ok && sub == r.Subresource && (parent == r.Resource || parent == "*") {
			return true
		}
	}
	return false
}
