package syncer_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// weekend is frozen on a Saturday.
const weekend = "0 18 * * FRI / 62h Europe/Berlin"

// saturday runs the clock from the given time before the end of weekend on.
func (w *world) saturday(before time.Duration) {
	began, end := time.Now(), time.Date(2026, 6, 8, 6, 0, 0, 0, time.UTC)
	w.cfg = func(cfg *syncer.Config) {
		cfg.Now = func() time.Time { return end.Add(time.Since(began) - before) }
	}
}

// While frozen new commits wait, drift is put back and errors are told, over a
// restart as well; a rollback goes through; what waits is applied at the end.
func TestFreeze(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"a.yaml": configMap("a", "two"), "b.yaml": configMap("b", "two")})
	second := w.push("second")
	w.applied(second)
	w.stop()
	w.saturday(24 * time.Hour)
	w.start()
	w.annotate("Kustomization", flux.Freeze, weekend)
	w.write(map[string]string{"a.yaml": configMap("a", "three")})
	third := w.push("third")
	frozen := "True Frozen until 2026-06-08T08:00:00+02:00 (headway.dev/freeze: " + weekend + ")"
	waits := func(sha string) func() bool {
		return func() bool {
			got := w.condition("headway.dev/Frozen")
			return strings.HasPrefix(got, frozen) && strings.HasSuffix(got, "main@sha1:"+sha+" waits")
		}
	}
	w.eventually("third waits", waits(third))
	w.restart()
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("drift is put back", func() bool { return w.configMap("a")["key"] == "two" })
	if got := w.ready("Kustomization"); got != "True ReconciliationSucceeded Applied revision: main@sha1:"+second {
		t.Errorf("Ready is %q: what depends on it would wait", got)
	}
	var st wire.Status
	w.call("status", nil, &st)
	if k := st.Sources[0].Kustomizations[0]; k.Sync != wire.SyncOutOfSync || len(k.Holds) != 1 || k.Holds[0].Kind != wire.GateFreeze || !strings.HasSuffix(k.Holds[0].Revision, third) {
		t.Errorf("status: %s %+v", k.Sync, k.Holds)
	}
	if code, body := w.call("sync", wire.SyncRequest{Wait: true}, nil); code != http.StatusOK || strings.Contains(body, `"ok":true`) || !strings.Contains(body, "Frozen until") {
		t.Errorf("sync: %d %s", code, body)
	}
	// What is invalid is told now, not when the freeze is over.
	w.write(map[string]string{"c.yaml": configMap("c", "one") + "unknown: 1\n"})
	w.push("invalid")
	w.eventually("it is refused", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False BuildFailed") })
	w.write(map[string]string{"c.yaml": ""})
	fourth := w.push("valid again")
	w.eventually("fourth waits", waits(fourth))
	// A commit that says that it reverts does not pass by saying so.
	w.write(map[string]string{"a.yaml": configMap("a", "five")})
	fifth := w.push("Revert \"second\"\n\nThis reverts commit " + second + ".")
	w.eventually("fifth waits", waits(fifth))
	// What waits, taken back, is nothing to wait for.
	git(t, w.work, "revert", "--no-edit", fifth, fourth, fifth+"~2", third)
	git(t, w.work, "push", "-q", "origin", "HEAD:main")
	none := git(t, w.work, "rev-parse", "HEAD")
	w.applied(none)
	if got := w.condition("headway.dev/Frozen"); got != "" {
		t.Errorf("frozen: %q", got)
	}
	var res wire.RollbackResult
	if code, body := w.call("rollback", wire.RollbackRequest{Commit: second}, &res); code != http.StatusOK {
		t.Fatalf("rollback: %d %s", code, body)
	}
	w.applied(res.Revert)
	if w.configMap("a")["key"] != "one" || w.configMap("b") != nil {
		t.Errorf("after the rollback a = %v, b = %v", w.configMap("a"), w.configMap("b"))
	}
	git(t, w.work, "pull", "-q", "--ff-only", "origin", "main")
	w.write(map[string]string{"a.yaml": configMap("a", "six")})
	sixth := w.push("sixth")
	w.eventually("sixth waits", waits(sixth))
	w.stop()
	w.saturday(2 * time.Second)
	w.start()
	w.applied(sixth) // by the timer
	if got := w.configMap("a")["key"]; got != "six" {
		t.Errorf("a = %q", got)
	}
}

