package routes_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/ingress/routes"
)

// ingress has rules of the form "TYPE HOST PATH SERVICE", where TYPE is Exact, Prefix,
// Specific or Default, and - stands for nothing.
func ingress(name string, age int, rules ...string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Unix(1000-int64(age), 0)}}
	for _, r := range rules {
		f := strings.Fields(strings.ReplaceAll(r, "-", ""))
		if f[0] == "Default" {
			i.Spec.DefaultBackend = backend(f[1])
			continue
		}
		f = strings.Fields(r)
		for n := range f {
			f[n] = strings.TrimPrefix(f[n], "-")
		}
		kind := networkingv1.PathType(f[0])
		if kind == "Specific" {
			kind = networkingv1.PathTypeImplementationSpecific
		}
		rule := networkingv1.IngressRule{Host: f[1]}
		if f[0] != "None" {
			rule.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: f[2], PathType: &kind, Backend: *backend(f[3])}}}
		}
		i.Spec.Rules = append(i.Spec.Rules, rule)
	}
	return i
}

func backend(service string) *networkingv1.IngressBackend {
	return &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}
}

func match(t *routes.Table, host, path string) string {
	a := t.Match(host, path)
	if a == nil {
		return "none"
	}
	return a.Backend.Service.Name
}

// The table of examples of path types in the documentation of Ingress: rules, a path, and
// whether it matches, or which rule.
func TestExamplesOfPaths(t *testing.T) {
	for n, tc := range []struct {
		kind, paths, request, want string
	}{
		{"Prefix", "/", "/anything/at/all", "/"},
		{"Exact", "/foo", "/foo", "/foo"},
		{"Exact", "/foo", "/bar", "none"},
		{"Exact", "/foo", "/foo/", "none"},
		{"Exact", "/foo/", "/foo", "none"},
		{"Prefix", "/foo", "/foo", "/foo"},
		{"Prefix", "/foo", "/foo/", "/foo"},
		{"Prefix", "/foo/", "/foo", "/foo/"},
		{"Prefix", "/foo/", "/foo/", "/foo/"},
		{"Prefix", "/aaa/bb", "/aaa/bbb", "none"},
		{"Prefix", "/aaa/bbb", "/aaa/bbb", "/aaa/bbb"},
		{"Prefix", "/aaa/bbb/", "/aaa/bbb", "/aaa/bbb/"},
		{"Prefix", "/aaa/bbb", "/aaa/bbb/", "/aaa/bbb"},
		{"Prefix", "/aaa/bbb", "/aaa/bbb/ccc", "/aaa/bbb"},
		{"Prefix", "/aaa/bbb", "/aaa/bbbxyz", "none"},
		{"Prefix", "/ /aaa", "/aaa/ccc", "/aaa"},
		{"Prefix", "/ /aaa", "/ccc", "/"},
		{"Prefix", "/ /aaa /aaa/bbb", "/aaa/bbb", "/aaa/bbb"},
		{"Prefix", "/ /aaa /aaa/bbb", "/ccc", "/"},
		{"Prefix", "/aaa", "/ccc", "none"},
		{"Specific", "/aaa", "/aaa/b", "/aaa"},
		// The same path in other spellings.
		{"Prefix", "/aaa", "/b/../aaa/./c", "/aaa"},
		{"Prefix", "/aaa", "/aaa/../b", "none"},
		{"Prefix", "/aaa", "//aaa", "/aaa"},
		{"Exact", "/aaa/", "/aaa/b/..", "/aaa/"},
		{"Prefix", "/aaa", "", "none"},
		{"Prefix", "/", "", "/"},
	} {
		var rules []string
		names := strings.Fields(tc.paths)
		for i, p := range names {
			rules = append(rules, fmt.Sprintf("%s - %s s%d", tc.kind, p, i))
		}
		got := match(routes.FromIngresses([]*networkingv1.Ingress{ingress("i", 0, rules...)}).Table, "example.com", tc.request)
		want := tc.want
		if at := slices.Index(names, tc.want); at >= 0 {
			want = fmt.Sprintf("s%d", at)
		}
		if got != want {
			t.Errorf("%d: %s %s, asked for %s: %s, want %s", n, tc.kind, tc.paths, tc.request, got, want)
		}
	}
}

