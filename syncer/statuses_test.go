package syncer_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/forge/forgetest"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/wire"
)

// forgeWorld is a world whose repository comes from a forge.
func forgeWorld(t *testing.T, kind forge.Kind, files map[string]string, edit func(*kustomizev1.Kustomization), before ...func(*world)) (*world, *forgetest.Server, *listener) {
	t.Helper()
	srv := forgetest.New(t, kind)
	root := t.TempDir()
	remote := gitserver.New(t, root)
	w := newWorld(t, files, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		if err := os.MkdirAll(filepath.Join(root, "team"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(strings.TrimPrefix(src.Spec.URL, "file://"), filepath.Join(root, "team/deploy.git")); err != nil {
			t.Fatal(err)
		}
		src.Spec.URL = remote.URL + "/team/deploy.git"
		src.Annotations = map[string]string{flux.CommitStatus: string(kind), flux.ForgeSecret: "forge", flux.StatusLink: "https://example.com/status"}
		if edit != nil {
			edit(ks)
		}
	})
	w.stop()
	log := &listener{}
	w.cfg = func(cfg *syncer.Config) {
		cfg.Log, cfg.Events = slog.New(slog.NewTextHandler(log, nil)), log
	}
	version := map[forge.Kind]string{forge.GitHub: "/api/v3", forge.GitLab: "/api/v4", forge.Gitea: "/api/v1"}[kind]
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "forge"}, Data: map[string][]byte{
		"token": []byte(forgetest.Token + "\n"), "address": []byte(srv.URL + version),
	}})
	for _, f := range before {
		f(w)
	}
	w.start()
	return w, srv, log
}

// pushed pushes and asks for a sync, as a webhook would.
func (w *world) pushed(subject string) string {
	w.t.Helper()
	sha := w.push(subject)
	w.call("sync", wire.SyncRequest{}, nil)
	return sha
}

// reported waits until the last status of a commit is the state, and checks that
// none was set twice in a row.
func reported(w *world, srv *forgetest.Server, sha, state string, words ...string) {
	w.t.Helper()
	var last forgetest.Status
	of := func() []string {
		var states []string
		for _, st := range srv.Statuses() {
			if st.SHA == sha {
				last = st
				states = append(states, st.State+" "+st.Description)
			}
		}
		return states
	}
	w.eventually(sha+" is "+state, func() bool { of(); return last.State == state })
	for i, states := 1, of(); i < len(states); i++ {
		if states[i] == states[i-1] {
			w.t.Errorf("the states of %s are %q: one was set again", sha, states)
		}
	}
	if last.Context != "headway/headway-system/cluster" || last.Link != "https://example.com/status" {
		w.t.Errorf("status = %+v", last)
	}
	for _, word := range words {
		if !strings.Contains(last.Description, word) {
			w.t.Errorf("description %q, want %q in it", last.Description, word)
		}
	}
}

// remembered waits until it is stored that the forge knows of a commit's success.
func remembered(w *world, sha string) {
	w.t.Helper()
	w.eventually("it is remembered", func() bool {
		records, err := w.store.Records("commit-status", -1, 1)
		return err == nil && len(records) == 1 && strings.Contains(string(records[0]), `"sha":"`+sha+`","state":"success"}`)
	})
}

