package syncer_test

import (
	"os"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// One invalid manifest among good ones: nothing of the commit is applied, and
// file, line and field are named; the next good commit is.
func TestInvalidManifestChangesNothing(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))

	w.write(map[string]string{"a.yaml": configMap("a", "two"), "b.yaml": configMap("b", "two") + "unknown: 1\n", "c.yaml": configMap("c", "{x: y}")})
	w.push("bad")
	w.eventually("the bad commit is refused", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False BuildFailed") })
	got := w.ready("Kustomization")
	for _, want := range []string{"b.yaml:8", "unknown", "c.yaml:7", "data.key"} {
		if !strings.Contains(got, want) {
			t.Errorf("the condition %q does not name %q", got, want)
		}
	}
	if a := w.configMap("a")["key"]; a != "one" {
		t.Errorf("a.data.key = %q: the bad commit was applied in part", a)
	}
	// The last good commit is still defended.
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("the edit by hand is put back", func() bool { return w.configMap("a")["key"] == "one" })
	if got := w.ready("Kustomization"); !strings.HasPrefix(got, "False BuildFailed") {
		t.Errorf("after putting back: %q", got)
	}

	w.write(map[string]string{"b.yaml": configMap("b", "three"), "c.yaml": ""})
	w.applied(w.push("good"))
	if a, b := w.configMap("a")["key"], w.configMap("b")["key"]; a != "two" || b != "three" {
		t.Errorf("after the good commit a = %q, b = %q", a, b)
	}
}

// What Git sets comes back, what others set stays, and what nobody declared is
// never touched.
func TestDrift(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "git")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mine"}, Data: map[string]string{"key": "mine"}})
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data = map[string]string{"key": "by hand", "other": "stays"}
		return true
	}))
	w.eventually("the edit is put back", func() bool { return w.configMap("a")["key"] == "git" })
	if got := w.configMap("a")["other"]; got != "stays" {
		t.Errorf("a.data.other = %q, want stays", got)
	}
	w.commit(change.Delete(key("ConfigMap", "default", "a"), metav1.DeleteOptions{}, time.Now()))
	w.eventually("the deleted object is back", func() bool { return w.configMap("a")["key"] == "git" })

	// An empty commit, to know that the whole inventory was looked at.
	w.applied(w.push("empty"))
	if got := w.configMap("mine")["key"]; got != "mine" {
		t.Errorf("the object that nobody declared is %q", got)
	}
	log, err := w.sync.Log("cm", "default", "a", -1, 10)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, e := range log {
		types = append(types, e.Type)
	}
	if got := strings.Join(types, " "); got != "drift drift applied" {
		t.Errorf("log of a: %q", got)
	}
}

// A settled system writes nothing.
func TestNothingToDoWritesNothing(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "d.yaml": deployment("web:1")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.eventually("the finalizer is set", func() bool { return len(w.ks().Finalizers) == 1 })
	n := w.store.Commits()
	// A change of a status wakes the loop, which finds nothing to do.
	w.commit(change.PatchStatus(key("Deployment", "default", "web"), func(o object.Object) bool {
		o.(*appsv1.Deployment).Status.Replicas = 1
		return true
	}))
	// What is put back after it tells that the loop has been there.
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("a is put back", func() bool { return w.configMap("a")["key"] == "one" })
	if got := w.store.Commits() - n; got != 3 {
		t.Errorf("%d transactions after a status change and an edit, want these two and the one that takes the edit back", got)
	}
}

