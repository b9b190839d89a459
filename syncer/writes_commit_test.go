package syncer_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/sops/sopstest"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/gitserver"
)

// writesCommit makes a Kustomization that turns writes into commits.
func writesCommit(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
	ks.Annotations = map[string]string{flux.GitWrites: "commit"}
}

// hand is a write of a user through the API: edit changes the stored object.
func (w *world) hand(req change.Request, at object.Key, edit func(object.Object)) error {
	w.t.Helper()
	req.Old = w.store.Get(at)
	if req.Old == nil {
		w.t.Fatalf("%s is not stored", at)
	}
	req.Next, _ = req.Old.DeepCopyObject().(object.Object)
	edit(req.Next)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	elsewhere, err := w.sync.Review(ctx, req)
	if err != nil {
		return err
	}
	if elsewhere == nil {
		w.t.Fatalf("the write of %s is to be stored, and not committed", at)
	}
	_, err = elsewhere(ctx)
	return err
}

// set is a hand write of ada's to the key of a ConfigMap.
func (w *world) set(name, value string) error {
	w.t.Helper()
	return w.hand(change.Request{User: "ada"}, key("ConfigMap", "default", name), func(o object.Object) {
		o.(*corev1.ConfigMap).Data["key"] = value
	})
}

func (w *world) main() string { return git(w.t, w.bare, "rev-parse", "main") }

// A branch that moves between the fetch and the push is written to anew, and
// what another changed meanwhile is a conflict.
func TestWriteToAMovingBranch(t *testing.T) {
	for _, tt := range []struct {
		name, file, text string
		conflict         bool
	}{
		{"another file", "b.yaml", configMap("b", "theirs"), false},
		{"another line", "a.yaml", configMap("a", "one") + "  more: theirs\n", false},
		{"the same line", "a.yaml", configMap("a", "theirs"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var srv *gitserver.Server
			w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
				writesCommit(src, ks)
				remote(t, &srv, nil)(src, ks)
				src.Spec.Interval = metav1.Duration{Duration: time.Hour}
			})
			w.applied(w.main())
			var once sync.Once
			var theirs string
			srv.Fail(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.URL.Query().Get("service") == "git-receive-pack" {
					once.Do(func() {
						w.write(map[string]string{tt.file: tt.text})
						theirs = w.push("Theirs")
					})
				}
				next.ServeHTTP(rw, r)
			})
			err := w.set("a", "two")
			if tt.conflict {
				if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "data.key was changed in Git meanwhile") {
					t.Errorf("the write: %v, want a conflict", err)
				}
				if got := w.main(); got != theirs {
					t.Errorf("main is at %s, want %s", got, theirs)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := git(t, w.bare, "rev-parse", "main~1"); got != theirs {
				t.Errorf("the commit stands on %s, want %s", got, theirs)
			}
			if got := git(t, w.bare, "show", "main:a.yaml"); !strings.Contains(got, "key: two") || tt.file == "a.yaml" && !strings.Contains(got, "more: theirs") {
				t.Errorf("a.yaml is %q", got)
			}
			if got := w.configMap("a")["key"]; got != "two" {
				t.Errorf("a when the write was answered: %q", got)
			}
		})
	}
}