// A freeze of the source is one of all that follow it; one that cannot be
// understood stops what has it and nothing else.
func TestFreezeOfTheSource(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "other/b.yaml": configMap("b", "one")},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
			ks.Spec.Path = "./other"
			ks.Annotations = map[string]string{flux.Freeze: "whenever I am away"}
		})
	w.eventually("the annotation is named", func() bool {
		return strings.HasPrefix(w.ready("Kustomization"), `False BuildFailed annotation headway.dev/freeze: window "whenever I am away": write it as`)
	})
	w.create(&kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "other"},
		Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, Path: "./other", Prune: true,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "cluster"},
		},
	})
	w.eventually("the other one is applied", func() bool { return w.configMap("b")["key"] == "one" })
	w.annotate("GitRepository", flux.Freeze, "* * * * * / 1h")
	w.write(map[string]string{"other/b.yaml": configMap("b", "two")})
	w.push("second")
	w.eventually("it waits", func() bool {
		ks, ok := w.store.Get(key("Kustomization", "headway-system", "other")).(*kustomizev1.Kustomization)
		return ok && strings.HasSuffix(ks.Status.LastAttemptedRevision, git(t, w.work, "rev-parse", "HEAD"))
	})
	if got := w.configMap("b")["key"]; got != "one" {
		t.Errorf("b = %q in the freeze", got)
	}
	w.annotate("GitRepository", flux.Freeze, "")
	w.eventually("it is applied once the annotation is gone", func() bool { return w.configMap("b")["key"] == "two" })
}

// signedPush pushes a copy of the clone's head that the key signed, with the
// trailer.
func (w *world) signedPush(signer *openpgp.Entity, trailer string) string {
	w.t.Helper()
	git(w.t, w.work, "add", "-A")
	git(w.t, w.work, "commit", "-q", "--allow-empty", "-m", "signed", "-m", trailer)
	raw := git(w.t, w.work, "cat-file", "commit", "HEAD") + "\n"
	var sig bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&sig, signer, strings.NewReader(raw), nil); err != nil {
		w.t.Fatal(err)
	}
	header, body, _ := strings.Cut(raw, "\n\n")
	cmd := exec.CommandContext(context.Background(), "git", "hash-object", "-t", "commit", "-w", "--stdin")
	cmd.Dir = w.work
	cmd.Stdin = strings.NewReader(header + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(sig.String()), "\n", "\n ") + "\n\n" + body)
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	sha := strings.TrimSpace(string(out))
	git(w.t, w.work, "reset", "-q", "--soft", sha)
	git(w.t, w.work, "push", "-q", "origin", "HEAD:main")
	return sha
}