func deployment(image string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
spec:
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: ` + image + "\n"
}

func (w *world) deployment() *appsv1.Deployment {
	d, _ := w.store.Get(key("Deployment", "default", "web")).(*appsv1.Deployment)
	return d
}

// rollout does the deployment controller's part.
func (w *world) rollout() {
	w.t.Helper()
	w.commit(change.PatchStatus(key("Deployment", "default", "web"), func(o object.Object) bool {
		d := o.(*appsv1.Deployment)
		n := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{
			ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n,
			Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue},
				{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
			},
		}
		return true
	}))
}

// fail says what the controller says after the progress deadline.
func (w *world) fail() {
	w.t.Helper()
	w.commit(change.PatchStatus(key("Deployment", "default", "web"), func(o object.Object) bool {
		d := o.(*appsv1.Deployment)
		d.Status.ObservedGeneration = d.Generation
		d.Status.Conditions = []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: `ReplicaSet "web-1" has timed out progressing.`,
		}}
		return true
	}))
}

func waitForHealth(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
	ks.Spec.Wait = true
	ks.Spec.Timeout = &metav1.Duration{Duration: time.Hour}
}

func TestVerdict(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, waitForHealth)
	first := git(t, w.work, "rev-parse", "HEAD")
	running := "Unknown Progressing Running health checks for revision main@sha1:"
	w.eventually("health is being waited for", func() bool { return strings.HasPrefix(w.ready("Kustomization"), running+first) })
	w.rollout()
	w.applied(first)

	// A newer commit supersedes a pending verdict at once.
	w.write(map[string]string{"d.yaml": deployment("web:2")})
	second := w.push("second")
	w.eventually("second is waited for", func() bool { return strings.HasPrefix(w.ready("Kustomization"), running+second) })
	w.write(map[string]string{"d.yaml": deployment("web:3")})
	third := w.push("third")
	w.eventually("third is waited for", func() bool { return strings.HasPrefix(w.ready("Kustomization"), running+third) })

	w.fail()
	w.eventually("the failure is a verdict", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False HealthCheckFailed") })
	if got := w.ready("Kustomization"); !strings.Contains(got, "Deployment/default/web status: 'Failed'") {
		t.Errorf("condition is %q", got)
	}
	// A failing commit does not block a newer one.
	w.write(map[string]string{"d.yaml": deployment("web:4")})
	fourth := w.push("fourth")
	w.eventually("fourth is waited for", func() bool { return strings.HasPrefix(w.ready("Kustomization"), running+fourth) })
	w.rollout()
	w.applied(fourth)

	log, err := w.sync.Log("deploy", "", "web", -1, 10)
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []string
	for _, e := range log {
		verdicts = append(verdicts, e.Commit.Subject+"="+string(e.Verdict))
	}
	if got, want := strings.Join(verdicts, " "), "fourth=healthy third=failed second=superseded first commit=healthy"; got != want {
		t.Errorf("log of deploy/web = %q, want %q", got, want)
	}
	if n, err := w.sync.VerifyJournal(); err != nil || n != 8 {
		t.Errorf("VerifyJournal() = %d, %v, want 8 entries", n, err)
	}
}

// Replicas that the manifest does not set belong to whoever scales.
func TestReplicasAreLeftAlone(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.commit(change.Patch(key("Deployment", "default", "web"), func(o object.Object) bool {
		n := int32(5)
		o.(*appsv1.Deployment).Spec.Replicas = &n
		return true
	}))
	w.write(map[string]string{"d.yaml": deployment("web:2")})
	w.applied(w.push("second"))
	d := w.deployment()
	if got := d.Spec.Template.Spec.Containers[0].Image; *d.Spec.Replicas != 5 || got != "web:2" {
		t.Errorf("replicas = %d, image = %s; want 5, web:2", *d.Spec.Replicas, got)
	}
}

// An emptied repository deletes nothing until that is allowed.
func TestDeleteBudget(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one"), "README.md": "hello"}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"a.yaml": "", "b.yaml": ""})
	empty := w.push("remove everything")
	w.eventually("the commit is held", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False PruneFailed") })
	if got := w.ready("Kustomization"); !strings.Contains(got, `headway.dev/max-deletes: "2"`) {
		t.Errorf("the condition does not say what to do: %q", got)
	}
	if w.configMap("a") == nil || w.configMap("b") == nil {
		t.Fatal("something was deleted")
	}
	w.annotate("Kustomization", "headway.dev/max-deletes", "2")
	w.applied(empty)
	if w.configMap("a") != nil || w.configMap("b") != nil {
		t.Error("nothing was deleted although it was allowed")
	}
}

func (w *world) annotate(kind, name, value string) {
	w.t.Helper()
	w.commit(change.Patch(key(kind, "headway-system", "cluster"), func(o object.Object) bool {
		m := map[string]string{name: value}
		for k, v := range o.GetAnnotations() {
			if k != name {
				m[k] = v
			}
		}
		o.SetAnnotations(m)
		return true
	}))
}

// A force-pushed branch is not followed until its head is accepted, also not
// after a restart.
func TestForcePush(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	first := git(t, w.work, "rev-parse", "HEAD")
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	second := w.push("second")
	w.applied(second)
	git(t, w.work, "push", "-q", "--force", "origin", first+":main")
	w.eventually("the rewritten history stops the source", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False HistoryRewritten") })
	w.stop()
	w.start()
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("what is applied is still defended", func() bool { return w.configMap("a")["key"] == "two" })
	if got := w.ready("GitRepository"); !strings.HasPrefix(got, "False HistoryRewritten") || !strings.Contains(got, "headway.dev/accept-history="+first) {
		t.Errorf("after a restart: %q", got)
	}
	w.annotate("GitRepository", "headway.dev/accept-history", first)
	w.applied(first)
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("after accepting: a = %q", got)
	}
}

// A repository that is gone stops nothing, and is taken up again.
func TestGitUnreachable(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.stop()
	if err := os.Rename(w.bare, w.bare+".away"); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.eventually("the outage is said", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False") })
	got := w.ready("GitRepository")
	for _, want := range []string{"failing since", "next try at", "keeps running"} {
		if !strings.Contains(got, want) {
			t.Errorf("condition %q lacks %q", got, want)
		}
	}
	if w.configMap("a")["key"] != "one" {
		t.Error("the outage removed an object")
	}
	if err := os.Rename(w.bare+".away", w.bare); err != nil {
		t.Fatal(err)
	}
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.push("after the outage"))
}

func TestWrongBranchAndPath(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		src.Spec.Reference.Branch = "production"
		ks.Spec.Path = "./clusters/prod"
	})
	w.eventually("the branch is missing", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False GitOperationFailed") })
	if got := w.ready("GitRepository"); !strings.Contains(got, `couldn't find remote ref "refs/heads/production": the branches are main`) {
		t.Errorf("condition is %q", got)
	}
	w.commit(change.Patch(key("GitRepository", "headway-system", "cluster"), func(o object.Object) bool {
		o.(*sourcev1.GitRepository).Spec.Reference.Branch = "main"
		return true
	}))
	w.eventually("the path is missing", func() bool {
		return strings.HasPrefix(w.ready("Kustomization"), "False ArtifactFailed kustomization path not found")
	})
	w.write(map[string]string{"clusters/prod/a.yaml": configMap("a", "prod")})
	w.applied(w.push("add the path"))
	if got := w.configMap("a")["key"]; got != "prod" {
		t.Errorf("a = %q, want prod", got)
	}
}

