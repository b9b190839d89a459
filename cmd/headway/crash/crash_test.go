package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

const (
	// objects is how many there are before and after the commit, which changes
	// most of them, adds some and removes as many.
	objects = 200
	// perApp is how many of them one of the Kustomizations declares that cluster
	// declares.
	perApp = 50
)

// files are those of a commit: the objects from one on, and the Kustomizations
// in whose directories they are. Each of these has its directory in dir: with the
// commit before's spec it would find nothing. What is added to the first objects
// has a Kustomization of its own; the others move as far as the first ones go.
func files(dir string, from int, value string) map[string]string {
	files := map[string]string{}
	for i := range objects {
		app := i / perApp
		if from+i >= objects {
			app = objects / perApp
		}
		name, path := fmt.Sprintf("c%03d", from+i), fmt.Sprintf("%s/%d", dir, app)
		files[path+"/"+name+".yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata: {value: %s}\n", name, value)
		files[fmt.Sprintf("cluster/%d.yaml", app)] = fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: app-%d, namespace: headway-system}\n"+
			"spec: {interval: 1h, path: ./%s, prune: true, sourceRef: {kind: GitRepository, name: cluster}}\n", app, path)
	}
	return files
}

// scene is a store and a mirror at the first of two commits.
type scene struct {
	t             *testing.T
	child         string
	first, second string
	data          string // never run again: each round has a copy
}

func newScene(t *testing.T) *scene {
	t.Helper()
	root, work := t.TempDir(), filepath.Join(t.TempDir(), "work")
	s := &scene{t: t, data: t.TempDir(), child: filepath.Join(t.TempDir(), "child")}
	s.must("", "go", "build", "-o", s.child, "headway.dev/cmd/headway/crash/child")
	s.must("", "git", "init", "-q", "--bare", "-b", "main", filepath.Join(root, "repo.git"))
	s.must("", "git", "clone", "-q", filepath.Join(root, "repo.git"), work)
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&cgi.Handler{
		Path: program, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	})
	t.Cleanup(server.Close)
	commit := func(dir string, from int, value string) string {
		for _, old := range []string{"old", "cluster"} {
			if err := os.RemoveAll(filepath.Join(work, old)); err != nil {
				t.Fatal(err)
			}
		}
		for name, data := range files(dir, from, value) {
			name = filepath.Join(work, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s.must(work, "git", "add", "-A")
		s.must(work, "git", "commit", "-q", "-m", value)
		s.must(work, "git", "push", "-q", "origin", "HEAD:main")
		return s.must(work, "git", "rev-parse", "HEAD")
	}
	prepare(t, s.data, server.URL+"/repo.git")
	s.first = commit("old", 0, "old")
	s.reach(s.data, s.first, "the first commit")
	s.second = commit("new", 20, "new")
	return s
}

// must runs a command and returns what it prints.
func (s *scene) must(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// prepare makes a store with the source and its Kustomization.
func prepare(t *testing.T, dir, url string) {
	t.Helper()
	s, err := store.Open(store.Options{Path: filepath.Join(dir, "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Namespace: "headway-system", Name: "cluster"}
	hour := metav1.Duration{Duration: time.Hour}
	var tx change.Tx
	for _, o := range []object.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "headway-system"}},
		&sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{
			URL: url, Interval: hour, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		}},
		&kustomizev1.Kustomization{ObjectMeta: meta, Spec: kustomizev1.KustomizationSpec{
			Interval: hour, Path: "./cluster", Prune: true, SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "cluster"},
		}},
	} {
		tx.Changes = append(tx.Changes, change.Create(o, time.Now()))
	}
	if _, err := s.Commit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// reach runs the child until the commit is applied.
func (s *scene) reach(dir, commit, when string) {
	s.t.Helper()
	if out, err := exec.CommandContext(s.t.Context(), s.child, "--data-dir", dir, "--commit", commit).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", when, err, out)
	}
}

// copy is the state before the second commit, for one round.
func (s *scene) copy() string {
	s.t.Helper()
	dir := s.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.data)); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// kustomizations is how many there are at the second commit, or the first.
func kustomizations(second bool) int {
	if second {
		return 2 + objects/perApp
	}
	return 1 + objects/perApp
}

