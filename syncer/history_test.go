package syncer_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/wire"
)

const webDeployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: web:1
        args: [--port=80]
`

// canary is a secret that must not show in any answer.
const canary = "canary-7f3a91"

const webSecret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: keys\n  namespace: default\nstringData:\n  token: " + canary + "\n"

// pushAs commits as somebody.
func (w *world) pushAs(author, subject string) string {
	w.t.Helper()
	git(w.t, w.work, "add", "-A")
	git(w.t, w.work, "commit", "-q", "--author", author+" <"+author+"@example.com>", "-m", subject)
	git(w.t, w.work, "push", "-q", "origin", "HEAD:main")
	return git(w.t, w.work, "rev-parse", "HEAD")
}

// blame are the fields of an object as "commit author file:line how", or
// "owner name" of what is not from Git.
func (w *world) blame(kind, name string) map[string]string {
	w.t.Helper()
	var b wire.Blame
	if code, body := w.call("blame?kind="+kind+"&name="+name, nil, &b); code != http.StatusOK {
		w.t.Fatalf("blame of %s/%s: %d %s", kind, name, code, body)
	}
	got := map[string]string{}
	for _, f := range b.Fields {
		if f.Owner != wire.OwnerGit {
			got[f.Path] = strings.TrimSpace(f.Owner + " " + f.Name)
			continue
		}
		got[f.Path] = fmt.Sprintf("%.7s %s %s:%d %s", f.Commit, b.Commits[f.Commit].Author.Name, f.File, f.Line, f.How)
	}
	return got
}

func TestBlame(t *testing.T) {
	w := newWorld(t, map[string]string{"apps/web.yaml": webDeployment, "secret.yaml": webSecret}, nil)
	first := git(t, w.work, "rev-parse", "HEAD")
	w.applied(first)
	w.write(map[string]string{"apps/web.yaml": strings.Replace(webDeployment, "web:1", "web:2", 1)})
	second := w.pushAs("Grace", "use web:2")
	w.applied(second)
	w.write(map[string]string{"apps/web.yaml": "# The shop.\n" + strings.Replace(strings.Replace(webDeployment, "web:1", "web:2", 1), "replicas: 2", "replicas: 3", 1)})
	third := w.pushAs("Alan", "more of it")
	w.applied(third)
	// Somebody else's fields.
	w.commit(change.Patch(key("Deployment", "default", "web"), func(o object.Object) bool {
		d, _ := o.(*appsv1.Deployment)
		d.Annotations = map[string]string{"by": "hand"}
		d.ManagedFields = append(d.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: "web-operator", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1", FieldsType: "FieldsV1",
			Time: &metav1.Time{Time: time.Now()}, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:by":{}}}}`),
		})
		return true
	}))
	got := w.blame("deploy", "web")
	const container = "spec.template.spec.containers[name=web]"
	for path, want := range map[string]string{
		"spec.replicas":                                     fmt.Sprintf("%.7s Alan apps/web.yaml:8 manifest", third),
		container + ".image":                                fmt.Sprintf("%.7s Grace apps/web.yaml:17 manifest", second),
		container + ".args":                                 fmt.Sprintf("%.7s Ada apps/web.yaml:18 manifest", first),
		"spec.selector.matchLabels.app":                     fmt.Sprintf("%.7s Ada apps/web.yaml:10 manifest", first),
		"metadata.annotations.by":                           "manager web-operator",
		"metadata.labels[kustomize.toolkit.fluxcd.io/name]": "kustomization headway-system/cluster",
		container + ".imagePullPolicy":                      "default",
		"spec.strategy.type":                                "default",
		"metadata.uid":                                      "server",
	} {
		if got[path] != want {
			t.Errorf("%s: %q, want %q", path, got[path], want)
		}
	}
	// As git has it.
	if out := git(t, w.work, "blame", "-s", "-L8,8", "--abbrev=6", "apps/web.yaml"); !strings.HasPrefix(out, third[:7]) {
		t.Errorf("git blame says %q, want %s", out, third[:7])
	}
	if got := w.blame("secrets", "keys")["data.token"]; got != fmt.Sprintf("%.7s Ada secret.yaml:7 manifest", first) {
		t.Errorf("data.token of the secret: %q", got)
	}
}