// Git declares more sources and Kustomizations; what another one manages is
// not adopted; what is removed with a Kustomization goes.
func TestNestedKustomizations(t *testing.T) {
	nested := func(name, path, extra string) string {
		return "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: " + name + ", namespace: headway-system}\n" +
			"spec:\n  interval: 1h\n  prune: true\n  path: " + path + "\n  sourceRef: {kind: GitRepository, name: cluster}\n" + extra
	}
	w := newWorld(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/two.yaml": nested("two", "./two", "  targetNamespace: two\n  dependsOn: [{name: one}]\n"),
		"one/a.yaml":       configMap("a", "one"),
		"two/ns.yaml":      "apiVersion: v1\nkind: Namespace\nmetadata: {name: two}\n",
		"two/b.yaml":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {key: two}\n",
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "cluster" })
	w.eventually("both are applied", func() bool {
		return w.configMap("a")["key"] == "one" && w.store.Get(key("ConfigMap", "two", "b")) != nil
	})
	w.write(map[string]string{"two/a.yaml": configMap("a", "stolen")})
	// targetNamespace would move it.
	w.write(map[string]string{"cluster/two.yaml": nested("two", "./two", "")})
	w.write(map[string]string{"two/b.yaml": strings.Replace("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: two}\ndata: {key: two}\n", "key", "k", 1)})
	w.push("steal a")
	two := func() string {
		ks, ok := w.store.Get(key("Kustomization", "headway-system", "two")).(*kustomizev1.Kustomization)
		if !ok {
			return "gone"
		}
		for _, c := range ks.Status.Conditions {
			if c.Type == meta.ReadyCondition {
				return string(c.Status) + " " + c.Message
			}
		}
		return ""
	}
	w.eventually("the conflict is said", func() bool { return strings.Contains(two(), "is managed by the Kustomization headway-system/one") })
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("a = %q, want one", got)
	}
	w.write(map[string]string{"cluster/two.yaml": ""})
	w.applied(w.push("remove two"))
	w.eventually("two and what it applied are gone", func() bool { return two() == "gone" && w.store.Get(key("ConfigMap", "two", "b")) == nil })
	if w.configMap("a") == nil {
		t.Error("a went with a Kustomization that did not apply it")
	}
}

func (w *world) ksKey() object.Key { return key("Kustomization", "headway-system", "cluster") }

// Requests by annotation are handled and acknowledged; suspended ones wait.
func TestSuspendAndRequest(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
		o.(*kustomizev1.Kustomization).Spec.Suspend = true
		return true
	}))
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	second := w.push("second")
	w.eventually("the source goes on", func() bool { return strings.Contains(w.ready("GitRepository"), second) })
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("suspended, and a = %q", got)
	}
	w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
		o.(*kustomizev1.Kustomization).Spec.Suspend = false
		return true
	}))
	w.applied(second)
	w.annotate("Kustomization", meta.ReconcileRequestAnnotation, "now")
	w.eventually("the request is handled", func() bool { return w.ks().Status.LastHandledReconcileAt == "now" })
}

// A change of an immutable field is refused by name, or recreates with force.
func TestImmutable(t *testing.T) {
	immutable := func(v string) string { return configMap("a", v) + "immutable: true\n" }
	w := newWorld(t, map[string]string{"a.yaml": immutable("one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	uid := w.store.Get(key("ConfigMap", "default", "a")).GetUID()
	w.write(map[string]string{"a.yaml": immutable("two")})
	second := w.push("second")
	w.eventually("the change is refused", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False ReconciliationFailed") })
	if got := w.ready("Kustomization"); !strings.Contains(got, "a.yaml") || !strings.Contains(got, "immutable") {
		t.Errorf("condition is %q", got)
	}
	w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
		o.(*kustomizev1.Kustomization).Spec.Force = true
		return true
	}))
	w.applied(second)
	if a := w.store.Get(key("ConfigMap", "default", "a")); a.GetUID() == uid || w.configMap("a")["key"] != "two" {
		t.Errorf("not recreated: uid %s, data %v", a.GetUID(), w.configMap("a"))
	}
}