// Over SSH and HTTP a write is pushed; who may not push gets the reason, and
// nothing changes in the cluster.
func TestWriteToARemote(t *testing.T) {
	refused := func(t *testing.T, w *world, want string) {
		t.Helper()
		before := w.main()
		err := w.set("a", "three")
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "the right to push to main") {
			t.Errorf("the write: %v, want it forbidden: %s", err, want)
		}
		if got := w.configMap("a")["key"]; got != "two" || w.main() != before {
			t.Errorf("after the refusal a is %q, main at %s", got, w.main())
		}
	}
	t.Run("http", func(t *testing.T) {
		var srv *gitserver.Server
		w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
			writesCommit(src, ks)
			remote(t, &srv, nil)(src, ks)
		})
		w.applied(w.main())
		if err := w.set("a", "two"); err != nil || w.configMap("a")["key"] != "two" {
			t.Fatalf("the write: %v, a is %v", err, w.configMap("a"))
		}
		var push pushFails
		push.status.Store(http.StatusForbidden)
		srv.Fail(push.fault)
		refused(t, w, "check the credentials")
	})
	t.Run("ssh", func(t *testing.T) {
		host, hostKey := gitserver.Keys(t)
		user, userKey := gitserver.Keys(t)
		addr := gitserver.SSH(t, host, userKey)
		w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
			writesCommit(src, ks)
			src.Spec.URL = "ssh://root@" + addr + strings.TrimPrefix(src.Spec.URL, "file://")
			src.Spec.SecretRef = &meta.LocalObjectReference{Name: "git"}
		})
		w.create(secretOf("git", map[string]string{"identity": string(user), "known_hosts": string(gitserver.KnownHosts(addr, hostKey))}))
		w.applied(w.main())
		if err := w.set("a", "two"); err != nil || w.configMap("a")["key"] != "two" {
			t.Fatalf("the write: %v, a is %v", err, w.configMap("a"))
		}
		hook := filepath.Join(w.bare, "hooks", "pre-receive")
		if err := os.WriteFile(hook, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		refused(t, w, "hook declined")
	})
}

// What cannot be mapped back is refused with the reason and the place.
func TestWritesThatCannotBeMapped(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, map[string]string{
		"s.yaml": string(sopstest.Secret(t, "s", map[string]string{"password": "one"}, id.Recipient())),
		"v.yaml": configMap("v", "${colour}"),
	}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		decryption(src, ks)
		writesCommit(src, ks)
		ks.Spec.PostBuild = &kustomizev1.PostBuild{Substitute: map[string]string{"colour": "red"}}
	})
	w.create(secretOf("sops", map[string]string{"age.agekey": id.String()}))
	w.applied(w.main())
	before := w.main()
	err = w.hand(change.Request{User: "ada"}, key("Secret", "default", "s"), func(o object.Object) {
		o.(*corev1.Secret).Data["password"] = []byte("two")
	})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "s.yaml") || !strings.Contains(err.Error(), "SOPS") {
		t.Errorf("a write to a SOPS file: %v", err)
	}
	if err := w.set("v", "blue"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "v.yaml:7") || !strings.Contains(err.Error(), "substituted by spec.postBuild") {
		t.Errorf("a write to a substituted line: %v", err)
	}
	if w.main() != before {
		t.Error("a commit was made")
	}
}

// What is written is the overlay's own line; a line of the base that another
// Kustomization shares is refused.
func TestWritesToASharedBase(t *testing.T) {
	overlay := func(name string) string {
		return "resources: [../base]\nnamespace: default\nnamePrefix: " + name + "-\npatches:\n- path: patch.yaml\n"
	}
	patch := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n  own: x\n"
	w := newWorld(t, map[string]string{
		"base/kustomization.yaml": "resources: [cm.yaml]\n", "base/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n  key: shared\n",
		"a/kustomization.yaml": overlay("a"), "a/patch.yaml": patch, "b/kustomization.yaml": overlay("b"), "b/patch.yaml": patch,
	}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		writesCommit(src, ks)
		ks.Spec.Path = "./a"
	})
	other := w.ks().DeepCopy()
	other.ObjectMeta = metav1.ObjectMeta{Namespace: "headway-system", Name: "b"}
	other.Status = kustomizev1.KustomizationStatus{}
	other.Spec.Path = "./b"
	w.create(other)
	w.applied(w.main())
	w.eventually("b is applied, too", func() bool { return w.configMap("b-web") != nil })
	before := w.main()
	if err := w.set("a-web", "mine"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "base/cm.yaml") || !strings.Contains(err.Error(), "ConfigMap/default/b-web of the Kustomization headway-system/b") {
		t.Errorf("a write to the base: %v", err)
	}
	if w.main() != before || w.configMap("a-web")["key"] != "shared" {
		t.Errorf("after the refusal main is at %s, a-web is %v", w.main(), w.configMap("a-web"))
	}
	if err := w.hand(change.Request{User: "ada"}, key("ConfigMap", "default", "a-web"), func(o object.Object) { o.(*corev1.ConfigMap).Data["own"] = "y" }); err != nil {
		t.Fatal(err)
	}
	if got := git(t, w.bare, "diff", "--name-only", before, "main"); got != "a/patch.yaml" {
		t.Errorf("the commit changes %q", got)
	}
	if w.configMap("a-web")["own"] != "y" || w.configMap("b-web")["own"] != "x" {
		t.Errorf("a has %v, b has %v", w.configMap("a-web"), w.configMap("b-web"))
	}
}