// What a Kustomization's own spec sets is traced to the file that declares the
// Kustomization.
func TestBlameThroughKustomizations(t *testing.T) {
	child := `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: child
  namespace: headway-system
spec:
  interval: 1h
  path: ./app
  prune: true
  sourceRef: {kind: GitRepository, name: cluster}
  images:
  - name: web
    newTag: "7"
  patches:
  - patch: |
      - op: replace
        path: /spec/replicas
        value: 5
    target: {kind: Deployment}
`
	w := newWorld(t, map[string]string{"cluster/child.yaml": child, "app/kustomization.yaml": "resources: [web.yaml]\ncommonAnnotations: {team: a}\n", "app/web.yaml": webDeployment},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./cluster" })
	first := git(t, w.work, "rev-parse", "HEAD")
	w.eventually("web is stored", func() bool { return w.store.Get(key("Deployment", "default", "web")) != nil })
	w.write(map[string]string{"cluster/child.yaml": strings.Replace(child, `"7"`, `"8"`, 1)})
	second := w.pushAs("Grace", "tag 8")
	w.eventually("web:8 is stored", func() bool {
		d, _ := w.store.Get(key("Deployment", "default", "web")).(*appsv1.Deployment)
		return d != nil && d.Spec.Template.Spec.Containers[0].Image == "web:8"
	})
	w.eventually("the Kustomization has applied the commit", func() bool {
		ks, _ := w.store.Get(key("Kustomization", "headway-system", "child")).(*kustomizev1.Kustomization)
		return ks != nil && strings.HasSuffix(ks.Status.LastAppliedRevision, second)
	})
	got := w.blame("deployment", "web")
	for path, want := range map[string]string{
		"spec.template.spec.containers[name=web].image": fmt.Sprintf("%.7s Grace cluster/child.yaml:13 images", second),
		"spec.replicas":                                fmt.Sprintf("%.7s Ada cluster/child.yaml:15 json-patch", first),
		"metadata.annotations.team":                    fmt.Sprintf("%.7s Ada app/kustomization.yaml:2 annotations", first),
		"spec.template.spec.containers[name=web].args": fmt.Sprintf("%.7s Ada app/web.yaml:17 manifest", first),
	} {
		if got[path] != want {
			t.Errorf("%s: %q, want %q", path, got[path], want)
		}
	}
}

func TestBlameOfWhatIsNotInGit(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	yes := true
	w.create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", UID: "u", Controller: &yes}}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	})
	w.commit(change.PatchStatus(key("Pod", "default", "p"), func(o object.Object) bool {
		p, _ := o.(*corev1.Pod)
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		return true
	}))
	got := w.blame("pod", "p")
	for path, want := range map[string]string{
		"spec.containers[name=c].image":        "controller ReplicaSet/rs",
		"status.conditions[type=Ready].status": "controller ReplicaSet/rs",
		"metadata.creationTimestamp":           "server",
	} {
		if got[path] != want {
			t.Errorf("%s: %q, want %q", path, got[path], want)
		}
	}
	for query, want := range map[string]int{
		"kind=pod&name=nowhere": http.StatusNotFound, "kind=nonsense&name=x": http.StatusNotFound,
		"kind=pod": http.StatusBadRequest, "kind=pod&name=" + strings.Repeat("x", 600): http.StatusBadRequest, "kind=pod&kind=cm&name=x": http.StatusBadRequest,
	} {
		if code, body := w.call("blame?"+query, nil, nil); code != want {
			t.Errorf("blame?%.40s: %d %s, want %d", query, code, body, want)
		}
	}
}

func TestGetAt(t *testing.T) {
	w := newWorld(t, map[string]string{"web.yaml": webDeployment, "a.yaml": configMap("a", "one"), "s.yaml": webSecret}, nil)
	first := git(t, w.work, "rev-parse", "HEAD")
	w.applied(first)
	between := time.Now()
	w.write(map[string]string{"web.yaml": strings.Replace(webDeployment, "web:1", "web:2", 1), "a.yaml": ""})
	second := w.push("second")
	w.applied(second)
	image := func(at string) string {
		t.Helper()
		var p wire.PastObject
		if code, body := w.call("get?kind=deploy&name=web&at="+url.QueryEscape(at), nil, &p); code != http.StatusOK {
			return fmt.Sprintf("%d %s", code, body)
		}
		data, err := json.Marshal(p.Object)
		if err != nil {
			t.Fatal(err)
		}
		var d appsv1.Deployment
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		return d.Spec.Template.Spec.Containers[0].Image + " " + p.Commit.SHA
	}
	for at, want := range map[string]string{
		"": "web:2 " + second, first: "web:1 " + first, "main~1": "web:1 " + first, first[:10]: "web:1 " + first, "main": "web:2 " + second,
		between.Format(time.RFC3339Nano): "web:1 " + first, "0s": "web:2 " + second,
	} {
		if got := image(at); got != want {
			t.Errorf("at %q: %s, want %s", at, got, want)
		}
	}
	if got := image("2001-01-01"); !strings.HasPrefix(got, "404 ") || !strings.Contains(got, "had not applied anything yet") {
		t.Errorf("at a time before the first sync: %s", got)
	}
	if got := image("no-such-branch"); !strings.HasPrefix(got, "422 ") || !strings.Contains(got, "no-such-branch") {
		t.Errorf("at a branch that is not there: %s", got)
	}
	// What is gone now was wanted then.
	var p wire.PastObject
	if code, body := w.call("get?kind=cm&name=a&at="+first, nil, &p); code != http.StatusOK || p.File != "a.yaml" || p.Line != 1 {
		t.Errorf("a at the first commit: %d %s", code, body)
	}
	if code, body := w.call("get?kind=cm&name=a&at="+second, nil, nil); code != http.StatusNotFound || !strings.Contains(body, "headway log ConfigMap/a") {
		t.Errorf("a at the second commit: %d %s", code, body)
	}
}

// Then counts the Kustomization as it was then, too.
func TestGetAtWithTheSpecOfThen(t *testing.T) {
	child := "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: child, namespace: headway-system}\nspec:\n  interval: 1h\n  path: ./old\n  prune: true\n  sourceRef: {kind: GitRepository, name: cluster}\n"
	w := newWorld(t, map[string]string{"cluster/child.yaml": child, "old/a.yaml": configMap("a", "old")},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./cluster" })
	first := git(t, w.work, "rev-parse", "HEAD")
	w.eventually("a is stored", func() bool { return w.configMap("a")["key"] == "old" })
	w.write(map[string]string{"cluster/child.yaml": strings.Replace(child, "./old", "./new", 1), "old/a.yaml": "", "new/a.yaml": configMap("a", "new")})
	second := w.push("move")
	w.eventually("a is new", func() bool { return w.configMap("a")["key"] == "new" })
	for at, want := range map[string]string{first: "old/a.yaml old", second: "new/a.yaml new"} {
		var p wire.PastObject
		code, body := w.call("get?kind=cm&name=a&at="+at, nil, &p)
		data, _ := p.Object["data"].(map[string]any)
		if got := fmt.Sprintf("%s %v", p.File, data["key"]); code != http.StatusOK || got != want {
			t.Errorf("at %s: %d %s %s, want %s", at, code, got, body, want)
		}
	}
}

func TestDiff(t *testing.T) {
	w := newWorld(t, map[string]string{"web.yaml": webDeployment, "a.yaml": configMap("a", "one"), "s.yaml": webSecret}, nil)
	first := git(t, w.work, "rev-parse", "HEAD")
	w.applied(first)
	w.write(map[string]string{
		"web.yaml": strings.Replace(webDeployment, "web:1", "web:2", 1), "a.yaml": "", "b.yaml": configMap("b", "new"),
		"s.yaml": strings.Replace(webSecret, canary, canary+"2", 1),
	})
	second := w.push("second")
	w.applied(second)
	ask := func(query string) string {
		t.Helper()
		var d wire.Plans
		if code, body := w.call("diff?"+query, nil, &d); code != http.StatusOK {
			return fmt.Sprintf("%d %s", code, body)
		}
		var lines []string
		for _, a := range d.Actions {
			line := a.Action + " " + a.Kind + "/" + a.Name
			for _, f := range a.Fields {
				line += fmt.Sprintf(" %s:%v→%v", f.Path, f.Old, f.New)
			}
			lines = append(lines, line)
		}
		return strings.Join(lines, "\n")
	}
	want := "Delete ConfigMap/a\nCreate ConfigMap/b\nUpdate Deployment/web spec.template.spec.containers[name=web].image:web:1→web:2\nUpdate Secret/keys stringData.token:(hidden)→(changed)"
	if got := ask("from=" + first + "&to=main"); got != want {
		t.Errorf("diff:\n%s\nwant\n%s", got, want)
	}
	if got := ask("to=" + second); got != "" {
		t.Errorf("diff of what is applied with itself: %s", got)
	}
	if got := ask("to=main~1"); !strings.Contains(got, "web:2→web:1") {
		t.Errorf("diff of what is applied with the commit before: %s", got)
	}
	for query, want := range map[string]string{"": "400 ", "to=nowhere": "422 ", "from=nowhere&to=main": "422 "} {
		if got := ask(query); !strings.HasPrefix(got, want) {
			t.Errorf("diff?%s: %s, want %s", query, got, want)
		}
	}
}

// No answer about history has a value of a Secret in it.
func TestHistoryHidesSecrets(t *testing.T) {
	generator := "resources: [s.yaml]\nsecretGenerator:\n- name: gen\n  namespace: default\n  literals: [password=" + canary + "]\n  options: {disableNameSuffixHash: true}\n"
	w := newWorld(t, map[string]string{"s.yaml": webSecret, "kustomization.yaml": generator}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"s.yaml": strings.Replace(webSecret, canary, "other-"+canary, 1)})
	w.applied(w.push("second"))
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	for _, path := range []string{
		"blame?kind=secret&name=keys", "blame?kind=secret&name=gen", "get?kind=secret&name=keys", "get?kind=secret&name=gen&at=main~1",
		"diff?from=main~1&to=main", "log", "log?kind=secret&name=keys", "log/verify", "status",
	} {
		code, body := w.call(path, nil, nil)
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if strings.Contains(body, canary) || strings.Contains(body, encoded) {
			t.Errorf("%s shows a secret: %s", path, body)
		}
	}
}

func TestLogPages(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "v0")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	want := []string{git(t, w.work, "rev-parse", "HEAD")}
	for i := range 5 {
		w.write(map[string]string{"a.yaml": configMap("a", fmt.Sprintf("v%d", i+1))})
		sha := w.push("next")
		w.applied(sha)
		want = append([]string{sha}, want...)
	}
	var got []string
	before := ""
	for {
		var page []wire.LogEntry
		if code, body := w.call("log?kind=cm&name=a&limit=2"+before, nil, &page); code != http.StatusOK {
			t.Fatalf("log: %d %s", code, body)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			got = append(got, e.Commit.SHA)
		}
		before = fmt.Sprintf("&before=%d", page[len(page)-1].Seq)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("pages: %v, want %v", got, want)
	}
	if code, _ := w.call("log?before=x", nil, nil); code != http.StatusBadRequest {
		t.Errorf("log?before=x: %d", code)
	}
}

