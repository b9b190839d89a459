package syncer_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/preview/rollout"
	"headway.dev/syncer/wire"
)

// plan asks for a plan and fails the test if there is none.
func (w *world) plan(req wire.PlanRequest) wire.Plans {
	w.t.Helper()
	var p wire.Plans
	if code, body := w.call("plan", req, &p); code != http.StatusOK {
		w.t.Fatalf("plan: %d %s", code, body)
	}
	return p
}

// branch commits files on a branch of their own and leaves main as it is.
func (w *world) branch(name string, files map[string]string) {
	w.t.Helper()
	git(w.t, w.work, "checkout", "-q", "-b", name)
	w.write(files)
	git(w.t, w.work, "add", "-A")
	git(w.t, w.work, "commit", "-q", "-m", name)
	git(w.t, w.work, "push", "-q", "origin", "HEAD:"+name)
	git(w.t, w.work, "checkout", "-q", "main")
}

// workload is a Deployment with a strategy, and what its pods request.
func workload(name, image string, replicas int, more string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: default}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: main
        image: %[2]s
        resources: {requests: {cpu: 100m}}
%[4]s`, name, image, replicas, more)
}

// pods gives a stored Deployment pods, as its controllers would.
func (w *world) pods(deployment string, n int) []string {
	w.t.Helper()
	d, ok := w.store.Get(key("Deployment", "default", deployment)).(*appsv1.Deployment)
	if !ok {
		w.t.Fatalf("no Deployment %s", deployment)
	}
	controller := func(kind, name string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: uid, Controller: new(true)}}
	}
	w.create(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: deployment + "-rs", OwnerReferences: controller("Deployment", deployment, d.UID)}})
	rs := w.store.Get(object.Key{GroupKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet").GroupKind(), Namespace: "default", Name: deployment + "-rs"})
	var names []string
	for i := range n {
		name := fmt.Sprintf("%s-rs-%d", deployment, i)
		w.create(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, OwnerReferences: controller("ReplicaSet", rs.GetName(), rs.GetUID())},
			Spec:       corev1.PodSpec{NodeName: "a", Containers: []corev1.Container{{Name: "main"}}},
		})
		names = append(names, name)
	}
	return names
}

// A plan names the pods that leave, how many at a time, and what comes; what
// each would be asked of the nodes goes to the simulation, and its answer into
// the plan.
func TestPlanPods(t *testing.T) {
	recreate := "  strategy: {type: Recreate}\n"
	w := newWorld(t, map[string]string{
		"roll.yaml": workload("roll", "web:1", 4, ""), "all.yaml": workload("all", "web:1", 2, recreate), "up.yaml": workload("up", "web:1", 2, ""),
		"down.yaml": workload("down", "web:1", 3, ""), "gone.yaml": workload("gone", "web:1", 2, ""), "still.yaml": workload("still", "web:1", 2, ""),
	}, nil)
	w.stop()
	var asked []rollout.Rollout
	var decides []object.Object // which the plan brings, and the simulation has to know
	w.cfg = func(cfg *syncer.Config) {
		cfg.Simulate = func(_ context.Context, planned object.Reader, list []rollout.Rollout) []rollout.Placement {
			asked, decides = list, nil
			for _, kind := range []schema.GroupKind{{Group: "scheduling.k8s.io", Kind: "PriorityClass"}, {Group: "storage.k8s.io", Kind: "StorageClass"}, {Kind: "PersistentVolume"}} {
				decides = append(decides, planned.Get(object.Key{GroupKind: kind, Name: "high"}))
			}
			victim := func(name string, priority int32, then string) rollout.Victim {
				return rollout.Victim{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{Priority: &priority}}, Then: then}
			}
			out := make([]rollout.Placement, len(list))
			for i, r := range list {
				out[i].Placed = r.Count
				if r.Pod != nil && r.Pod.Name == "roll" {
					out[i] = rollout.Placement{Placed: 1, Stuck: true, Message: "0/1 nodes are available: 1 Insufficient cpu."}
				}
				if r.Pod != nil && r.Pod.Name == "up" {
					out[i].Late, out[i].Victims = 1, []rollout.Victim{victim("x", 7, wire.VictimMoves), victim("y", -1, wire.VictimPending), victim("z", 0, wire.VictimEnds)}
				}
				if r.Pod != nil && r.Pod.Name == "all" {
					out[i].Late = 2
				}
			}
			return out
		}
	}
	w.start()
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	pods := map[string][]string{}
	for name, n := range map[string]int{"roll": 4, "all": 2, "up": 2, "down": 3, "gone": 2, "still": 2} {
		pods[name] = w.pods(name, n)
	}
	w.branch("next", map[string]string{
		"roll.yaml": workload("roll", "web:2", 4, ""), "all.yaml": workload("all", "web:2", 2, recreate), "up.yaml": workload("up", "web:1", 5, ""),
		"down.yaml": workload("down", "web:1", 1, ""), "gone.yaml": "", "new.yaml": workload("new", "web:1", 3, ""),
		"class.yaml": "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 9\n" +
			"---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: high}\nprovisioner: example.com/disks\n" +
			"---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {name: high}\nspec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /srv}}\n",
	})
	p := w.plan(wire.PlanRequest{Rev: "next"})
	one := func(r wire.Rollout) wire.Rollout { r.Kind, r.Namespace = "Deployment", "default"; return r }
	want := []wire.Rollout{
		one(wire.Rollout{Name: "all", Replaced: pods["all"], New: 2, Strategy: "Recreate", Schedule: wire.ScheduleFitsLate, Late: 2}),
		one(wire.Rollout{Name: "down", Fewer: 2}),
		one(wire.Rollout{Name: "new", New: 3, Schedule: wire.ScheduleFits}),
		one(wire.Rollout{Name: "roll", Replaced: pods["roll"], New: 4, Strategy: "RollingUpdate", MaxSurge: 1, MaxUnavailable: 1, Schedule: wire.ScheduleStuck, Pending: 3, Message: "0/1 nodes are available: 1 Insufficient cpu."}),
		one(wire.Rollout{Name: "up", New: 3, Schedule: wire.SchedulePreempts, Late: 1, Preempts: []wire.Victim{
			{Namespace: "default", Name: "x", Priority: 7, Then: "Moves"}, {Namespace: "default", Name: "y", Priority: -1, Then: "Pending"}, {Namespace: "default", Name: "z", Then: "Ends"},
		}}),
		one(wire.Rollout{Name: "gone", Removed: pods["gone"]}),
	}
	if d := cmp.Diff(want, p.Rollouts); d != "" {
		t.Errorf("rollouts (-want +got):\n%s", d)
	}
	type sim struct {
		Name                                  string
		Count, Old, Surge, Unavailable, Milli int
		Free                                  bool
	}
	var got []sim
	for _, r := range asked {
		s := sim{Count: r.Count, Old: len(r.Old), Surge: r.Surge, Unavailable: r.Unavailable, Free: r.Free}
		if r.Pod != nil {
			s.Name, s.Milli = r.Pod.Name, int(r.Pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue())
		}
		got = append(got, s)
	}
	if d := cmp.Diff([]sim{
		{Name: "all", Count: 2, Old: 2, Milli: 100, Free: true},
		{Old: 2, Free: true},
		{Name: "new", Count: 3, Milli: 100},
		{Name: "roll", Count: 4, Old: 4, Surge: 1, Unavailable: 1, Milli: 100},
		{Name: "up", Count: 3, Milli: 100},
		{Old: 2, Free: true},
	}, got); d != "" {
		t.Errorf("simulated (-want +got):\n%s", d)
	}
	check(t, p, wire.CheckWarning, "scheduling", "Deployment/default/roll: the update would stand still with 3 of 4 new pods pending", "Insufficient cpu")
	check(t, p, wire.CheckPassed, "scheduling", "Deployment/default/all: 2 of 2 new pods fit only where old pods leave")
	check(t, p, wire.CheckPassed, "scheduling", "there is room for 3 new pods beside today's")
	check(t, p, wire.CheckWarning, "scheduling", "Deployment/default/up: 3 new pods would preempt pod default/x (priority 7), which gets another node; "+
		"pod default/y (priority -1), which would stay pending; pod default/z (priority 0), which nobody makes again")
	if len(decides) != 3 || slices.Contains(decides, nil) {
		t.Errorf("the simulation knows of what the plan brings: %v", decides)
	}
	check(t, p, wire.CheckPassed, flux.MaxDeletes, "1 deletion, no bound is set")
}

// check wants a check with words in its message.
func check(tb testing.TB, p wire.Plans, result, name string, words ...string) {
	tb.Helper()
	for _, c := range p.Checks {
		ok := c.Result == result && c.Name == name
		for _, word := range words {
			ok = ok && strings.Contains(c.Message, word)
		}
		if ok {
			return
		}
	}
	tb.Errorf("no check %s %s with %q among %+v", result, name, words, p.Checks)
}

// A plan says which policies and budgets the commit meets.
// TestFieldsWithoutEffect: what a commit sets in vain is told before, as a
// warning of its plan, and after, as an event with the object; what would break
// a promise is refused by the plan and the sync alike.
func TestFieldsWithoutEffect(t *testing.T) {
	service := func(spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: [{port: 80}]\n  " + spec + "\n"
	}
	const foreign = "type: LoadBalancer\n  loadBalancerClass: example.com/other"
	events := &recorder{}
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(c *syncer.Config) { c.Events = events })
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: s}\nspec:\n  containers: [{name: c, image: i}]\n  hostUsers: false\n"
	w.branch("refused", map[string]string{"s.yaml": pod})
	p := w.plan(wire.PlanRequest{Rev: "refused"})
	if len(p.Errors) != 1 || p.Errors[0].Field != "spec.hostUsers" || p.Errors[0].Line != 6 || !strings.Contains(p.Errors[0].Message, "not supported yet") {
		t.Errorf("errors = %+v, want one of spec.hostUsers in line 6", p.Errors)
	}
	w.branch("hint", map[string]string{"s.yaml": service(foreign)})
	check(t, w.plan(wire.PlanRequest{Rev: "hint"}), wire.CheckWarning, "spec.loadBalancerClass", "Service/default/s: spec.loadBalancerClass: not supported yet and without effect")
	w.write(map[string]string{"s.yaml": service(foreign)})
	w.applied(w.push("a hint"))
	w.eventually("an event with the Service", func() bool {
		return strings.Contains(events.all(), "FieldWithoutEffect spec.loadBalancerClass: not supported yet")
	})
}

func TestPlanChecks(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one"), "c.yaml": configMap("c", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Annotations = map[string]string{flux.MaxDeletes: "1"}
		ks.Spec.DependsOn = nil
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.branch("one", map[string]string{"a.yaml": ""})
	w.branch("two", map[string]string{"a.yaml": "", "b.yaml": ""})
	p := w.plan(wire.PlanRequest{Rev: "one"})
	check(t, p, wire.CheckPassed, flux.MaxDeletes, "1 deletion, 1 allowed")
	if len(p.Errors) > 0 {
		t.Errorf("errors: %+v", p.Errors)
	}
	p = w.plan(wire.PlanRequest{Rev: "two"})
	check(t, p, wire.CheckFailed, flux.MaxDeletes, "would delete 2 objects", "allows 1")
	if len(p.Errors) != 1 {
		t.Errorf("a plan over its budget has errors %+v, want one", p.Errors)
	}
	p = w.plan(wire.PlanRequest{Files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: 1}\n"}})
	check(t, p, wire.CheckFailed, "validation", "1 fault")

	// A branch that is behind shows what it lacks as taken back.
	w.write(map[string]string{"d.yaml": configMap("d", "one")})
	w.applied(w.push("d"))
	p = w.plan(wire.PlanRequest{Rev: "one"})
	check(t, p, wire.CheckWarning, "history", "it lacks commits of main@sha1:")

	w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
		ks := o.(*kustomizev1.Kustomization)
		ks.Spec.Prune = false
		ks.Spec.DependsOn = []kustomizev1.DependencyReference{{Name: "absent"}}
		return true
	}))
	p = w.plan(wire.PlanRequest{Rev: "two"})
	check(t, p, wire.CheckWarning, "spec.prune", "3 objects no longer declared, and stay", "ConfigMap/default/a", "ConfigMap/default/d")
	check(t, p, wire.CheckWarning, "spec.dependsOn", "headway-system/absent does not exist")
	if p.Summary.Delete != 0 {
		t.Errorf("summary without pruning: %+v", p.Summary)
	}
	w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
		o.(*kustomizev1.Kustomization).Spec.Suspend = true
		return true
	}))
	check(t, w.plan(wire.PlanRequest{Rev: "one"}), wire.CheckWarning, "spec.suspend", "suspended")
}

// What an autoscaler has is not Git's: a plan that asks for another number of replicas
// says that it would come to nothing.
func TestPlanLeavesReplicas(t *testing.T) {
	web := func(replicas int) string {
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: %d\n  selector: {matchLabels: {app: web}}\n"+
			"  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: example.com/web}]}\n", replicas)
	}
	scaler := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 9}\n"
	w := newWorld(t, map[string]string{"web.yaml": web(2), "hpa.yaml": scaler}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.DependsOn, ks.Spec.Wait = nil, false
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.branch("five", map[string]string{"web.yaml": web(5)})
	p := w.plan(wire.PlanRequest{Rev: "five"})
	check(t, p, wire.CheckPassed, "autoscaling", "Deployment/default/web: spec.replicas is left to HorizontalPodAutoscaler web")
	if p.Summary.Update != 0 {
		t.Errorf("summary: %+v", p.Summary)
	}
	w.branch("alone", map[string]string{"web.yaml": web(5), "hpa.yaml": ""})
	if p := w.plan(wire.PlanRequest{Rev: "alone"}); p.Summary.Update != 1 || p.Summary.Delete != 1 {
		t.Errorf("summary without the autoscaler: %+v", p.Summary)
	}
}

func child(name, path, more string) string {
	return fmt.Sprintf(`apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: %s, namespace: headway-system}
