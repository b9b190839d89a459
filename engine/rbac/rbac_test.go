package rbac_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// world is an Index with the objects that it observed.
type world struct {
	rbac.Index
	objects map[object.Key]object.Object
}

func newWorld(objs ...object.Object) *world {
	w := &world{objects: map[object.Key]object.Object{}}
	for _, obj := range objs {
		w.put(obj)
	}
	return w
}

func (w *world) put(obj object.Object) {
	key, err := scheme.KeyOf(obj)
	if err != nil {
		panic(err)
	}
	ev := object.Event{Type: object.Added, Key: key, Object: obj, Old: w.objects[key]}
	if ev.Old != nil {
		ev.Type = object.Modified
	}
	w.objects[key] = obj
	w.Observe([]object.Event{ev})
}

func (w *world) remove(obj object.Object) {
	key, _ := scheme.KeyOf(obj)
	w.Observe([]object.Event{{Type: object.Deleted, Key: key, Object: w.objects[key], Old: w.objects[key]}})
	delete(w.objects, key)
}

// Get implements object.Reader.
func (w *world) Get(key object.Key) object.Object { return w.objects[key] }

// List implements object.Reader.
func (w *world) List(schema.GroupKind, string) ([]object.Object, uint64) { return nil, 0 }

func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: split(groups), Resources: strings.Fields(resources), ResourceNames: names}
}

// split is strings.Fields that takes "core" for the group without a name.
func split(groups string) []string {
	list := strings.Fields(groups)
	for i := range list {
		if list[i] == "core" {
			list[i] = ""
		}
	}
	return list
}

func urls(verbs string, paths ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: paths}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

// subject is "User x", "Group x" or "ServiceAccount ns/x".
func subject(s string) rbacv1.Subject {
	kind, name, _ := strings.Cut(s, " ")
	out := rbacv1.Subject{Kind: kind, Name: name, APIGroup: rbacv1.GroupName}
	if kind == rbacv1.ServiceAccountKind {
		out.APIGroup = ""
		if ns, n, ok := strings.Cut(name, "/"); ok {
			out.Namespace, out.Name = ns, n
		}
	}
	return out
}

// ref is "Role x" or "ClusterRole x".
func ref(s string) rbacv1.RoleRef {
	kind, name, _ := strings.Cut(s, " ")
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func binding(namespace, name, to string, subjects ...string) *rbacv1.RoleBinding {
	b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: ref(to)}
	for _, s := range subjects {
		b.Subjects = append(b.Subjects, subject(s))
	}
	return b
}

func clusterBinding(name, to string, subjects ...string) *rbacv1.ClusterRoleBinding {
	b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref(to)}
	for _, s := range subjects {
		b.Subjects = append(b.Subjects, subject(s))
	}
	return b
}

