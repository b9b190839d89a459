package syncer_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// call posts (or gets, without a body) and decodes the answer into out.
func (w *world) call(path string, in, out any) (int, string) {
	w.t.Helper()
	srv := httptest.NewServer(w.sync.Handler())
	defer srv.Close()
	method, body := http.MethodGet, []byte(nil)
	if in != nil {
		method = http.MethodPost
		body, _ = json.Marshal(in)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, srv.URL+"/headway/v1/"+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK && out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			w.t.Fatalf("%s: %v in %s", path, err, data)
		}
	}
	return resp.StatusCode, string(data)
}

// synced asks for everything to be looked at again, and waits until it is.
func (w *world) synced() {
	w.t.Helper()
	if code, body := w.call("sync", wire.SyncRequest{Wait: true}, nil); code != http.StatusOK || !strings.Contains(body, `"done":true`) {
		w.t.Fatalf("sync: %d %s", code, body)
	}
}

// A rollback is a revert commit in Git's own form, and the cluster follows it.
func TestRollback(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"a.yaml": configMap("a", "two"), "b.yaml": "", "dir/c.yaml": configMap("c", "new")})
	second := w.push("second, with \"quotes\"")
	w.applied(second)
	var res wire.RollbackResult
	if code, body := w.call("rollback", wire.RollbackRequest{Message: "It broke."}, &res); code != http.StatusOK {
		t.Fatalf("rollback: %d %s", code, body)
	}
	if res.Reverted != second {
		t.Errorf("reverted %s, want %s", res.Reverted, second)
	}
	w.applied(res.Revert)
	if a, b, c := w.configMap("a")["key"], w.configMap("b")["key"], w.configMap("c"); a != "one" || b != "one" || c != nil {
		t.Errorf("after the rollback a = %q, b = %q, c = %v", a, b, c)
	}
	// As the git program sees it, and would have written it.
	git(t, w.bare, "fsck", "--strict")
	if got := git(t, w.bare, "log", "-1", "--format=%H %an", "main"); got != res.Revert+" headway" {
		t.Errorf("git log: %q", got)
	}
	want := "Revert \"second, with \"quotes\"\"\n\nThis reverts commit " + second + ".\n\nIt broke."
	if got := git(t, w.bare, "log", "-1", "--format=%B", "main"); got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	git(t, w.work, "pull", "-q", "--ff-only", "origin", "main")
	git(t, w.work, "revert", "--no-edit", "HEAD")
	if a, b := git(t, w.work, "rev-parse", "HEAD^{tree}"), git(t, w.work, "rev-parse", second+"^{tree}"); a != b {
		t.Errorf("reverting the revert gives tree %s, want that of second, %s", a, b)
	}
	git(t, w.work, "reset", "-q", "--hard", "HEAD~1")

	var log []wire.LogEntry
	w.call("log?kind=configmap&name=a", nil, &log)
	if len(log) != 2 && len(log) != 3 || log[0].Commit.Reverts != second || log[1].Commit.SHA != second {
		t.Errorf("log of a: %+v", log)
	}
	if got := log[0].Objects; len(got) == 0 {
		t.Error("the log has no objects")
	}

	// A conflict names the files and changes nothing.
	w.write(map[string]string{"a.yaml": configMap("a", "three")})
	third := w.push("third")
	w.write(map[string]string{"a.yaml": configMap("a", "four")})
	fourth := w.push("fourth")
	w.applied(fourth)
	code, body := w.call("rollback", wire.RollbackRequest{Commit: third}, nil)
	if code != http.StatusConflict || !strings.Contains(body, "a.yaml") {
		t.Errorf("rollback of third: %d %s", code, body)
	}
	if got := git(t, w.bare, "rev-parse", "main"); got != fourth {
		t.Errorf("main is at %s after a conflict, want %s", got, fourth)
	}
}