// The author of the commit is who wrote; accounts write only where they may.
func TestAuthorsOfWrites(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		writesCommit(src, ks)
		ks.Annotations[flux.AuthorDomain] = "example.com"
		ks.Annotations[flux.GitAccounts] = "ci/deployer"
	})
	w.applied(w.main())
	account := func(name string) change.Request {
		return change.Request{User: "system:serviceaccount:ci:" + name, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"}}
	}
	for _, tt := range []struct {
		req  change.Request
		want string
	}{
		{change.Request{User: "ada"}, "ada <ada@example.com>"},
		{change.Request{User: "bo@corp.example"}, "bo@corp.example <bo@corp.example>"},
		{change.Request{User: "cy", Extra: map[string][]string{"headway.dev/email": {"cy@mail.example"}}}, "cy <cy@mail.example>"},
		{change.Request{User: "eve <x@y>\nparent 0"}, "eve x@yparent 0 <eve x@yparent 0>"},
		{account("deployer"), "system:serviceaccount:ci:deployer <system.serviceaccount.ci.deployer@example.com>"},
	} {
		err := w.hand(tt.req, key("ConfigMap", "default", "a"), func(o object.Object) { o.(*corev1.ConfigMap).Data["key"] = tt.req.User[:2] })
		if err != nil {
			t.Fatalf("%s: %v", tt.req.User, err)
		}
		if got := git(t, w.bare, "log", "-1", "--format=%an <%ae>", "main"); got != tt.want {
			t.Errorf("the author is %q, want %q", got, tt.want)
		}
	}
	before := w.main()
	req := account("other")
	req.Old = w.store.Get(key("ConfigMap", "default", "a"))
	next, _ := req.Old.DeepCopyObject().(*corev1.ConfigMap)
	next.Data["key"] = "theirs"
	req.Next = next
	if elsewhere, err := w.sync.Review(t.Context(), req); elsewhere != nil || err != nil {
		t.Errorf("a write of an account that is not named: %v, %v", elsewhere != nil, err)
	}
	if w.main() != before {
		t.Error("an account that is not named made a commit")
	}
}

// A write to what depends on another Kustomization, and is declared by a third,
// is answered once it is applied, which is after those.
func TestWriteWaitsForDependencies(t *testing.T) {
	two := strings.Replace(nested("two", "./two", "  dependsOn: [{name: one}]\n"), "namespace: headway-system}", `namespace: headway-system, annotations: {headway.dev/git-writes: commit}}`, 1)
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""), "cluster/two.yaml": two,
		"one/a.yaml": configMap("a", "one"), "two/b.yaml": configMap("b", "one"),
	})
	w.eventually("two is ready", func() bool { return strings.HasPrefix(w.readyOf("two"), "True") && w.configMap("b") != nil })
	for _, value := range []string{"two", "three", "four"} {
		if err := w.set("b", value); err != nil {
			t.Fatalf("set %s: %v", value, err)
		}
		if got := w.configMap("b")["key"]; got != value {
			t.Errorf("when the write of %s was answered b was %q", value, got)
		}
		if got := git(t, w.bare, "show", "main:two/b.yaml"); !strings.Contains(got, "key: "+value) {
			t.Errorf("b.yaml is %q", got)
		}
	}
	// What it waits for fails: the answer says so.
	w.write(map[string]string{"one/a.yaml": configMap("a", "one") + "bad: 1\n"})
	git(t, w.work, "pull", "-q", "--rebase", "--autostash", "origin", "main")
	w.push("break one")
	w.eventually("one is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False BuildFailed") })
	if err := w.set("b", "five"); err == nil || !strings.Contains(err.Error(), "was not applied: it waits for the Kustomization headway-system/one, which failed") {
		t.Errorf("the write while one is broken: %v", err)
	}
}