func TestAuthorize(t *testing.T) {
	w := newWorld(
		clusterRole("reader", rule("get list", "core apps", "pods pods/log deployments")),
		clusterRole("one", rule("get", "core", "secrets", "mine")),
		clusterRole("scaler", rule("*", "*", "*/scale")),
		clusterRole("all", rule("*", "*", "*")),
		clusterRole("paths", urls("get", "/metrics", "/headway/v1/*")),
		role("shop", "writer", rule("create patch", "apps", "deployments")),
		clusterBinding("ada", "ClusterRole reader", "User ada"),
		clusterBinding("paths", "ClusterRole paths", "Group ops"),
		binding("shop", "one", "ClusterRole one", "User bob"),
		binding("shop", "writer", "Role writer", "ServiceAccount shop/deployer", "ServiceAccount here"),
		binding("shop", "scaler", "ClusterRole scaler", "Group ops"),
		binding("shop", "all", "ClusterRole all", "User root-of-shop"),
		binding("shop", "dangling", "Role gone", "User eve"),
		binding("shop", "dangling-too", "ClusterRole gone", "User eve"),
	)
	const ada, deployer = "User ada", "User system:serviceaccount:shop:deployer"
	for _, c := range []struct {
		who, verb, what string // what: group/resource[/sub] in namespace [name], or a path
		want            bool
		reason          string
	}{
		{ada, "get", "core pods default x", true, `RBAC: allowed by ClusterRoleBinding "ada" of ClusterRole "reader" to User "ada"`},
		{ada, "list", "core pods - -", true, ""},
		{ada, "get", "core pods/log default x", true, ""},
		{ada, "get", "core pods/exec default x", false, ""},
		{ada, "get", "apps deployments default x", true, ""},
		{ada, "get", "apps pods default x", true, ""},
		{ada, "get", "batch jobs default x", false, ""},
		{ada, "delete", "core pods default x", false, ""},
		{"Group ada", "get", "core pods default x", false, ""},
		{"User bob", "get", "core secrets shop mine", true, `RBAC: allowed by RoleBinding "one/shop" of ClusterRole "one" to User "bob"`},
		{"User bob", "get", "core secrets shop other", false, ""},
		{"User bob", "get", "core secrets shop -", false, ""},
		{"User bob", "get", "core secrets default mine", false, ""},
		{"User bob", "get", "core secrets - mine", false, ""},
		{deployer, "patch", "apps deployments shop web", true, `RBAC: allowed by RoleBinding "writer/shop" of Role "writer" to ServiceAccount "deployer/shop"`},
		{"User system:serviceaccount:shop:here", "patch", "apps deployments shop web", true, ""},
		{deployer, "patch", "apps deployments/status shop web", false, ""},
		{deployer, "patch", "apps deployments default web", false, ""},
		{deployer, "patch", "apps deployments - web", false, ""},
		{"Group ops", "update", "apps deployments/scale shop web", true, ""},
		{"Group ops", "update", "apps deployments shop web", false, ""},
		{"Group ops", "get", "/headway/v1/status", true, ""},
		{"Group ops", "get", "/headway/v1", false, ""},
		{"Group ops", "get", "/metrics", true, ""},
		{"Group ops", "get", "/metrics/x", false, ""},
		{"Group ops", "post", "/headway/v1/plan", false, ""},
		{"User root-of-shop", "delete", "core secrets/any shop x", true, ""},
		{"User root-of-shop", "delete", "core namespaces - shop", false, ""},
		{"User root-of-shop", "get", "/metrics", false, ""},
		{"User eve", "get", "core pods shop x", false, `RBAC: [role.rbac.authorization.k8s.io "gone" not found, clusterrole.rbac.authorization.k8s.io "gone" not found]`},
		{"Group system:masters", "delete", "core nodes - x", true, ""},
		{"User system:masters", "delete", "core nodes - x", false, ""},
	} {
		t.Run(c.who+" "+c.verb+" "+c.what, func(t *testing.T) {
			got, reason := w.Authorize(userOf(c.who), request(c.verb, c.what))
			if got != c.want || c.reason != "" && !sameReason(reason, c.reason) {
				t.Errorf("got %v %q, want %v %q", got, reason, c.want, c.reason)
			}
		})
	}
}

// sameReason knows that the order of two faults does not matter.
func sameReason(got, want string) bool {
	return got == want || strings.HasPrefix(want, "RBAC: [") && len(got) == len(want) && strings.Contains(got, "role.rbac")
}

func userOf(who string) rbac.User {
	kind, name, _ := strings.Cut(who, " ")
	if kind == "Group" {
		return rbac.User{Name: "someone", Groups: []string{name}}
	}
	return rbac.User{Name: name}
}

func request(verb, what string) rbac.Request {
	if strings.HasPrefix(what, "/") {
		return rbac.Request{Verb: verb, Path: what}
	}
	parts := strings.Fields(what)
	r := rbac.Request{Verb: verb, Group: split(parts[0])[0]}
	r.Resource, r.Subresource, _ = strings.Cut(parts[1], "/")
	if parts[2] != "-" {
		r.Namespace = parts[2]
	}
	if parts[3] != "-" {
		r.Name = parts[3]
	}
	return r
}

// Rights follow the bindings and roles that change and go.
func TestObserve(t *testing.T) {
	b := binding("shop", "b", "Role r", "User ada", "User ada")
	w := newWorld(role("shop", "r", rule("get", "core", "pods")), b)
	may := func(user string) bool {
		ok, _ := w.Authorize(rbac.User{Name: user}, request("get", "core pods shop x"))
		return ok
	}
	if !may("ada") || may("bob") {
		t.Fatal("ada may not, or bob may")
	}
	w.put(binding("shop", "b", "Role r", "User bob"))
	if may("ada") || !may("bob") {
		t.Error("after the subject changed: ada may, or bob may not")
	}
	w.put(role("shop", "r", rule("list", "core", "pods")))
	if may("bob") {
		t.Error("bob may after the rule is gone")
	}
	w.put(role("shop", "r", rule("get", "core", "pods")))
	w.remove(b)
	if may("bob") {
		t.Error("bob may after the binding is gone")
	}
}

