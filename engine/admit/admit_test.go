package admit_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/admit"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var serviceKind = schema.GroupKind{Kind: "Service"}

type cluster struct {
	t     *testing.T
	path  string
	cidr  string
	cidr6 string // empty: the cluster has one family
	store *store.Store
}

// start opens a store with the hooks and the namespaces default and dying.
func start(t *testing.T, cidr string) *cluster {
	t.Helper()
	c := &cluster{t: t, path: filepath.Join(t.TempDir(), "db"), cidr: cidr}
	c.open()
	t.Cleanup(func() {
		if err := c.store.Close(); err != nil {
			t.Error(err)
		}
	})
	now := metav1.Now()
	c.must(
		put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}),
		put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "dying", DeletionTimestamp: &now}}),
	)
	return c
}

func (c *cluster) open() {
	c.t.Helper()
	kinds := &scheme.Registry{}
	cfg := admit.Config{ServiceCIDR: netip.MustParsePrefix(c.cidr), Kinds: kinds}
	if c.cidr6 != "" {
		cfg.ServiceCIDR6 = netip.MustParsePrefix(c.cidr6)
	}
	a, err := admit.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.store, err = store.Open(store.Options{Path: c.path, Codec: record.Any, Admit: a.Hooks(), Along: a.Along, Observe: func(events []object.Event) {
		kinds.Observe(events)
		a.Observe(events)
	}})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) reopen() {
	c.t.Helper()
	if err := c.store.Close(); err != nil {
		c.t.Fatal(err)
	}
	c.open()
}

func (c *cluster) commit(changes ...change.Change) error {
	_, err := c.store.Commit(c.t.Context(), change.Tx{Changes: changes})
	return err
}

func (c *cluster) must(changes ...change.Change) {
	c.t.Helper()
	if err := c.commit(changes...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) service(name string) *corev1.Service {
	c.t.Helper()
	svc, ok := c.store.Get(object.Key{GroupKind: serviceKind, Namespace: "default", Name: name}).(*corev1.Service)
	if !ok {
		c.t.Fatalf("no Service %s", name)
	}
	return svc
}

func put(obj object.Object) change.Change {
	key, err := scheme.KeyOf(obj)
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return obj, err }}
}

func remove(name string) change.Change {
	key := object.Key{GroupKind: serviceKind, Namespace: "default", Name: name}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return nil, nil }}
}

var errFail = errors.New("fail")

func fail() change.Change {
	key := object.Key{GroupKind: serviceKind, Namespace: "default", Name: "fail"}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return nil, errFail }}
}

func service(name string, edit ...func(*corev1.ServiceSpec)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}}},
	}
	for _, e := range edit {
		e(&svc.Spec)
	}
	return svc
}

func withIP(ip string) func(*corev1.ServiceSpec) {
	return func(s *corev1.ServiceSpec) { s.ClusterIP, s.ClusterIPs = ip, []string{ip} }
}

func withType(typ corev1.ServiceType) func(*corev1.ServiceSpec) {
	return func(s *corev1.ServiceSpec) { s.Type = typ }
}

func nodePort(port int32) func(*corev1.ServiceSpec) {
	return func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = corev1.ServiceTypeNodePort, port }
}

func wantError(t *testing.T, what string, err error, is func(error) bool, text string) {
	t.Helper()
	if err == nil || !is(err) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: error = %v, want one with %q", what, err, text)
	}
}

func TestNamespaces(t *testing.T) {
	c := start(t, "10.96.0.0/16")
	in := func(ns string) change.Change {
		return put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}})
	}
	c.must(in("default"))
	wantError(t, "missing", c.commit(in("nope")), apierrors.IsNotFound, `namespaces "nope" not found`)
	err := c.commit(in("dying"))
	wantError(t, "terminating", err, apierrors.IsForbidden,
		`configmaps "a" is forbidden: unable to create new content in namespace dying because it is being terminated`)
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("error %v lacks the cause NamespaceTerminating", err)
	}
	// A namespace and what is in it can arrive in one transaction.
	c.must(put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}}), in("new"))
	// What is there can still be changed while its namespace goes away.
	now := metav1.NewTime(time.Now())
	c.must(put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new", DeletionTimestamp: &now}}))
	c.must(put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "a"}, Data: map[string]string{"k": "v"}}))

	key := object.Key{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: "default"}
	err = c.commit(change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return nil, nil }})
	wantError(t, "immortal", err, apierrors.IsForbidden, `namespaces "default" is forbidden: this namespace may not be deleted`)
}