// A plan names field differences, and changes nothing.
func TestPlan(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "d.yaml": deployment("web:1")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	git(t, w.work, "checkout", "-q", "-b", "feature/x")
	w.write(map[string]string{"d.yaml": deployment("web:2"), "a.yaml": "", "c.yaml": configMap("c", "new")})
	git(t, w.work, "add", "-A")
	git(t, w.work, "commit", "-q", "-m", "feature")
	git(t, w.work, "push", "-q", "origin", "feature/x")
	var p wire.Plans
	// What the syncer still says of the first commit may come meanwhile.
	made := 1
	for range 5 {
		n := w.store.Commits()
		p = wire.Plans{}
		if code, body := w.call("plan", wire.PlanRequest{Rev: "feature/x"}, &p); code != http.StatusOK {
			t.Fatalf("plan: %d %s", code, body)
		}
		if made = w.store.Commits() - n; made == 0 {
			break
		}
	}
	if made != 0 {
		t.Errorf("the plan made %d transactions, each time", made)
	}
	if want := (wire.Summary{Create: 1, Update: 1, Delete: 1, Restart: 1}); p.Summary != want {
		t.Errorf("summary = %+v, want %+v", p.Summary, want)
	}
	found := false
	for _, a := range p.Actions {
		for _, f := range a.Fields {
			found = found || f.Path == "spec.template.spec.containers[name=web].image" && f.Old == "web:1" && f.New == "web:2"
		}
	}
	if !found || p.Target != "feature/x@sha1:"+git(t, w.work, "rev-parse", "HEAD") {
		t.Errorf("plan = %+v", p)
	}
	// Without a revision, the newest commit of the branch that is followed.
	p = wire.Plans{}
	w.call("plan", wire.PlanRequest{}, &p)
	if want := "main@sha1:" + git(t, w.work, "rev-parse", "main"); p.Target != want || p.Summary != (wire.Summary{Unchanged: 2}) {
		t.Errorf("plan of the followed branch: %+v, want target %s and no change", p, want)
	}
	// The same from a working directory, with an error in a file.
	p = wire.Plans{}
	w.call("plan", wire.PlanRequest{Files: map[string]string{"a.yaml": configMap("a", "one"), "d.yaml": deployment("web:1")}}, &p)
	if want := (wire.Summary{Unchanged: 2}); p.Summary != want || len(p.Errors) > 0 {
		t.Errorf("plan of the same files: %+v", p)
	}
	p = wire.Plans{}
	w.call("plan", wire.PlanRequest{Files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatum: {}\n"}}, &p)
	if len(p.Errors) != 1 || p.Errors[0].File != "a.yaml" || p.Errors[0].Line != 4 || p.Errors[0].Field != "datum" {
		t.Errorf("faults = %+v", p.Errors)
	}
	if code, body := w.call("plan", wire.PlanRequest{Rev: "nowhere"}, nil); code != http.StatusUnprocessableEntity || !strings.Contains(body, "nowhere") {
		t.Errorf("plan of nowhere: %d %s", code, body)
	}
}

// A sync streams progress until the verdict.
func TestSyncWaits(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	second := w.push("second")
	code, body := w.call("sync", wire.SyncRequest{Wait: true}, nil)
	if code != http.StatusOK {
		t.Fatalf("sync: %d %s", code, body)
	}
	var last wire.Event
	sc := bufio.NewScanner(strings.NewReader(body))
	for sc.Scan() {
		last = wire.Event{}
		if err := json.Unmarshal(sc.Bytes(), &last); err != nil {
			t.Fatal(err)
		}
	}
	if !last.Done || !last.OK || last.Revision != "main@sha1:"+second {
		t.Errorf("last event: %+v", last)
	}
	if got := w.configMap("a")["key"]; got != "two" {
		t.Errorf("after the sync a = %q", got)
	}
	w.write(map[string]string{"a.yaml": "nonsense"})
	w.push("third")
	_, body = w.call("sync", wire.SyncRequest{Wait: true}, nil)
	if !strings.Contains(body, `"done":true`) || strings.Contains(body, `"done":true,"ok":true`) || !strings.Contains(body, "a.yaml") {
		t.Errorf("sync of a bad commit: %s", body)
	}
	var st wire.Status
	w.call("status", nil, &st)
	if len(st.Sources) != 1 || len(st.Sources[0].Kustomizations) != 1 {
		t.Fatalf("status = %+v", st)
	}
	k := st.Sources[0].Kustomizations[0]
	if k.Sync != wire.SyncFailed || k.Applied != "main@sha1:"+second || k.Commit.Subject != "second" || len(k.Errors) == 0 || k.Errors[0].File != "a.yaml" || k.Objects != 1 || !k.Healthy {
		t.Errorf("status of the Kustomization = %+v", k)
	}
}

// on-failure: revert takes a failing commit back, once.
func TestRevertOnFailure(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		waitForHealth(src, ks)
		ks.Annotations = map[string]string{flux.OnFailure: "revert"}
	})
	w.eventually("it is stored", func() bool { return w.deployment() != nil })
	w.rollout()
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"d.yaml": deployment("web:broken")})
	bad := w.push("break it")
	w.eventually("it is applied", func() bool { return w.deployment().Spec.Template.Spec.Containers[0].Image == "web:broken" })
	w.fail()
	w.eventually("it is reverted", func() bool { return w.deployment().Spec.Template.Spec.Containers[0].Image == "web:1" })
	message := git(t, w.bare, "log", "-1", "--format=%B", "main")
	if !strings.Contains(message, "This reverts commit "+bad) || !strings.Contains(message, "Deployment/default/web") {
		t.Errorf("message of the revert: %q", message)
	}
	revert := git(t, w.bare, "rev-parse", "main")
	// A failing revert is not answered with another.
	w.fail()
	w.eventually("the revert failed", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False HealthCheckFailed") })
	w.synced()
	if got := git(t, w.bare, "rev-parse", "main"); got != revert {
		t.Errorf("main moved on to %s", got)
	}
}

