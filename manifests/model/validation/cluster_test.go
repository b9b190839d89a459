package validation_test

import (
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/validation"
)

func namespaceCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: v1, kind: Namespace, metadata: {name: a}, spec: {finalizers: [kubernetes]}}`
	create(t, base, cases[*corev1.Namespace]{
		"name":                      {func(ns *corev1.Namespace) { ns.Name = "A" }, []string{`metadata.name: Invalid value: "A": ` + dnsLabelMessage}},
		"fully qualified finalizer": {func(ns *corev1.Namespace) { ns.Spec.Finalizers = []corev1.FinalizerName{"example.com/a"} }, nil},
		"finalizer":                 {func(ns *corev1.Namespace) { ns.Spec.Finalizers = []corev1.FinalizerName{"a"} }, []string{`spec.finalizers: Invalid value: "a": name is neither a standard finalizer name nor is it fully qualified`}},
		"label": {func(ns *corev1.Namespace) { ns.Labels["a"] = "-" }, []string{
			`metadata.labels: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`,
		}},
	})
	update(t, base, cases[*corev1.Namespace]{
		"labels":  {func(ns *corev1.Namespace) { ns.Labels["a"] = "b" }, nil},
		"another": {func(ns *corev1.Namespace) { ns.Name = "b" }, []string{`metadata.name: Invalid value: "b": field is immutable`}},
		"annotation": {func(ns *corev1.Namespace) { ns.Annotations = map[string]string{"a/b/c": ""} }, []string{
			`metadata.annotations: Invalid value: "a/b/c": ` + utilvalidation.IsQualifiedName("a/b/c")[0],
		}},
	})
	updateStatus(t, base, cases[*corev1.Namespace]{
		"active": {func(*corev1.Namespace) {}, nil},
		"phase":  {func(ns *corev1.Namespace) { ns.Status.Phase = "Terminating" }, []string{"status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"}},
	})
}

func nodeCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {podCIDRs: [10.0.0.0/24], providerID: x}}`
	taints := func(list ...corev1.Taint) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = list }
	}
	cidrs := func(list ...string) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.PodCIDRs = list }
	}
	create(t, base, cases[*corev1.Node]{
		"taint":     {taints(corev1.Taint{Key: "a", Effect: "x"}), []string{`metadata.taints[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`}},
		"no effect": {taints(corev1.Taint{Key: "a"}), []string{"metadata.taints[0].effect: Required value"}},
		"no key": {taints(corev1.Taint{Effect: "NoSchedule"}), []string{
			"metadata.taints[0].key: Invalid value: \"\": name part must be non-empty",
			"metadata.taints[0].key: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
		}},
		"taints": {taints(corev1.Taint{Key: "a", Effect: "NoSchedule"}, corev1.Taint{Key: "a", Effect: "NoExecute"}), nil},
		"taints, twice": {taints(corev1.Taint{Key: "a", Effect: "NoSchedule"}, corev1.Taint{Key: "a", Effect: "NoSchedule"}), []string{
			`metadata.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule"}: taints must be unique by key and effect pair`,
		}},
		"cidr":          {cidrs("10.0.0.0"), []string{`spec.podCIDRs[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		"both families": {cidrs("10.0.0.0/24", "fd00::/64"), nil},
		"one family":    {cidrs("10.0.0.0/24", "10.0.1.0/24"), []string{`spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family`}},
	})
	update(t, base, cases[*corev1.Node]{
		"taint":       {taints(corev1.Taint{Key: "a", Effect: "NoSchedule"}), nil},
		"cidr":        {cidrs("10.0.1.0/24"), []string{`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`}},
		"no cidr":     {cidrs(), []string{`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`}},
		"provider":    {func(n *corev1.Node) { n.Spec.ProviderID = "y" }, []string{"spec.providerID: Invalid value: null: field cannot be modified once set"}},
		"no provider": {func(n *corev1.Node) { n.Spec.ProviderID = "" }, []string{"spec.providerID: Invalid value: null: field cannot be cleared once set"}},
		"external ID": {func(n *corev1.Node) { n.Spec.DoNotUseExternalID = "y" }, []string{`spec.externalID: Forbidden: may not be updated`}},
	})
	updateStatus(t, base, cases[*corev1.Node]{
		"capacity": {func(n *corev1.Node) { n.Status.Capacity = corev1.ResourceList{"cpu": resource.MustParse("-1")} }, []string{`status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0`}},
		"pods":     {func(n *corev1.Node) { n.Status.Capacity = corev1.ResourceList{"pods": resource.MustParse("1500m")} }, []string{`status.capacity.pods: Invalid value: "1500m": must be an integer`}},
		"addresses": {func(n *corev1.Node) {
			n.Status.Addresses = []corev1.NodeAddress{{Type: "Hostname", Address: "a"}, {Type: "Hostname", Address: "a"}}
		}, []string{`status.addresses[1]: Duplicate value: {"type":"Hostname","address":"a"}`}},
	})
}

func serviceAccountCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, namespace: b}}`
	create(t, base, cases[*corev1.ServiceAccount]{
		"dots":    {func(a *corev1.ServiceAccount) { a.Name = "a.b" }, nil},
		"name":    {func(a *corev1.ServiceAccount) { a.Name = "a_b" }, []string{`metadata.name: Invalid value: "a_b": ` + subdomainMessage}},
		"secrets": {func(a *corev1.ServiceAccount) { a.Secrets = []corev1.ObjectReference{{Name: "x"}, {Name: "x"}} }, nil},
	})
	update(t, base, cases[*corev1.ServiceAccount]{
		"no token": {func(a *corev1.ServiceAccount) { a.AutomountServiceAccountToken = new(false) }, nil},
		"another":  {func(a *corev1.ServiceAccount) { a.Name = "c" }, []string{`metadata.name: Invalid value: "c": field is immutable`}},
	})
}

func leaseCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: a, namespace: b}}`
	table := cases[*coordinationv1.Lease]{
		"duration":    {func(l *coordinationv1.Lease) { l.Spec.LeaseDurationSeconds = new(int32(0)) }, []string{"spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"}},
		"transitions": {func(l *coordinationv1.Lease) { l.Spec.LeaseTransitions = new(int32(-1)) }, []string{"spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"}},
		"strategy": {func(l *coordinationv1.Lease) {
			l.Spec.Strategy = new(coordinationv1.CoordinatedLeaseStrategy("Newest"))
		}, []string{
			`spec.strategy.strategy: Unsupported value: "Newest": supported values: "OldestEmulationVersion"`,
		}},
		"strategy of others": {func(l *coordinationv1.Lease) {
			l.Spec.Strategy = new(coordinationv1.CoordinatedLeaseStrategy("example.com/Newest"))
		}, nil},
		"preferred": {func(l *coordinationv1.Lease) { l.Spec.PreferredHolder = new("x") }, []string{
			"spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
		}},
	}
	create(t, base, table)
	update(t, base, table)
}

func eventCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: v1, kind: Event, metadata: {name: a, namespace: b}, involvedObject: {namespace: b}}`
	modern := func(edit func(e *corev1.Event)) func(*corev1.Event) {
		return func(e *corev1.Event) {
			e.EventTime.Time = time.Unix(1, 0)
			e.ReportingController, e.ReportingInstance, e.Action, e.Reason = "a", "b", "c", "d"
			edit(e)
		}
	}
	table := cases[*corev1.Event]{
		"elsewhere":            {func(e *corev1.Event) { e.InvolvedObject.Namespace = "c" }, []string{`involvedObject.namespace: Invalid value: "c": does not match event.namespace`}},
		"about a node":         {func(e *corev1.Event) { e.InvolvedObject.Namespace = "" }, []string{`involvedObject.namespace: Invalid value: "": does not match event.namespace`}},
		"in default":           {func(e *corev1.Event) { e.Namespace, e.InvolvedObject.Namespace = "default", "" }, nil},
		"a new one":            {modern(func(*corev1.Event) {}), nil},
		"a new one, elsewhere": {modern(func(e *corev1.Event) { e.InvolvedObject.Namespace = "c" }), nil},
		"controller":           {modern(func(e *corev1.Event) { e.ReportingController = "a b" }), []string{`reportingController: Invalid value: "a b": ` + qualifiedMessage}},
		"instance and reason":  {modern(func(e *corev1.Event) { e.ReportingInstance, e.Reason = "", "" }), []string{"reportingInstance: Required value", "reason: Required value"}},
		"long": {modern(func(e *corev1.Event) {
			e.Action, e.Message = strings.Repeat("x", 129), strings.Repeat("x", 1025)
		}), []string{`action: Invalid value: "": can have at most 128 characters`, `message: Invalid value: "": can have at most 1024 characters`}},
	}
	create(t, base, table)
	update(t, base, table)
}