// What is refused goes by the name of its resource, also if that is a custom one, whose
// definition may come with it.
func TestNamespacesOfCustomResources(t *testing.T) {
	c := start(t, "10.96.0.0/16")
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "geese.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "geese", Singular: "goose", Kind: "Goose", ListKind: "GooseList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"},
			}}},
		},
	}
	goose := func() change.Change {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Goose"}}
		u.SetNamespace("dying")
		u.SetName("a")
		key := object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Goose"}, Namespace: "dying", Name: "a"}
		return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return u, nil }}
	}
	const refused = `geese.example.com "a" is forbidden: unable to create new content in namespace dying because it is being terminated`
	wantError(t, "with its definition", c.commit(put(crd), goose()), apierrors.IsForbidden, refused)
	crd.Status.AcceptedNames = crd.Spec.Names
	crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{
		{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue}, {Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue},
	}
	c.must(put(crd))
	wantError(t, "served", c.commit(goose()), apierrors.IsForbidden, refused)
}

func TestClusterIPs(t *testing.T) {
	c := start(t, "10.96.0.0/24")
	c.must(put(service("a")), put(service("b")), put(service("kubernetes")),
		put(service("headless", withIP("None"))), put(service("external", withType(corev1.ServiceTypeExternalName))))
	seen := map[string]bool{}
	for _, name := range []string{"a", "b"} {
		spec := c.service(name).Spec
		if seen[spec.ClusterIP] || spec.ClusterIP == "10.96.0.1" || !strings.HasPrefix(spec.ClusterIP, "10.96.0.") {
			t.Errorf("cluster IP of %s = %q, seen %v", name, spec.ClusterIP, seen)
		}
		if len(spec.ClusterIPs) != 1 || spec.ClusterIPs[0] != spec.ClusterIP {
			t.Errorf("clusterIPs of %s = %v", name, spec.ClusterIPs)
		}
		seen[spec.ClusterIP] = true
	}
	for name, want := range map[string]string{"kubernetes": "10.96.0.1", "headless": "None", "external": ""} {
		if got := c.service(name).Spec.ClusterIP; got != want {
			t.Errorf("cluster IP of %s = %q, want %q", name, got, want)
		}
	}

	taken := c.service("a").Spec.ClusterIP
	invalid := apierrors.IsInvalid
	wantError(t, "taken", c.commit(put(service("c", withIP(taken)))), invalid,
		fmt.Sprintf("spec.clusterIPs: Invalid value: [%q]: failed to allocate IP %s: provided IP is already allocated", taken, taken))
	wantError(t, "reserved", c.commit(put(service("c", withIP("10.96.0.1")))), invalid, "provided IP is already allocated")
	for _, ip := range []string{"10.97.0.1", "10.96.0.0", "10.96.0.255"} {
		wantError(t, ip, c.commit(put(service("c", withIP(ip)))), invalid,
			"the provided IP ("+ip+") is not in the valid range. The range of valid IPs is 10.96.0.0/24")
	}
	c.must(put(service("c", withIP("10.96.0.200"))))
	c.must(put(c.service("c").DeepCopy()))
	if got := c.service("c").Spec.ClusterIP; got != "10.96.0.200" {
		t.Errorf("requested cluster IP = %s", got)
	}
	c.reopen()
	wantError(t, "after reopening", c.commit(put(service("d", withIP("10.96.0.200")))), invalid, "already allocated")
	// A change of type gives the address back, also within one transaction.
	c.must(put(service("c", withType(corev1.ServiceTypeExternalName))), put(service("d", withIP("10.96.0.200"))))
	// So does a deletion.
	c.must(remove("d"), put(service("e", withIP("10.96.0.200"))))
	wantError(t, "moved", c.commit(put(service("f", withIP("10.96.0.200")))), invalid, "already allocated")
	dual := corev1.IPFamilyPolicyRequireDualStack
	wantError(t, "dual stack", c.commit(put(service("g", func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = &dual }))), invalid,
		"this cluster is not configured for dual-stack services")
}