// check reads what is on the disk: all objects of one commit, whatever
// Kustomization they are of, and a journal that says which, once for each. It
// returns that commit.
func (s *scene) check(dir, when string) string {
	s.t.Helper()
	db, err := store.Open(store.Options{Path: filepath.Join(dir, "store.db")})
	if err != nil {
		s.t.Fatalf("%s: %v", when, err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			s.t.Errorf("%s: %v", when, err)
		}
	}()
	kind := schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: "Kustomization"}
	all, _ := db.List(kind, "headway-system")
	var commit string
	for _, o := range all {
		ks := o.(*kustomizev1.Kustomization)
		applied := strings.TrimPrefix(ks.Status.LastAppliedRevision, "main@sha1:")
		if commit == "" {
			commit = applied
		}
		if applied != commit {
			s.t.Fatalf("%s: %s has applied %.8s, and others %.8s: between two commits", when, ks.Name, applied, commit)
		}
	}
	if got, want := len(all), kustomizations(commit == s.second); got != want {
		s.t.Errorf("%s: %d Kustomizations, want %d", when, got, want)
	}
	wantValue, from := map[string]string{s.first: "old", s.second: "new"}[commit], 0
	if commit == s.second {
		from = 20
	}
	list, _ := db.List(schema.GroupKind{Kind: "ConfigMap"}, "default")
	if len(list) != objects {
		s.t.Errorf("%s: %d objects, want %d", when, len(list), objects)
	}
	for i, o := range list {
		cm := o.(*corev1.ConfigMap)
		if want := fmt.Sprintf("c%03d", from+i); cm.Name != want || cm.Data["value"] != wantValue {
			s.t.Fatalf("%s: the status says %.8s (%s) and object %d is %s with %q: between two commits", when, commit, wantValue, i, cm.Name, cm.Data["value"])
		}
	}
	entries := journal(s.t, db)
	want := map[string]int{s.first: kustomizations(false)}
	want[commit] = kustomizations(commit == s.second)
	for _, sha := range []string{s.first, s.second} {
		if got := entries[sha]; got != want[sha] {
			s.t.Errorf("%s: %.8s is applied and the journal says %d times that %.8s was", when, commit, got, sha)
		}
	}
	return commit
}

// journal counts the entries about applied commits, having verified the chain.
func journal(t *testing.T, db *store.Store) map[string]int {
	t.Helper()
	if _, err := syncer.New(syncer.Config{Store: db}).VerifyJournal(); err != nil {
		t.Error(err)
	}
	records, err := db.Records("journal", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, r := range records {
		var e wire.Entry
		if err := json.Unmarshal(r, &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == wire.EntryApplied {
			n[strings.TrimPrefix(e.Revision, "main@sha1:")]++
		}
	}
	return n
}

// The syncer is killed before each single change that it makes to a file, from
// its start through fetch, plan and transaction to what it writes after the
// journal. Between two of these a killed process leaves the same files wherever
// it was, so this is every step. Each time the one commit or the other is
// there, and the journal says which; the next start brings the new one.
func TestKilledBeforeEachChange(t *testing.T) {
	s := newScene(t)
	seen := map[string]int{}
	for at, dead := 1, true; dead; at++ {
		dir := s.copy()
		what, changes, err := run(t.Context(), at, dir, s.child, "--data-dir", dir, "--commit", s.second)
		if err != nil {
			t.Fatalf("killed at change %d: %v", at, err)
		}
		dead = what != ""
		when := fmt.Sprintf("killed at change %d, %s", at, what)
		if !dead {
			when = fmt.Sprintf("ended after %d changes", changes)
		}
		after := s.check(dir, when)
		seen[after]++
		t.Logf("%s: %.8s", when, after)
		if dead {
			s.reach(dir, s.second, when+", the next start")
			after = s.check(dir, when+", started again")
		}
		if after != s.second {
			t.Errorf("%s: at the end %.8s is applied, want the second commit", when, after)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if seen[s.first] == 0 || seen[s.second] < 2 {
		t.Errorf("%d kills left the first commit and %d the second, want both", seen[s.first], seen[s.second]-1)
	}
}
