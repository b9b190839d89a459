package crash_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/store"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// objects is how many there are before and after the commit, which changes
// most of them, adds some and removes as many.
const objects = 200

// scene is a store at the first of two commits.
type scene struct {
	t             *testing.T
	repo          string
	first, second string
	data          string // never run again: each round has a copy
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, repo: filepath.Join(t.TempDir(), "repo.git"), data: t.TempDir()}
	work := filepath.Join(t.TempDir(), "work")
	git(t, "", "init", "-q", "--bare", "-b", "main", s.repo)
	git(t, "", "clone", "-q", s.repo, work)
	commit := func(from int, value string) string {
		for i := range objects {
			name := fmt.Sprintf("c%03d", from+i)
			data := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata: {value: %s}\n", name, value)
			if err := os.WriteFile(filepath.Join(work, name+".yaml"), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for i := range from {
			if err := os.Remove(filepath.Join(work, fmt.Sprintf("c%03d.yaml", i))); err != nil {
				t.Fatal(err)
			}
		}
		git(t, work, "add", "-A")
		git(t, work, "commit", "-q", "-m", value)
		git(t, work, "push", "-q", "origin", "HEAD:main")
		return git(t, work, "rev-parse", "HEAD")
	}
	prepare(t, s.data, s.repo)
	s.first = commit(0, "old")
	if out, err := s.run(s.data, s.first, 0, nil); err != nil {
		t.Fatalf("the first commit: %v\n%s", err, out)
	}
	s.second = commit(20, "new")
	return s
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// run runs the child, below the command if there is one.
func (s *scene) run(dir, commit string, call int, below []string) (string, error) {
	args := append(below, os.Args[0])
	cmd := exec.CommandContext(s.t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), dirEnv+"="+dir, repoEnv+"="+s.repo, commitEnv+"="+commit, callEnv+"="+strconv.Itoa(call))
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// copy is the state before the second commit, for one round.
func (s *scene) copy() string {
	s.t.Helper()
	dir := s.t.TempDir()
	data, err := os.ReadFile(filepath.Join(s.data, "store.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "store.db"), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// check reads what is on the disk: all objects of one commit, and a journal
// that says which, once. It returns that commit.
func (s *scene) check(dir, when string) string {
	s.t.Helper()
	db, err := openStore(dir)
	if err != nil {
		s.t.Fatalf("%s: %v", when, err)
	}
	defer closeStore(s.t, db)
	commit := strings.TrimPrefix(applied(db), "main@sha1:")
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
	want := map[string]int{s.first: 1}
	want[commit] = 1
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

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// die runs one round: killed on the way to the second commit, looked at, run
// again to the end, looked at again.
func (s *scene) die(when string, call int, below []string) (dead bool, after string) {
	s.t.Helper()
	dir := s.copy()
	out, err := s.run(dir, s.second, call, below)
	dead = killed(err)
	if err != nil && !dead {
		s.t.Fatalf("%s: %v\n%s", when, err, out)
	}
	after = s.check(dir, when)
	if !dead {
		return false, after
	}
	if out, err := s.run(dir, s.second, 0, nil); err != nil {
		s.t.Fatalf("%s: the next start: %v\n%s", when, err, out)
	}
	if got := s.check(dir, when+", started again"); got != s.second {
		s.t.Errorf("%s: after the next start %.8s is applied, want the second commit", when, got)
	}
	return true, after
}

// Killed at any call that it makes of the store, from the start through fetch,
// build, plan, check, transaction and what follows it, the syncer leaves the
// one commit or the other, and the journal says which.
func TestKilledBetweenFetchAndJournal(t *testing.T) {
	s := newScene(t)
	dir := s.copy()
	out, err := s.run(dir, s.second, 0, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	calls, err := strconv.Atoi(out)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.check(dir, "never killed"); got != s.second {
		t.Fatalf("applied %.8s, want the second commit", got)
	}
	// The first and last calls all, for there the transactions are; of the
	// others, which only read, some.
	points := map[int]bool{}
	for i := range 5 {
		points[1+i], points[calls-2*i], points[1+i*calls/5] = true, true, true
	}
	seen := map[string]int{}
	for call := range points {
		if call < 1 {
			continue
		}
		// A run may end some calls earlier than another did.
		if dead, after := s.die(fmt.Sprintf("killed at call %d of %d", call, calls), call, nil); dead {
			seen[after]++
		}
	}
	if seen[s.first] == 0 {
		t.Errorf("no run was killed before the commit: %v", seen)
	}
}

// Killed by the kernel at each write and each flush of the store's file, too.
func TestKilledWhileStoring(t *testing.T) {
	s := newScene(t)
	for _, call := range []string{"pwrite64", "fdatasync"} {
		ended := false
		for n := 1; n <= 60 && !ended; n += max(1, n/2) {
			below := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n)}
			dead, _ := s.die(fmt.Sprintf("killed at %s %d", call, n), 0, below)
			ended = !dead
		}
		if !ended {
			t.Errorf("more than 60 calls of %s for two transactions", call)
		}
	}
}