// A transaction that fails neither keeps what it was given nor gives away what
// it released.
func TestFailedTransactions(t *testing.T) {
	c := start(t, "10.96.0.0/24")
	c.must(put(service("a", withIP("10.96.0.100"))))
	for range 3 {
		err := c.commit(remove("a"), put(service("b", withIP("10.96.0.100"))), put(service("c", withIP("10.96.0.101"))), fail())
		if !errors.Is(err, errFail) {
			t.Fatal(err)
		}
		wantError(t, "still held", c.commit(put(service("d", withIP("10.96.0.100")))), apierrors.IsInvalid, "already allocated")
	}
	c.must(put(service("d", withIP("10.96.0.101"))))
}

func TestRangeFull(t *testing.T) {
	c := start(t, "10.96.0.0/28") // 14 addresses, the first is kept
	for i := range 13 {
		c.must(put(service(fmt.Sprint("s", i))))
	}
	wantError(t, "full", c.commit(put(service("more"))), apierrors.IsInternalError, "failed to allocate a serviceIP: range is full")
	c.must(put(service("kubernetes")))
	c.must(remove("s5"))
	c.must(put(service("more")))
}

func TestNodePorts(t *testing.T) {
	c := start(t, "10.96.0.0/16")
	c.must(put(service("a", nodePort(30080))))
	c.must(put(service("b", withType(corev1.ServiceTypeNodePort), func(s *corev1.ServiceSpec) {
		s.Ports = []corev1.ServicePort{
			{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 53},
			{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 53},
			{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80},
		}
	})))
	ports := c.service("b").Spec.Ports
	if ports[0].NodePort == 0 || ports[0].NodePort != ports[1].NodePort || ports[2].NodePort == ports[0].NodePort {
		t.Errorf("node ports = %d, %d, %d, want the first two equal, the third different", ports[0].NodePort, ports[1].NodePort, ports[2].NodePort)
	}
	for _, p := range ports {
		if p.NodePort < 30000 || p.NodePort > 32767 {
			t.Errorf("node port %d is out of range", p.NodePort)
		}
	}
	wantError(t, "taken", c.commit(put(service("c", nodePort(30080)))), apierrors.IsInvalid,
		"spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated")
	wantError(t, "range", c.commit(put(service("c", nodePort(80)))), apierrors.IsInvalid,
		"provided port is not in the valid range. The range of valid ports is 30000-32767")
	// A change of type releases the port.
	c.must(put(service("a")), put(service("c", nodePort(30080))))
	no := false
	c.must(put(service("lb", withType(corev1.ServiceTypeLoadBalancer), func(s *corev1.ServiceSpec) {
		s.AllocateLoadBalancerNodePorts = &no
		s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	})))
	lb := c.service("lb").Spec
	if lb.Ports[0].NodePort != 0 || lb.HealthCheckNodePort == 0 {
		t.Errorf("load balancer: node port %d, health check port %d, want none and one", lb.Ports[0].NodePort, lb.HealthCheckNodePort)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []admit.Config{
		{},
		{ServiceCIDR: netip.MustParsePrefix("fd00::/108")},
		{ServiceCIDR: netip.MustParsePrefix("10.0.0.0/31")},
		{ServiceCIDR: netip.MustParsePrefix("10.0.0.0/24"), NodePorts: admit.PortRange{First: 10, Last: 5}},
	} {
		if _, err := admit.New(c); err == nil {
			t.Errorf("New(%+v) succeeded", c)
		}
	}
}

// The time of an admission does not grow with the number of Services.
func BenchmarkServices(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a, err := admit.New(admit.Config{ServiceCIDR: netip.MustParsePrefix("10.0.0.0/12")})
			if err != nil {
				b.Fatal(err)
			}
			view := reader{}
			hook := a.Hooks()[1]
			add := func(i int) object.Object {
				svc, err := hook(view, service(fmt.Sprint("s", i)), nil)
				if err != nil {
					b.Fatal(err)
				}
				return svc
			}
			for i := range n {
				obj := add(i)
				key, _ := scheme.KeyOf(obj)
				view[key] = obj
				a.Observe([]object.Event{{Type: object.Added, Key: key, Object: obj}})
			}
			for b.Loop() {
				add(n)
			}
		})
	}
}

type reader map[object.Key]object.Object

func (r reader) Get(key object.Key) object.Object { return r[key] }

func (r reader) List(schema.GroupKind, string) ([]object.Object, uint64) { panic("not to be used") }