// viewedEventCases are of events.k8s.io, which is stricter. Errors name the fields
// of the stored form, as in Kubernetes.
func viewedEventCases(t *testing.T) {
	t.Helper()
	view, ok := scheme.ForView(schema.GroupKind{Group: "events.k8s.io", Kind: "Event"})
	if !ok {
		t.Fatal("there is no such view")
	}
	parsed := func(edit func(*eventsv1.Event)) object.Object {
		e := &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", ResourceVersion: "1"}, EventTime: metav1.NewMicroTime(time.Unix(1, 0)),
			ReportingController: "a", ReportingInstance: "b", Action: "c", Reason: "d", Type: "Normal",
			Regarding: corev1.ObjectReference{Namespace: "b"},
		}
		edit(e)
		return view.To(e)
	}
	for name, tc := range map[string]struct {
		edit             func(e *eventsv1.Event)
		created, changed []string
	}{
		"as it is": {func(*eventsv1.Event) {}, nil, nil},
		"type": {
			func(e *eventsv1.Event) { e.Type = "Odd" },
			[]string{`type: Invalid value: "": has invalid value: Odd`},
			[]string{`type: Invalid value: "Odd": field is immutable`},
		},
		"note":   {func(e *eventsv1.Event) { e.Note = "x" }, nil, []string{`message: Invalid value: "x": field is immutable`}},
		"labels": {func(e *eventsv1.Event) { e.Labels = map[string]string{"a": "b"} }, nil, nil},
		"count": {
			func(e *eventsv1.Event) { e.DeprecatedCount = 2 },
			[]string{`count: Invalid value: "": needs to be unset`},
			[]string{"count: Invalid value: 2: field is immutable"},
		},
		"series": {
			func(e *eventsv1.Event) { e.Series = &eventsv1.EventSeries{Count: 1} },
			[]string{`series.count: Invalid value: "": should be at least 2`, "series.lastObservedTime: Required value"},
			[]string{`series.count: Invalid value: "": should be at least 2`, "series.lastObservedTime: Required value"},
		},
		"no reason": {func(e *eventsv1.Event) { e.Reason = "" }, []string{"reason: Required value"}, []string{"reason: Required value", `reason: Invalid value: "": field is immutable`}},
		"name":      {func(e *eventsv1.Event) { e.Name = "A" }, []string{`metadata.name: Invalid value: "A": ` + subdomainMessage}, []string{`metadata.name: Invalid value: "A": field is immutable`}},
	} {
		t.Run(name, func(t *testing.T) {
			old, e := parsed(func(*eventsv1.Event) {}), parsed(tc.edit)
			created := append(validation.Create(e), view.Create(e)...)
			changed := append(validation.Update(e, old), view.Update(e, old)...)
			for _, one := range []struct {
				errs  field.ErrorList
				want  []string
				count *int
			}{{created, tc.created, &shownAs("Event.events.k8s.io").created}, {changed, tc.changed, &shownAs("Event.events.k8s.io").changed}} {
				compare(t, one.errs, one.want)
				if len(one.want) > 0 {
					*one.count++
				}
			}
		})
	}
}
