package rbac

import (
	"cmp"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// The kinds that decisions depend on.
var (
	roleKind        = schema.GroupKind{Group: rbacv1.GroupName, Kind: "Role"}
	clusterRoleKind = schema.GroupKind{Group: rbacv1.GroupName, Kind: "ClusterRole"}
	namespaceKind   = schema.GroupKind{Kind: "Namespace"}
)

// Index contains the roles, and the bindings by their subjects. The zero value
// is empty.
type Index struct {
	// Kinds are those of the cluster, set before the index is used; nil are Headway's
	// own.
	Kinds *scheme.Registry

	mu       sync.RWMutex
	roles    map[object.Key]object.Object
	bindings map[subject][]*binding
}

// subject is a user or a group, and where bindings apply to it.
type subject struct {
	group bool
	name  string
	// namespace is that of RoleBindings, empty for ClusterRoleBindings.
	namespace string
}

// binding is a RoleBinding or ClusterRoleBinding with one of its subjects.
type binding struct {
	kind, namespace, name string
	ref                   rbacv1.RoleRef
	subject               rbacv1.Subject
}

// Observe applies changes; it is for store.Options.Observe.
func (x *Index) Observe(events []object.Event) {
	if !slices.ContainsFunc(events, func(ev object.Event) bool { return ev.Key.Group == rbacv1.GroupName }) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.roles == nil {
		x.roles, x.bindings = map[object.Key]object.Object{}, map[subject][]*binding{}
	}
	for _, ev := range events {
		if ev.Key.Group == rbacv1.GroupName {
			x.observe(ev)
		}
	}
}

func (x *Index) observe(ev object.Event) {
	for _, b := range bindingsOf(ev.Old) {
		x.remove(b)
	}
	if ev.Type == object.Deleted {
		for _, b := range bindingsOf(ev.Object) {
			x.remove(b)
		}
		delete(x.roles, ev.Key)
		return
	}
	for _, b := range bindingsOf(ev.Object) {
		x.add(b)
	}
	if _, ok := rulesOf(ev.Object); ok {
		x.roles[ev.Key] = ev.Object
	}
}

// rulesOf are the rules of a Role or ClusterRole.
func rulesOf(obj object.Object) ([]rbacv1.PolicyRule, bool) {
	switch o := obj.(type) {
	case *rbacv1.Role:
		return o.Rules, true
	case *rbacv1.ClusterRole:
		return o.Rules, true
	}
	return nil, false
}

// bindingsOf takes a binding apart by its subjects.
func bindingsOf(obj object.Object) []*binding {
	var list []*binding
	switch o := obj.(type) {
	case *rbacv1.RoleBinding:
		for _, s := range o.Subjects {
			list = append(list, &binding{"RoleBinding", o.Namespace, o.Name, o.RoleRef, s})
		}
	case *rbacv1.ClusterRoleBinding:
		for _, s := range o.Subjects {
			list = append(list, &binding{"ClusterRoleBinding", "", o.Name, o.RoleRef, s})
		}
	}
	return list
}

// who is the subject of a binding; ok is false for kinds that there are not.
func (b *binding) who() (subject, bool) {
	switch b.subject.Kind {
	case rbacv1.UserKind:
		return subject{name: b.subject.Name, namespace: b.namespace}, true
	case rbacv1.GroupKind:
		return subject{group: true, name: b.subject.Name, namespace: b.namespace}, true
	case rbacv1.ServiceAccountKind:
		namespace := cmp.Or(b.subject.Namespace, b.namespace)
		return subject{name: serviceAccountName(namespace, b.subject.Name), namespace: b.namespace}, namespace != ""
	}
	return subject{}, false
}

func (x *Index) add(b *binding) {
	who, ok := b.who()
	if !ok {
		return
	}
	list := x.bindings[who]
	at, _ := slices.BinarySearchFunc(list, b.name, func(other *binding, name string) int { return cmp.Compare(other.name, name) })
	// A copy: readers and the Indexes made by After may hold the list.
	x.bindings[who] = slices.Insert(slices.Clone(list), at, b)
}

func (x *Index) remove(b *binding) {
	who, ok := b.who()
	if !ok {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(x.bindings[who]), func(other *binding) bool { return other.name == b.name })
	if len(rest) == 0 {
		delete(x.bindings, who)
		return
	}
	x.bindings[who] = rest
}

// visit shows the bindings of a user that count in a namespace (empty: in the
// whole cluster), each with its role's rules or the error that there is no such
// role, until yield returns false.
func (x *Index) visit(user User, namespace string, yield func(b *binding, rules []rbacv1.PolicyRule, err error) bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	scopes := []string{""}
	if namespace != "" {
		scopes = append(scopes, namespace)
	}
	for _, scope := range scopes {
		for i := -1; i < len(user.Groups); i++ {
			who := subject{name: user.Name, namespace: scope}
			if i >= 0 {
				who = subject{group: true, name: user.Groups[i], namespace: scope}
			}
			for _, b := range x.bindings[who] {
				rules, err := x.resolve(b)
				if !yield(b, rules, err) {
					return
				}
			}
		}
	}
}

func (x *Index) resolve(b *binding) ([]rbacv1.PolicyRule, error) {
	key := refKey(b.ref, b.namespace)
	rules, ok := rulesOf(x.roles[key])
	if !ok {
		return nil, notFound(key)
	}
	return rules, nil
}

// refKey is the role that a reference in a namespace names.
func refKey(ref rbacv1.RoleRef, namespace string) object.Key {
	if ref.Kind == "Role" {
		return object.Key{GroupKind: roleKind, Namespace: namespace, Name: ref.Name}
	}
	return object.Key{GroupKind: clusterRoleKind, Name: ref.Name}
}

func notFound(role object.Key) error {
	resource := "clusterrole"
	if role.GroupKind == roleKind {
		resource = "role"
	}
	return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}, role.Name)
}

// serviceAccountName is the user name of a service account.
func serviceAccountName(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}