// Values of Secrets stay out of plans, progress and journal.
func TestSecretsStaySecret(t *testing.T) {
	secret := func(v string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\nstringData:\n  password: " + v + "\n"
	}
	w := newWorld(t, map[string]string{"s.yaml": secret("hunter2")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	s, ok := w.store.Get(key("Secret", "default", "s")).(*corev1.Secret)
	if !ok || string(s.Data["password"]) != "hunter2" || len(s.StringData) > 0 {
		t.Fatalf("stored: %+v", s)
	}
	var p wire.Plans
	_, body := w.call("plan", wire.PlanRequest{Files: map[string]string{"s.yaml": secret("hunter3")}}, &p)
	if p.Summary.Update != 1 {
		t.Errorf("plan = %s", body)
	}
	w.commit(change.Patch(key("Secret", "default", "s"), func(o object.Object) bool {
		o.(*corev1.Secret).Data["password"] = []byte("hunter4")
		return true
	}))
	w.eventually("it is put back", func() bool {
		s, ok := w.store.Get(key("Secret", "default", "s")).(*corev1.Secret)
		return ok && string(s.Data["password"]) == "hunter2"
	})
	_, log := w.call("log", nil, nil)
	for _, text := range []string{body, log} {
		for _, secret := range []string{"hunter", "aHVudGVy"} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret value in %s", text)
			}
		}
	}
}

// The number of automatic reverts is bounded, across restarts as well.
func TestRevertsAreBounded(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		waitForHealth(src, ks)
		ks.Annotations = map[string]string{flux.OnFailure: "revert"}
	})
	image := func() string { return w.deployment().Spec.Template.Spec.Containers[0].Image }
	w.eventually("it is stored", func() bool { return w.deployment() != nil })
	w.rollout()
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	breakIt := func(name string) string {
		git(t, w.work, "pull", "-q", "--rebase", "origin", "main")
		w.write(map[string]string{"d.yaml": deployment("web:" + name)})
		sha := w.push("break it " + name)
		w.eventually("it is applied", func() bool { return image() == "web:"+name })
		w.fail()
		return sha
	}
	for _, name := range []string{"a", "b", "c"} {
		breakIt(name)
		w.eventually("it is reverted", func() bool { return image() == "web:1" })
		w.rollout()
		w.applied(git(t, w.bare, "rev-parse", "main"))
	}
	w.stop()
	w.start()
	bad := breakIt("d")
	w.eventually("it failed", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False HealthCheckFailed") })
	w.synced()
	if got := git(t, w.bare, "rev-parse", "main"); got != bad {
		t.Errorf("main is at %s, want the fourth bad commit %s", got, bad)
	}
}