func TestEscalates(t *testing.T) {
	w := newWorld(
		clusterRole("admin", rule("*", "*", "*"), urls("*", "*")),
		clusterRole("edit", rule("get create", "core", "pods"), rule("get create update", "rbac.authorization.k8s.io", "roles rolebindings")),
		clusterRole("binder", rule("bind", "rbac.authorization.k8s.io", "clusterroles", "edit")),
		clusterRole("escalator", rule("escalate", "rbac.authorization.k8s.io", "roles")),
		binding("shop", "ada", "ClusterRole edit", "User ada"),
		binding("shop", "bob", "ClusterRole binder", "User bob"),
		binding("shop", "eve", "ClusterRole escalator", "User eve"),
		clusterBinding("root", "ClusterRole admin", "User root"),
	)
	stored := role("shop", "kept", rule("*", "*", "*"))
	collected := stored.DeepCopy()
	collected.Finalizers = []string{"x"}
	aggregating := clusterRole("sum")
	aggregating.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
	for name, c := range map[string]struct {
		user      string
		next, old object.Object
		want      string // empty: allowed
	}{
		"role within one's rights": {"ada", role("shop", "r", rule("get", "core", "pods")), nil, ""},
		"role beyond": {
			"ada", role("shop", "r", rule("get delete deletecollection", "core", "pods"), rule("get", "core", "secrets")), nil,
			`roles.rbac.authorization.k8s.io "r" is forbidden: user "ada" (groups=["g"]) is attempting to grant RBAC permissions not currently held:` + "\n" +
				`{APIGroups:[""], Resources:["pods"], Verbs:["delete" "deletecollection"]}` + "\n" + `{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`,
		},
		"role in another namespace":      {"ada", role("other", "r", rule("get", "core", "pods")), nil, "not currently held"},
		"cluster role":                   {"ada", clusterRole("r", rule("get", "core", "pods")), nil, "not currently held"},
		"cluster role with a path":       {"ada", clusterRole("r", urls("get", "/x")), nil, `{NonResourceURLs:["/x"], Verbs:["get"]}`},
		"binding of what one has":        {"ada", binding("shop", "b", "ClusterRole edit", "User x"), nil, ""},
		"binding to an administrator":    {"ada", binding("shop", "b", "ClusterRole admin", "User ada"), nil, "not currently held"},
		"cluster binding":                {"ada", clusterBinding("b", "ClusterRole edit", "User ada"), nil, "not currently held"},
		"binding of a role that is none": {"ada", binding("shop", "b", "Role none", "User ada"), nil, `roles.rbac.authorization.k8s.io "none" not found`},
		"bind":                           {"bob", binding("shop", "b", "ClusterRole edit", "User x"), nil, ""},
		"bind of another role":           {"bob", binding("shop", "b", "ClusterRole admin", "User x"), nil, "not currently held"},
		"bind in another namespace":      {"bob", binding("other", "b", "ClusterRole edit", "User x"), nil, "not currently held"},
		"escalate":                       {"eve", role("shop", "r", rule("*", "*", "*")), nil, ""},
		"only for garbage collection":    {"ada", collected, stored, ""},
		"aggregation":                    {"ada", aggregating, nil, "must have cluster-admin privileges to use the aggregationRule"},
		"aggregation taken away":         {"ada", clusterRole("sum"), aggregating, "must have cluster-admin privileges to use the aggregationRule"},
		"aggregation by root":            {"root", aggregating, nil, ""},
		"everything by root":             {"root", clusterRole("r", rule("*", "*", "*"), urls("*", "*")), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			user := rbac.User{Name: c.user, Groups: []string{"g"}}
			err := w.Escalates(rbac.Grant{User: user, Next: c.next, Old: c.old, Roles: w, Name: c.next.GetName(), May: func(r rbac.Request) bool {
				ok, _ := w.Authorize(user, r)
				return ok
			}})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			case c.want != "" && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err):
				t.Errorf("got %#v, want a Forbidden error", err)
			}
		})
	}
}