// The table of hosts in the documentation of Ingress, and what a client may write.
func TestExamplesOfHosts(t *testing.T) {
	for _, tc := range []struct {
		host, request string
		want          bool
	}{
		{"*.foo.com", "bar.foo.com", true},
		{"*.foo.com", "baz.bar.foo.com", false},
		{"*.foo.com", "foo.com", false},
		{"*.foo.com", ".foo.com", false},
		{"foo.com", "foo.com", true},
		{"foo.com", "FOO.com:8080", true},
		{"foo.com", "foo.com.", true},
		{"foo.com", "foo.com.evil.org", false},
		{"foo.com", "[::1]:80", false},
		{"foo.com", "", false},
		{"-", "anything", true},
		{"-", "[::1]:80", true},
	} {
		table := routes.FromIngresses([]*networkingv1.Ingress{ingress("i", 0, "Prefix "+tc.host+" / web")}).Table
		if got := match(table, tc.request, "/") == "web"; got != tc.want {
			t.Errorf("a rule for %s, asked as %q: %t, want %t", tc.host, tc.request, got, tc.want)
		}
	}
}

// Which of several rules gets a request.
func TestMultipleMatches(t *testing.T) {
	for what, tc := range map[string]struct {
		list          []*networkingv1.Ingress
		host, request string
		want          string
	}{
		"an exact path before a prefix":             {[]*networkingv1.Ingress{ingress("i", 0, "Prefix - /foo a", "Exact - /foo b")}, "x", "/foo", "b"},
		"an exact path before a prefix and /":       {[]*networkingv1.Ingress{ingress("i", 0, "Prefix - /foo/ a", "Exact - /foo b")}, "x", "/foo", "b"},
		"a longer path before an exact one":         {[]*networkingv1.Ingress{ingress("i", 0, "Exact - /a a", "Prefix - /a/b b")}, "x", "/a/b", "b"},
		"an exact host before a wildcard":           {[]*networkingv1.Ingress{ingress("i", 0, "Prefix *.foo.com / a", "Prefix bar.foo.com / b")}, "bar.foo.com", "/", "b"},
		"a wildcard before all":                     {[]*networkingv1.Ingress{ingress("i", 0, "Prefix - /long/path a", "Prefix *.foo.com / b")}, "bar.foo.com", "/long/path", "b"},
		"what the exact host does not have":         {[]*networkingv1.Ingress{ingress("i", 0, "Prefix *.foo.com / a", "Prefix bar.foo.com /b b")}, "bar.foo.com", "/", "a"},
		"the older Ingress":                         {[]*networkingv1.Ingress{ingress("new", 1, "Prefix a.com / a"), ingress("old", 2, "Prefix a.com / b")}, "a.com", "/", "b"},
		"the first by name":                         {[]*networkingv1.Ingress{ingress("b", 1, "Prefix a.com / b"), ingress("a", 1, "Prefix a.com / a")}, "a.com", "/", "a"},
		"two Ingresses of one host":                 {[]*networkingv1.Ingress{ingress("b", 1, "Prefix a.com /b b"), ingress("a", 1, "Prefix a.com / a")}, "a.com", "/b", "b"},
		"no rule":                                   {[]*networkingv1.Ingress{ingress("i", 0, "Prefix a.com /a a")}, "a.com", "/b", "none"},
		"the default of the Ingress":                {[]*networkingv1.Ingress{ingress("old", 2, "Default all"), ingress("i", 1, "Prefix a.com /a a", "Default own")}, "a.com", "/b", "own"},
		"the default of a wildcard":                 {[]*networkingv1.Ingress{ingress("old", 2, "Default all"), ingress("i", 1, "Prefix *.a.com /a a", "Default own")}, "b.a.com", "/b", "own"},
		"a path of a wildcard before a default":     {[]*networkingv1.Ingress{ingress("i", 1, "Prefix *.a.com / a"), ingress("j", 1, "Prefix b.a.com /b b", "Default own")}, "b.a.com", "/c", "a"},
		"a host of no path":                         {[]*networkingv1.Ingress{ingress("old", 2, "Default all"), ingress("i", 1, "None a.com", "Default own")}, "a.com", "/b", "own"},
		"the default of the whole":                  {[]*networkingv1.Ingress{ingress("new", 1, "Default b"), ingress("old", 2, "Default a"), ingress("i", 3, "Prefix a.com / c")}, "b.com", "/", "a"},
		"an Ingress of no default, and the whole's": {[]*networkingv1.Ingress{ingress("i", 3, "Prefix a.com /a c"), ingress("old", 2, "Default a")}, "a.com", "/", "a"},
		"nothing": {nil, "a.com", "/", "none"},
	} {
		if got := match(routes.FromIngresses(tc.list).Table, tc.host, tc.request); got != tc.want {
			t.Errorf("%s: %s, want %s", what, got, tc.want)
		}
	}
	if (*routes.Table)(nil).Match("a", "/") != nil {
		t.Error("no table has an action")
	}
}