func TestVerifyJournal(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.push("second"))
	var v wire.Verification
	w.eventually("two verdicts", func() bool {
		w.call("log/verify", nil, &v)
		return v.Entries >= 4
	})
	if !v.OK || v.Error != "" {
		t.Errorf("verification: %+v", v)
	}
	// Somebody writes into the journal.
	records, err := w.store.Records("journal", 1, 1)
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	var e wire.Entry
	if err := json.Unmarshal(records[0], &e); err != nil {
		t.Fatal(err)
	}
	w.stop()
	forged := memstore.New()
	all, err := w.store.Records("journal", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range all {
		if i == 2 {
			r = []byte(strings.Replace(string(r), `"seq":2`, `"reason":"forged","seq":2`, 1))
		}
		if _, err := forged.Commit(context.Background(), change.Tx{Append: []change.Record{{Log: "journal", Data: r}}}); err != nil {
			t.Fatal(err)
		}
	}
	w.sync = syncer.New(syncer.Config{Store: forged, DataDir: t.TempDir()})
	w.call("log/verify", nil, &v)
	if v.OK || v.Entries != 2 || !strings.Contains(v.Error, "entry 2") {
		t.Errorf("verification of a forged journal: %+v", v)
	}
}

// A log of one object does not read a large journal again and again.
func BenchmarkLogOfObjectIn50000Entries(b *testing.B) {
	store := memstore.New()
	for i := range 50_000 {
		e := wire.Entry{Seq: int64(i), Type: wire.EntryApplied, Kustomization: "n/k", Revision: fmt.Sprintf("main@sha1:%040d", i), Objects: []wire.ObjectResult{{Action: "Update", Kind: "ConfigMap", Namespace: "default", Name: fmt.Sprintf("cm-%d", i%1000)}}}
		data, err := json.Marshal(e)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := store.Commit(context.Background(), change.Tx{Append: []change.Record{{Log: "journal", Data: data}}}); err != nil {
			b.Fatal(err)
		}
	}
	s := syncer.New(syncer.Config{Store: store, DataDir: b.TempDir()})
	first := time.Now()
	if list, err := s.Log("ConfigMap", "default", "cm-7", -1, 20); err != nil || len(list) != 20 {
		b.Fatalf("%d entries, %v", len(list), err)
	}
	b.ReportMetric(float64(time.Since(first).Milliseconds()), "ms/first")
	for b.Loop() {
		if _, err := s.Log("ConfigMap", "default", "cm-7", -1, 20); err != nil {
			b.Fatal(err)
		}
	}
}