// Whatever a user may grant, it lets nobody do what the user may not: for
// random rules, a role that is not refused allows no request that the granter
// is refused.
func TestNoEscalation(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) []string {
		var out []string
		for _, s := range from {
			if rnd.IntN(3) == 0 {
				out = append(out, s)
			}
		}
		if len(out) == 0 {
			out = append(out, from[rnd.IntN(len(from))])
		}
		return out
	}
	random := func() []rbacv1.PolicyRule {
		var rules []rbacv1.PolicyRule
		for range 1 + rnd.IntN(3) {
			r := rbacv1.PolicyRule{Verbs: pick("get", "list", "*"), APIGroups: pick("", "apps", "*"), Resources: pick("pods", "pods/log", "*/log", "*")}
			if rnd.IntN(2) == 0 {
				r.ResourceNames = pick("a", "b")
			}
			rules = append(rules, r)
		}
		return rules
	}
	granted := 0
	for i := range 20000 {
		w := newWorld(role("shop", "own", random()...), binding("shop", "own", "Role own", "User ada"))
		next := role("shop", "next", random()...)
		ada := rbac.User{Name: "ada"}
		if w.Escalates(rbac.Grant{User: ada, Next: next, Roles: w, May: func(rbac.Request) bool { return false }}) != nil {
			continue
		}
		granted++
		w.put(next)
		w.put(binding("shop", "next", "Role next", "User bob"))
		for _, what := range []string{"core pods shop a", "core pods shop b", "core pods shop -", "core pods/log shop a", "apps deployments shop c", "apps deployments/log shop -", "batch jobs shop a"} {
			for _, verb := range []string{"get", "list", "delete"} {
				bob, _ := w.Authorize(rbac.User{Name: "bob"}, request(verb, what))
				own, _ := w.Authorize(ada, request(verb, what))
				if bob && !own {
					t.Fatalf("round %d: bob may %s %s by what ada granted, who may not herself\nown: %v\nnext: %v", i, verb, what, w.objects, next.Rules)
				}
			}
		}
	}
	if granted < 100 {
		t.Errorf("only %d of the grants were allowed: the test shows little", granted)
	}
}

// A decision does not depend on how many bindings there are.
func TestManyBindings(t *testing.T) {
	w := newWorld(clusterRole("reader", rule("get", "core", "pods")))
	for i := range 10000 {
		w.put(binding(fmt.Sprintf("ns-%d", i), "b", "ClusterRole reader", fmt.Sprintf("User user-%d", i)))
	}
	user := rbac.User{Name: "user-77", Groups: []string{"system:authenticated"}}
	allocations := testing.AllocsPerRun(100, func() {
		if ok, _ := w.Authorize(user, request("get", "core pods ns-77 x")); !ok {
			t.Fatal("user-77 may not")
		}
	})
	if allocations > 50 {
		t.Errorf("a decision among 10,000 bindings makes %.0f allocations", allocations)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	w := newWorld()
	for _, obj := range rbac.Defaults() {
		w.put(obj)
	}
	for i := range 5000 {
		w.put(binding(fmt.Sprintf("ns-%d", i), "b", "ClusterRole system:aggregate-to-edit", fmt.Sprintf("ServiceAccount ns-%d/deployer", i)))
	}
	user := rbac.User{Name: "system:serviceaccount:ns-7:deployer", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ns-7", "system:authenticated"}}
	r := request("patch", "apps deployments ns-7 web")
	for b.Loop() {
		if ok, _ := w.Authorize(user, r); !ok {
			b.Fatal("refused")
		}
	}
}

// Routes are for the users of a namespace, Gateways to be seen by them.
func TestRolesOfGateways(t *testing.T) {
	for _, c := range []struct {
		role, verb, resource string
		want                 bool
	}{
		{"view", "list", "gateways", true},
		{"view", "list", "httproutes", true},
		{"view", "create", "httproutes", false},
		{"edit", "create", "httproutes", true},
		{"edit", "delete", "grpcroutes", true},
		{"edit", "create", "referencegrants", true},
		{"edit", "create", "gateways", false},
		{"admin", "create", "gateways", false},
	} {
		got := false
		for _, o := range rbac.Defaults() {
			role, ok := o.(*rbacv1.ClusterRole)
			if !ok || role.Labels["rbac.authorization.k8s.io/aggregate-to-"+c.role] != "true" {
				continue
			}
			for _, r := range role.Rules {
				got = got || slices.Contains(r.APIGroups, "gateway.networking.k8s.io") && slices.Contains(r.Resources, c.resource) && slices.Contains(r.Verbs, c.verb)
			}
		}
		if got != c.want {
			t.Errorf("%s may %s %s: %t", c.role, c.verb, c.resource, got)
		}
	}
}