func TestWarningsAndOptions(t *testing.T) {
	odd := ingress("odd", 3, "Prefix a.com / a")
	odd.Annotations = map[string]string{routes.TimeoutAnnotation: "soon", routes.BodyLimitAnnotation: "-1", routes.RedirectAnnotation: "perhaps"}
	resource := ingress("resource", 2, "Prefix b.com / a")
	resource.Spec.Rules[0].HTTP.Paths[0].Backend = networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{Kind: "Bucket", Name: "files"}}
	good := ingress("good", 1, "Prefix c.com / a", "Exact a.com / b")
	good.Annotations = map[string]string{routes.TimeoutAnnotation: "90s", routes.BodyLimitAnnotation: "1Ki", routes.RedirectAnnotation: "true"}
	late := ingress("late", 0, "Prefix a.com / b")
	r := routes.FromIngresses([]*networkingv1.Ingress{odd, resource, good, late})
	var got []string
	for _, w := range r.Warnings {
		got = append(got, w.Ingress.Name+": "+w.Reason+": "+w.Message)
	}
	want := []string{
		`odd: InvalidAnnotation: the annotation headway.dev/ingress-timeout is "soon", which is not a duration such as 90s; the default is in force`,
		`odd: InvalidAnnotation: the annotation headway.dev/ingress-body-limit is "-1", which is not an amount of bytes such as 10Mi; the default is in force`,
		`odd: InvalidAnnotation: the annotation headway.dev/ingress-https-redirect is "perhaps", which is not true or false; the default is in force`,
		"resource: UnservedBackend: requests are answered with 503: its backend is the resource Bucket files, and only Services can be served",
		"late: RuleConflict: an older rule serves a.com/; this one has no effect",
	}
	if !slices.Equal(got, want) {
		t.Errorf("warnings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if o := r.Table.Match("a.com", "/x").Options; o != (routes.Options{Timeout: routes.DefaultTimeout}) {
		t.Errorf("odd annotations make %+v", o)
	}
	if o := r.Table.Match("c.com", "/").Options; o != (routes.Options{Timeout: 90 * time.Second, BodyLimit: 1024, Redirect: true}) {
		t.Errorf("annotations make %+v", o)
	}
	if a := r.Table.Match("b.com", "/"); a.Unserved == "" || len(r.Backends) != 2 {
		t.Errorf("a resource is served: %+v, backends %v", a, r.Backends)
	}
}

func TestCertificates(t *testing.T) {
	tls := func(i *networkingv1.Ingress, secret string, hosts ...string) *networkingv1.Ingress {
		i.Spec.TLS = append(i.Spec.TLS, networkingv1.IngressTLS{SecretName: secret, Hosts: hosts})
		return i
	}
	r := routes.FromIngresses([]*networkingv1.Ingress{
		tls(ingress("new", 1, "Prefix a.com / a"), "new", "a.com", "*.a.com"),
		tls(ingress("old", 2, "Prefix a.com / a"), "old", "a.com"),
		tls(ingress("rules", 1, "Prefix b.com / a"), "of-rules"),
		tls(ingress("own", 1, "Prefix c.com / a"), "", "c.com"),
		tls(ingress("all", 1, "Default a"), "all"),
	})
	var got []string
	for _, c := range r.Certificates {
		got = append(got, c.Host+"="+c.Secret.String())
	}
	slices.Sort(got)
	if want := []string{"*.a.com=shop/new", "=shop/all", "a.com=shop/new", "a.com=shop/old", "b.com=shop/of-rules"}; !slices.Equal(got, want) {
		t.Errorf("certificates %v, want %v", got, want)
	}
}

