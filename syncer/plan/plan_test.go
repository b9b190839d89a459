package plan_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

var owner = plan.Owner{Namespace: "headway-system", Name: "cluster"}

const (
	namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n"
	service   = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n"
	config    = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: web}\ndata: {a: one, b: two}\n"
	deploy    = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      volumes: [{name: tmp, emptyDir: {}}]
      containers:
      - name: web
        image: web:1
        env: [{name: MODE, value: prod}]
        resources: {requests: {cpu: 100m}}
        readinessProbe: {httpGet: {path: /, port: 80}}
`
)

// items decodes documents as a directory of files would be.
func items(tb testing.TB, docs ...string) []load.Item {
	tb.Helper()
	var list []load.Item
	for i, d := range docs {
		found, err := load.Bytes(fmt.Sprintf("%d.yaml", i), []byte(d))
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, found...)
	}
	return list
}

func input(list []load.Item) plan.Input {
	return plan.Input{Items: list, Owner: owner, Prune: true}
}

// carryOut stores a plan's actions, as the syncer does.
func carryOut(tb testing.TB, s *memstore.Store, res plan.Result) {
	tb.Helper()
	if len(res.Errors) > 0 {
		tb.Fatalf("the plan has errors: %v", res.Errors)
	}
	var tx change.Tx
	for _, a := range res.Actions {
		switch {
		case !a.Writes():
		case a.Type == plan.Delete:
			tx.Changes = append(tx.Changes, change.Delete(a.Key, metav1.DeleteOptions{}, time.Now()))
		case a.Live == nil:
			tx.Changes = append(tx.Changes, change.CreateOf(a.Kind, a.Object, time.Now()))
		default:
			tx.Changes = append(tx.Changes, change.UpdateOf(a.Kind, a.Object))
		}
	}
	if _, err := s.Commit(context.Background(), tx); err != nil {
		tb.Fatal(err)
	}
}

// lines are a plan's actions: "Create Namespace/web", with the changed fields.
func lines(res plan.Result) []string {
	var list []string
	for _, a := range res.Actions {
		line := fmt.Sprintf("%s %s/%s", a.Type, a.Key.Kind, a.Key.Name)
		if a.Type == plan.Update {
			for _, f := range a.Fields {
				line += fmt.Sprintf(" %s:%v>%v", f.Path, f.Old, f.New)
			}
		}
		if a.Restart {
			line += " restart"
		}
		list = append(list, line)
	}
	for _, e := range res.Errors {
		list = append(list, "error "+e.Error())
	}
	return list
}

func want(tb testing.TB, res plan.Result, lineList ...string) {
	tb.Helper()
	if diff := cmp.Diff(lineList, lines(res)); diff != "" {
		tb.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestOrderAndIdempotence(t *testing.T) {
	s := memstore.New()
	list := items(t, deploy, service, config, namespace)
	res := plan.New(nil).Plan(t.Context(), input(list), s)
	want(t, res, "Create Namespace/web", "Create ConfigMap/web", "Create Service/web", "Create Deployment/web")
	carryOut(t, s, res)
	// Neither defaults nor what the server set is a difference, also for a
	// planner that remembers nothing.
	again := plan.New(nil).Plan(t.Context(), input(list), s)
	want(t, again, "Unchanged Namespace/web", "Unchanged ConfigMap/web", "Unchanged Service/web", "Unchanged Deployment/web")
	for _, a := range again.Actions {
		if a.Writes() {
			t.Errorf("%s is written again", a.Key)
		}
	}
	// Deletions come in reverse order.
	in := input(items(t, namespace))
	in.Inventory = res.Inventory
	want(t, plan.New(nil).Plan(t.Context(), in, s), "Unchanged Namespace/web", "Delete Deployment/web", "Delete Service/web", "Delete ConfigMap/web")
}

func setUp(tb testing.TB, docs ...string) (*memstore.Store, *plan.Planner, plan.Result) {
	tb.Helper()
	s, p := memstore.New(), plan.New(nil)
	res := p.Plan(tb.Context(), input(items(tb, docs...)), s)
	carryOut(tb, s, res)
	return s, p, res
}

func edit[T object.Object](tb testing.TB, s *memstore.Store, kind, name string, f func(T)) {
	tb.Helper()
	group := map[string]string{"Deployment": "apps", "HorizontalPodAutoscaler": "autoscaling"}
	key := object.Key{GroupKind: schema.GroupKind{Group: group[kind], Kind: kind}, Namespace: "web", Name: name}
	c := change.Patch(key, func(o object.Object) bool {
		f(o.(T))
		return true
	})
	if _, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{c}}); err != nil {
		tb.Fatal(err)
	}
}

func TestFieldOwnership(t *testing.T) {
	s, p, _ := setUp(t, namespace, config, deploy)
	edit(t, s, "ConfigMap", "web", func(c *corev1.ConfigMap) {
		c.Data = map[string]string{"a": "by hand", "theirs": "stays"} // b is gone
	})
	edit(t, s, "Deployment", "web", func(d *appsv1.Deployment) {
		spec := &d.Spec.Template.Spec
		spec.Containers = append(slices.Clone(spec.Containers), corev1.Container{Name: "sidecar", Image: "sidecar:1"})
		spec.Containers[0].Image = "web:hand"
		n := int32(4)
		d.Spec.Replicas = &n
		d.Labels["theirs"] = "stays"
	})
	res := p.Plan(t.Context(), input(items(t, namespace, config, deploy)), s)
	want(t, res, "Unchanged Namespace/web", "Update ConfigMap/web data.a:by hand>one data.b:<nil>>two",
		"Update Deployment/web spec.template.spec.containers[name=web].image:web:hand>web:1 restart")
	carryOut(t, s, res)

	// What Git no longer sets goes; the rest stays.
	res = p.Plan(t.Context(), input(items(t, namespace, strings.Replace(config, ", b: two", "", 1), strings.Replace(deploy, "        env: [{name: MODE, value: prod}]\n", "", 1))), s)
	want(t, res, "Unchanged Namespace/web", "Update ConfigMap/web data.b:two><nil>",
		"Update Deployment/web spec.template.spec.containers[name=web].env[name=MODE].name:MODE><nil> spec.template.spec.containers[name=web].env[name=MODE].value:prod><nil> restart")
}

// Objects made by others are taken over visibly; those of another
// Kustomization are not.
func TestAdoption(t *testing.T) {
	s := memstore.New()
	for _, obj := range []object.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "web", ManagedFields: nil}, Data: map[string]string{"a": "theirs", "c": "stays"}},
	} {
		if _, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{change.Create(obj, time.Now())}}); err != nil {
			t.Fatal(err)
		}
	}
	res := plan.New(nil).Plan(t.Context(), input(items(t, config)), s)
	want(t, res, "Update ConfigMap/web data.a:theirs>one data.b:<nil>>two metadata.labels[kustomize.toolkit.fluxcd.io/name]:<nil>>cluster metadata.labels[kustomize.toolkit.fluxcd.io/namespace]:<nil>>headway-system")
	carryOut(t, s, res)
	in := input(items(t, config))
	in.Owner = plan.Owner{Namespace: "other", Name: "thief"}
	in.Claimed = func(object.Key) (plan.Owner, bool) { return owner, true }
	want(t, plan.New(nil).Plan(t.Context(), in, s), "error 0.yaml:1: ConfigMap web/web: is managed by the Kustomization headway-system/cluster: remove it from there first")
}

func TestPrune(t *testing.T) {
	keep := strings.Replace(config, "name: web,", "name: keep, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled},", 1)
	moved := strings.Replace(config, "name: web,", "name: moved,", 1)
	s, _, res := setUp(t, namespace, config, keep, moved)
	edit(t, s, "ConfigMap", "moved", func(c *corev1.ConfigMap) { c.Labels = nil })
	in := input(items(t, namespace))
	in.Inventory = res.Inventory
	want(t, plan.New(nil).Plan(t.Context(), in, s), "Unchanged Namespace/web", "Delete ConfigMap/web", "Skip ConfigMap/moved", "Skip ConfigMap/keep")
	in.Prune = false
	want(t, plan.New(nil).Plan(t.Context(), in, s), "Unchanged Namespace/web")
}

func TestRefusals(t *testing.T) {
	s, _, _ := setUp(t, namespace)
	want(t, plan.New(nil).Plan(t.Context(), input(items(t, strings.ReplaceAll(config, "namespace: web", "namespace: none"))), s),
		`error 0.yaml:1: ConfigMap none/web: namespaces "none" not found: declare the Namespace in the repository, too`)
	want(t, plan.New(nil).Plan(t.Context(), input(items(t, config, config)), s),
		"Create ConfigMap/web", "error 1.yaml:1: ConfigMap web/web: declared twice, also in 0.yaml:1")
	disabled := strings.Replace(config, "name: web,", "name: web, annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled},", 1)
	want(t, plan.New(nil).Plan(t.Context(), input(items(t, disabled)), s), "Skip ConfigMap/web")
}

// BenchmarkPlan plans 1,000 ConfigMaps: all new, and none changed.
func BenchmarkPlan(b *testing.B) {
	docs := []string{namespace}
	for i := range 1000 {
		docs = append(docs, strings.Replace(config, "name: web,", fmt.Sprintf("name: c%d,", i), 1))
	}
	list := items(b, docs...)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			plan.New(nil).Plan(b.Context(), input(list), memstore.New())
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		s, p := memstore.New(), plan.New(nil)
		carryOut(b, s, p.Plan(b.Context(), input(list), s))
		p.Plan(b.Context(), input(list), s)
		for b.Loop() {
			p.Plan(b.Context(), input(list), s)
		}
	})
}

// A fork knows what its planner does; what it finds out, its planner does not
// take for done.
// The number that their controller gives Deployments is no drift, and nothing is
// compared for it, unless the manifest has it, or somebody else has set it.
func TestRevisionOfDeployments(t *testing.T) {
	const annotation = "deployment.kubernetes.io/revision"
	numbered := strings.Replace(deploy, "name: web,", "name: web, annotations: {"+annotation+": \"1\"},", 1)
	number := func(d *appsv1.Deployment) { metav1.SetMetaDataAnnotation(&d.ObjectMeta, annotation, "2") }
	for name, tt := range map[string]struct {
		manifest string
		edit     func(*appsv1.Deployment)
		drifted  bool
		want     string
	}{
		"of the controller": {deploy, number, false, "Unchanged Deployment/web"},
		"and another": {deploy, func(d *appsv1.Deployment) {
			number(d)
			metav1.SetMetaDataAnnotation(&d.ObjectMeta, "note", "x")
		}, true, "Unchanged Deployment/web"},
		"and another field": {deploy, func(d *appsv1.Deployment) {
			number(d)
			d.Spec.Template.Spec.Containers[0].Image = "web:2"
		}, true, "Update Deployment/web spec.template.spec.containers[name=web].image:web:2>web:1 restart"},
		"by hand": {deploy, func(d *appsv1.Deployment) {
			number(d)
			d.ManagedFields = append(d.ManagedFields, by("kubectl-annotate", "", "apps/v1", `{"f:metadata":{"f:annotations":{"f:deployment.kubernetes.io/revision":{}}}}`))
		}, true, "Update Deployment/web metadata.annotations[deployment.kubernetes.io/revision]:2><nil>"},
		"in the manifest": {numbered, number, true, "Update Deployment/web metadata.annotations[deployment.kubernetes.io/revision]:2>1"},
	} {
		t.Run(name, func(t *testing.T) {
			list := items(t, namespace, tt.manifest)
			s, p := memstore.New(), plan.New(nil)
			carryOut(t, s, p.Plan(t.Context(), input(list), s))
			p.Plan(t.Context(), input(list), s) // it knows what is stored
			key := object.Key{GroupKind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Namespace: "web", Name: "web"}
			if p.Drifted(key, s.Get(key)) {
				t.Error("it has drifted before it is edited")
			}
			edit(t, s, "Deployment", "web", tt.edit)
			if got := p.Drifted(key, s.Get(key)); got != tt.drifted {
				t.Errorf("it has drifted: %t, want %t", got, tt.drifted)
			}
			res := p.Plan(t.Context(), input(list), s)
			want(t, res, "Unchanged Namespace/web", tt.want)
			if compared := res.Compared > 0; compared != tt.drifted {
				t.Errorf("%d objects are compared", res.Compared)
			}
		})
	}
}

func TestFork(t *testing.T) {
	list := items(t, namespace, config)
	s, p, _ := setUp(t)
	carryOut(t, s, p.Plan(t.Context(), input(list), s))
	p.Plan(t.Context(), input(list), s)
	fork := p.Fork()
	if res := fork.Plan(t.Context(), input(list), s); res.Changes() || res.Compared != 0 {
		t.Errorf("the fork compared %d objects and found changes: %t, want neither", res.Compared, res.Changes())
	}
	edited := items(t, namespace, config)
	edited[1].Object.SetLabels(map[string]string{"new": "label"})
	want(t, fork.Plan(t.Context(), input(edited), s), "Unchanged Namespace/web", "Update ConfigMap/web metadata.labels.new:<nil>>label")
	if res := p.Plan(t.Context(), input(list), s); res.Changes() || res.Compared != 0 {
		t.Errorf("after the fork's plan %d objects are compared, changes: %t, want neither", res.Compared, res.Changes())
	}
	edit(t, s, "ConfigMap", "web", func(c *corev1.ConfigMap) { c.Data = nil })
	if res := p.Fork().Plan(t.Context(), input(list), s); !res.Changes() || res.Compared != 1 {
		t.Errorf("after an edit by hand the fork compared %d objects, changes: %t, want the one", res.Compared, res.Changes())
	}
}