spec:
  interval: 1h
  path: %s
  prune: true
  sourceRef: {kind: GitRepository, name: cluster}
%s`, name, path, more)
}

// A commit that adds, changes or removes Kustomizations is planned with what
// those would apply.
func TestPlanNested(t *testing.T) {
	w := newWorld(t, map[string]string{
		"root/old.yaml": child("old", "./old", ""), "root/moved.yaml": child("moved", "./before", ""),
		"old/a.yaml": configMap("old", "one"), "before/m.yaml": configMap("m", "one"), "after/m.yaml": configMap("m", "two"),
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./root" })
	w.eventually("all is applied", func() bool { return w.configMap("old") != nil && w.configMap("m") != nil })
	w.eventually("all is recorded", func() bool {
		for _, name := range []string{"cluster", "old", "moved"} {
			ks, ok := w.store.Get(key("Kustomization", "headway-system", name)).(*kustomizev1.Kustomization)
			if !ok || ks.Status.Inventory == nil || !strings.HasPrefix(w.readyOf(name), "True") {
				return false
			}
		}
		return w.store.Handled()
	})
	files := map[string]string{
		"root/old.yaml": "", "root/moved.yaml": child("moved", "./after", ""),
		"root/apps.yaml": child("apps", "./apps", "  dependsOn: [{name: base}]\n"), "root/base.yaml": child("base", "./base", ""),
		"apps/a.yaml": strings.ReplaceAll(configMap("app", "one"), "namespace: default", "namespace: team"), "base/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n",
	}
	w.branch("next", files)
	n := w.store.Commits()
	p := w.plan(wire.PlanRequest{Rev: "next"})
	type row struct{ Name, Parent, Did string }
	rows := func(p wire.Plans) []row {
		var got []row
		for _, one := range p.Plans {
			r := row{Name: strings.TrimPrefix(one.Kustomization, "headway-system/"), Parent: one.Parent}
			for _, a := range one.Actions {
				r.Did += " " + a.Action + " " + a.Kind + "/" + a.Name
			}
			for _, f := range one.Errors {
				r.Did += " " + f.Message
			}
			got = append(got, r)
		}
		return got
	}
	const root = "headway-system/cluster"
	want := map[string]row{
		"cluster": {"cluster", "", " Create Kustomization/apps Create Kustomization/base Update Kustomization/moved Delete Kustomization/old"},
		"moved":   {"moved", root, " Update ConfigMap/m"},
		"old":     {"old", root, " Delete ConfigMap/old"},
		"base":    {"base", root, " Create Namespace/team"},
		"apps":    {"apps", root, " Create ConfigMap/app"},
	}
	verify := func(what string, p wire.Plans) {
		t.Helper()
		at := map[string]int{}
		got := map[string]row{}
		for i, r := range rows(p) {
			got[r.Name], at[r.Name] = r, i
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
		if at["base"] > at["apps"] || at["cluster"] > at["base"] {
			t.Errorf("%s: the order is %v, want cluster before base before apps", what, at)
		}
	}
	verify("by revision", p)
	if got := w.store.Commits(); got != n {
		t.Errorf("the plan made %d transactions", got-n)
	}
	// The same by upload of the clone.
	git(t, w.work, "checkout", "-q", "next")
	upload := map[string]string{}
	for name := range strings.FieldsSeq(git(t, w.work, "ls-files")) {
		upload[name] = git(t, w.work, "show", "HEAD:"+name) + "\n"
	}
	verify("by upload", w.plan(wire.PlanRequest{Files: upload}))
}