// The trailer counts in a commit that an allowed key signed, for as much as it
// says, and for what comes before it.
func TestSignedCommitsAllow(t *testing.T) {
	ada, err := openpgp.NewEntity("Ada", "", "ada@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	enc, err := armor.Encode(&public, openpgp.PublicKeyType, nil)
	if err == nil {
		err = errors.Join(ada.Serialize(enc), enc.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"d.yaml": deployment("web:1")}
	for _, name := range []string{"a", "b", "c"} {
		files[name+".yaml"] = configMap(name, "one")
	}
	w := newWorld(t, files, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Annotations = map[string]string{flux.MaxDeletes: "0", flux.MaxRestarts: "0"}
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "keys"}, Data: map[string][]byte{"ada.asc": public.Bytes()}})

	// The source checks nothing: so a trailer proves nothing.
	w.write(map[string]string{"a.yaml": ""})
	w.signedPush(ada, "Headway-Allow: deletes=1")
	w.eventually("it is refused", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False PruneFailed") })
	if got := w.ready("Kustomization"); !strings.Contains(got, "it counts only in a signed commit, and the source checks no signatures: set spec.verify") {
		t.Errorf("Ready is %q", got)
	}
	w.commit(change.Patch(key("GitRepository", "headway-system", "cluster"), func(o object.Object) bool {
		o.(*sourcev1.GitRepository).Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: sourcev1.ModeGitHEAD, SecretRef: meta.LocalObjectReference{Name: "keys"}}
		return true
	}))
	w.annotate("Kustomization", meta.ReconcileRequestAnnotation, "1")
	w.eventually("a is deleted", func() bool { return w.configMap("a") == nil })

	w.write(map[string]string{"d.yaml": deployment("web:2"), "b.yaml": ""})
	w.signedPush(ada, "Headway-Allow: deletes=1")
	w.eventually("the restart is refused", func() bool {
		return strings.Contains(w.ready("Kustomization"), "would replace the pods of 1 workloads") && strings.Contains(w.ready("Kustomization"), "Headway-Allow: restarts=1")
	})
	if w.configMap("b") == nil || w.image() != "web:1" {
		t.Fatal("half of the commit was applied")
	}
	// A later one vouches for what waits, and the earlier trailer still counts.
	w.applied(w.signedPush(ada, "Headway-Allow: restarts=1"))
	if w.configMap("b") != nil || w.image() != "web:2" {
		t.Errorf("b = %v, image %s", w.configMap("b"), w.image())
	}

	w.annotate("Kustomization", flux.Freeze, "* * * * * / 1h")
	w.write(map[string]string{"c.yaml": configMap("c", "two")})
	w.signedPush(ada, "Reviewed-by: Bob")
	w.eventually("it waits", func() bool { return strings.HasPrefix(w.condition("headway.dev/Frozen"), "True Frozen until") })
	w.write(map[string]string{"c.yaml": configMap("c", "urgent")})
	urgent := w.signedPush(ada, "Headway-Allow: freeze")
	w.applied(urgent)
	// Of several that wait, the urgent one is applied, and those below it.
	w.write(map[string]string{"c.yaml": configMap("c", "more urgent")})
	w.stop()
	urgent = w.signedPush(ada, "Headway-Allow: freeze")
	w.write(map[string]string{"c.yaml": configMap("c", "not urgent")})
	last := w.signedPush(ada, "Reviewed-by: Bob")
	w.start()
	w.applied(urgent)
	if got := w.configMap("c")["key"]; got != "more urgent" {
		t.Errorf("c = %q", got)
	}
	w.eventually("the last one waits", func() bool { return strings.HasSuffix(w.condition("headway.dev/Frozen"), last+" waits") })
}

// Events tell when a freeze begins and ends, also if no commit waits.
func TestFreezeEvents(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(w.main())
	w.stop()
	// run starts the Syncer with a clock, and returns its events.
	run := func(now func() time.Time) *listener {
		r := &listener{}
		w.cfg = func(cfg *syncer.Config) { cfg.Events, cfg.Now = r, now }
		w.start()
		return r
	}
	says := func(r *listener, want string) {
		t.Helper()
		w.eventually(want, func() bool { return strings.Contains(r.String(), want) })
	}
	const frozen = "Normal Frozen Frozen until 2026-06-08T08:00:00+02:00"
	// A moment before the weekend begins.
	start, began := time.Date(2026, 6, 5, 16, 0, 0, 0, time.UTC), time.Now()
	r := run(func() time.Time { return start.Add(time.Since(began) - time.Second) })
	w.annotate("Kustomization", flux.Freeze, weekend)
	says(r, frozen)
	w.stop()
	// Before it ends, and once it has.
	var over atomic.Bool
	end := time.Date(2026, 6, 8, 6, 0, 0, 0, time.UTC)
	r = run(func() time.Time {
		if over.Load() {
			return end.Add(time.Since(began))
		}
		return end.Add(-time.Hour)
	})
	says(r, frozen)
	over.Store(true)
	w.annotate("Kustomization", meta.ReconcileRequestAnnotation, "1")
	says(r, "Normal Thawed The freeze is over")
}