// A forge is told of each commit what becomes of it, once, also across a
// restart and while it is down, which delays nothing.
func TestCommitStatuses(t *testing.T) {
	failed := map[forge.Kind]string{forge.GitHub: "failure", forge.GitLab: "failed", forge.Gitea: "failure"}
	for kind, failure := range failed {
		t.Run(string(kind), func(t *testing.T) {
			w, srv, log := forgeWorld(t, kind, map[string]string{"a.yaml": configMap("a", "one")}, nil)
			first := git(t, w.work, "rev-parse", "HEAD")
			reported(w, srv, first, "success", "applied and healthy")
			w.write(map[string]string{"a.yaml": "kind: nonsense\n"})
			reported(w, srv, w.pushed("broken"), failure, "not applied", "a.yaml")
			w.write(map[string]string{"a.yaml": configMap("a", "two")})
			second := w.pushed("mended")
			reported(w, srv, second, "success")

			// After a restart nothing is told again. The forge knows before its
			// answer is remembered.
			remembered(w, second)
			w.stop()
			before := srv.Requests()
			w.start()
			w.eventually("the source is looked at", func() bool {
				return strings.Contains(log.String(), "fetched") && strings.HasPrefix(w.ready("GitRepository"), "True")
			})
			w.write(map[string]string{"a.yaml": configMap("a", "three")})
			// While the forge is down commits are applied all the same.
			srv.Fail(func(rw http.ResponseWriter) bool { rw.WriteHeader(http.StatusServiceUnavailable); return true })
			third := w.pushed("third")
			w.applied(third)
			w.eventually("the forge was asked", func() bool { return srv.Requests() > before })
			for _, st := range srv.Statuses() {
				if st.SHA == third {
					t.Errorf("a status came through a forge that is down: %+v", st)
				}
			}
			srv.Fail(nil)
			reported(w, srv, third, "success")
			reported(w, srv, second, "success")
			reported(w, srv, first, "success")
			if strings.Contains(log.String(), forgetest.Token) {
				t.Errorf("the token is in the log or an event:\n%s", log)
			}
		})
	}
}

// What an earlier version kept in a file is taken over once: nothing is told
// again of it. A file that cannot be read stops nothing.
func TestCommitStatusFileIsTakenOver(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		again      bool
	}{
		{"told", `{"headway-system/cluster headway-system/cluster":{"sha":"%s","state":"success"}}`, false},
		{"broken", "%.3s{", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := ""
			w, srv, _ := forgeWorld(t, forge.GitHub, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(w *world) {
				file = filepath.Join(w.data, "commit-status.json")
				for _, name := range []string{file, file + ".next"} {
					if err := os.WriteFile(name, fmt.Appendf(nil, tt.text, w.main()), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			})
			first := w.main()
			w.applied(first)
			w.write(map[string]string{"a.yaml": configMap("a", "two")})
			second := w.pushed("second")
			reported(w, srv, second, "success")
			remembered(w, second)
			if left, _ := filepath.Glob(file + "*"); len(left) > 0 {
				t.Errorf("%v is still there", left)
			}
			w.stop()
			w.start()
			w.write(map[string]string{"a.yaml": configMap("a", "three")})
			reported(w, srv, w.pushed("third"), "success")
			reported(w, srv, second, "success")
			of := 0
			for _, st := range srv.Statuses() {
				if st.SHA == first {
					of++
				}
			}
			if (of > 0) != tt.again {
				t.Errorf("%d statuses were set of the commit before, want some: %v", of, tt.again)
			}
		})
	}
}

// A commit that a newer one takes over before its verdict gets an end.
func TestCommitStatusSuperseded(t *testing.T) {
	w, srv, _ := forgeWorld(t, forge.GitLab, map[string]string{"d.yaml": deployment("web:1")}, func(ks *kustomizev1.Kustomization) { ks.Spec.Wait = true })
	first := git(t, w.work, "rev-parse", "HEAD")
	reported(w, srv, first, "running", "1 change")
	w.write(map[string]string{"d.yaml": deployment("web:2")})
	second := w.pushed("second")
	reported(w, srv, second, "running")
	reported(w, srv, first, "canceled", "superseded by "+second)
}

// What is wrong with the configuration is said in an event, without the token.
func TestCommitStatusRefused(t *testing.T) {
	w, srv, log := forgeWorld(t, forge.GitHub, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	reported(w, srv, git(t, w.work, "rev-parse", "HEAD"), "success")
	srv.Fail(func(rw http.ResponseWriter) bool {
		rw.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(rw, `{"message":"Bad credentials %s"}`, forgetest.Token)
		return true
	})
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.pushed("second"))
	w.eventually("an event", func() bool { return strings.Contains(log.String(), "Warning CommitStatusFailed POST") })
	if text := log.String(); strings.Contains(text, forgetest.Token) || !strings.Contains(text, "check the token and its rights") {
		t.Errorf("log:\n%s", text)
	}
	// What was refused keeps nothing back that comes later.
	srv.Fail(nil)
	w.write(map[string]string{"a.yaml": configMap("a", "three")})
	reported(w, srv, w.pushed("third"), "success")
}