// The status has every Kustomization that does not get on, and why.
func TestStatusSaysWhatIsWaitedFor(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.DependsOn = []kustomizev1.DependencyReference{{Name: "nowhere"}, {Name: "lost"}}
	})
	w.create(&kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "lost"},
		Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, Path: "./",
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "none"},
		},
	})
	var st wire.Status
	var got string
	w.eventually("the status says it", func() bool {
		st = wire.Status{}
		w.call("status", nil, &st)
		if len(st.Sources) != 1 || len(st.Sources[0].Kustomizations) != 1 || len(st.Kustomizations) != 1 || st.Kustomizations[0].Reason == "" {
			return false
		}
		got = ""
		for _, o := range st.Sources[0].Kustomizations[0].WaitsFor {
			got += fmt.Sprintf("%s %s: %s\n", o.Name, o.Status, o.Message)
		}
		return strings.Contains(got, "lost ArtifactFailed")
	})
	want := "nowhere NotFound: not found\nlost ArtifactFailed: Source 'GitRepository/headway-system/none' not found\n"
	if got != want {
		t.Errorf("waits for:\n%s\nwant\n%s", got, want)
	}
	if lost := st.Kustomizations[0]; lost.Name != "lost" || !strings.Contains(lost.Message, "none' not found") {
		t.Errorf("without a source: %+v", lost)
	}
}