// Paths that other proxies understand in another way are told.
func TestOddPaths(t *testing.T) {
	for path, want := range map[string]bool{"/": false, "/a-b_c.d~/": false, "/a//": false, "/a:b@c": false, "/a(/|$)(.*)": true, "/a/*": true, "/a%20b": true, "/a//b": true, "/a/../b": true, "/a/.": true} {
		r := routes.FromIngresses([]*networkingv1.Ingress{ingress("i", 0, "Specific a.com "+path+" a")})
		if got := len(r.Warnings) == 1 && r.Warnings[0].Reason == "UnservedPath"; got != want {
			t.Errorf("%s: %v, want one: %t", path, r.Warnings, want)
		}
	}
	if r := routes.FromIngresses([]*networkingv1.Ingress{ingress("i", 0, "Prefix a.com /a*b a")}); len(r.Warnings) != 0 {
		t.Errorf("a path of the type Prefix: %v", r.Warnings)
	}
}

// A host is the namespace's whose Ingress was the first to name it; what is without a host
// is everybody's.
func TestHostsOfNamespaces(t *testing.T) {
	of := func(namespace string, i *networkingv1.Ingress, secret string, hosts ...string) *networkingv1.Ingress {
		i.Namespace = namespace
		i.Spec.TLS = []networkingv1.IngressTLS{{SecretName: secret, Hosts: hosts}}
		return i
	}
	r := routes.FromIngresses([]*networkingv1.Ingress{
		of("shop", ingress("old", 3, "Prefix shop.com /a good", "Prefix *.shop.com / good"), "first", "shop.com"),
		of("evil", ingress("evil", 2, "Exact SHOP.com /login evil", "Prefix *.shop.com /x evil", "Prefix - /rest rest", "Prefix a.shop.com / other"), "stolen", "shop.com", "a.shop.com"),
		of("shop", ingress("new", 1, "Exact shop.com /login new"), "second", "shop.com"),
	})
	for request, want := range map[string]string{
		"shop.com/login": "new", "shop.com/a/b": "good", "shop.com/rest": "rest", "b.shop.com/x": "good", "a.shop.com/x": "other", "c.com/rest": "rest",
	} {
		host, path, _ := strings.Cut(request, "/")
		if got := match(r.Table, host, "/"+path); got != want {
			t.Errorf("%s is sent to %s, want %s", request, got, want)
		}
	}
	var got []string
	for _, w := range r.Warnings {
		got = append(got, w.Ingress.Name+": "+w.Reason+": "+w.Message)
	}
	if want := []string{
		"evil: RuleConflict: the host SHOP.com is the namespace shop's, whose Ingress names it for longer; rules of other namespaces for it have no effect",
		"evil: RuleConflict: the host *.shop.com is the namespace shop's, whose Ingress names it for longer; rules of other namespaces for it have no effect",
		"evil: CertificateConflict: the host shop.com is the namespace shop's, whose Ingress names it for longer; the certificate of the Secret stolen is not served for it",
	}; !slices.Equal(got, want) {
		t.Errorf("warnings:\n%s", strings.Join(got, "\n"))
	}
	got = nil
	for _, c := range r.Certificates {
		got = append(got, c.Host+"="+c.Secret.String())
	}
	if want := []string{"shop.com=shop/first", "a.shop.com=evil/stolen", "shop.com=shop/second"}; !slices.Equal(got, want) {
		t.Errorf("certificates %v", got)
	}
}

func FuzzMatch(f *testing.F) {
	table := routes.FromIngresses([]*networkingv1.Ingress{ingress("i", 0, "Prefix a.com /admin secret", "Prefix a.com / public", "Exact *.b.com /x exact")}).Table
	f.Add("a.com", "/../admin")
	f.Add("x.b.com:80", "/x")
	f.Fuzz(func(t *testing.T, host, path string) {
		got, clean := match(table, host, path), routes.Clean(path)
		if routes.Hostname(host) == "a.com" {
			want := "public"
			if clean == "/admin" || strings.HasPrefix(clean, "/admin/") {
				want = "secret"
			}
			if got != want {
				t.Errorf("%q is sent to %s, want %s", path, got, want)
			}
		}
		if strings.Contains(clean, "//") || !strings.HasPrefix(clean, "/") || strings.Contains(clean, "/../") {
			t.Errorf("%q is compared as %q", path, clean)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var list []*networkingv1.Ingress
	for i := range 1000 {
		list = append(list, ingress(fmt.Sprint("i", i), i, fmt.Sprintf("Prefix h%d.com /a/b/c a", i)))
	}
	table := routes.FromIngresses(list).Table
	b.ReportAllocs()
	for b.Loop() {
		if table.Match("h500.com", "/a/b/c/d/e") == nil {
			b.Fatal("no match")
		}
	}
}
