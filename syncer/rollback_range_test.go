package syncer_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"headway.dev/syncer/wire"
)

// stage makes a commit that is not pushed yet.
func (w *world) stage(subject string, files map[string]string) string {
	w.t.Helper()
	w.write(files)
	git(w.t, w.work, "add", "-A")
	git(w.t, w.work, "commit", "-q", "--allow-empty", "-m", subject)
	return git(w.t, w.work, "rev-parse", "HEAD")
}

// wentBack fails unless main has one new commit on top of head, and with it
// the files that git says good had.
func (w *world) wentBack(head, good string) string {
	w.t.Helper()
	revert := git(w.t, w.bare, "rev-parse", "main")
	if got := git(w.t, w.bare, "rev-parse", "main^"); got != head {
		w.t.Errorf("the revert stands on %s, want %s", got, head)
	}
	if diff := git(w.t, w.bare, "diff", "--stat", good, revert); diff != "" {
		w.t.Errorf("the files are not those of %s, which was healthy:\n%s", good, diff)
	}
	return revert
}

// What was pushed in one go is taken back in one go, whichever of it is bad.
func TestRevertOfAPushOfSeveralCommits(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1"), "a.yaml": configMap("a", "one")}, onFailure("revert"))
	good := w.started()
	bad := w.stage("bad image", map[string]string{"d.yaml": deployment("web:broken")})
	w.stage("harmless", map[string]string{"a.yaml": configMap("a", "two")})
	w.write(map[string]string{"README.md": "words"})
	head := w.push("edit the README")
	w.eventually("it is applied", func() bool { return w.image() == "web:broken" })
	w.fail()
	w.eventually("it is reverted", func() bool { return w.image() == "web:1" })
	log, err := w.sync.Log("", "", "", -1, 100)
	if err != nil {
		t.Fatal(err)
	}
	var with []string
	for _, e := range log {
		if e.Type == wire.EntryApplied && strings.HasSuffix(e.Revision, head) {
			for _, c := range e.With {
				with = append(with, c.Subject)
			}
		}
	}
	if got := strings.Join(with, ", "); got != "harmless, bad image" {
		t.Errorf("the log names %q beside the newest commit", got)
	}
	message := git(t, w.bare, "log", "-1", "--format=%B", w.wentBack(head, good))
	for _, want := range []string{"Revert 3 commits, back to " + good[:12], "This reverts commit " + head, bad[:12] + " bad image", "Deployment/default/web"} {
		if !strings.Contains(message, want) {
			t.Errorf("the message lacks %q:\n%s", want, message)
		}
	}
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("a = %q after the revert", got)
	}
	w.rollout()
	w.applied(git(t, w.bare, "rev-parse", "main"))
}

// A pull makes the bad local commit the first parent of a merge: what a
// colleague had deployed meanwhile stays.
func TestRevertOfAPullKeepsTheColleaguesCommit(t *testing.T) {
	for _, by := range []string{"revert", "rollback"} {
		t.Run(by, func(t *testing.T) {
			mode := map[string]string{"revert": "revert", "rollback": "none"}[by]
			w := newWorld(t, map[string]string{"d.yaml": deployment("web:1"), "a.yaml": configMap("a", "one")}, onFailure(mode))
			base := w.started()
			w.write(map[string]string{"a.yaml": configMap("a", "the colleague's")})
			theirs := w.push("a colleague's")
			w.applied(theirs)
			git(t, w.work, "reset", "-q", "--hard", base)
			w.stage("bad image", map[string]string{"d.yaml": deployment("web:broken")})
			git(t, w.work, "pull", "-q", "--no-rebase", "--no-edit", "origin", "main")
			head := w.push("after the pull")
			w.eventually("it is applied", func() bool { return w.image() == "web:broken" })
			w.fail()
			if by == "rollback" {
				var res wire.RollbackResult
				if code, body := w.call("rollback", wire.RollbackRequest{}, &res); code != http.StatusOK || res.To != theirs || res.Reverted != head {
					t.Fatalf("rollback: %d %s, want it back to %s", code, body, theirs)
				}
			}
			w.eventually("it is back", func() bool { return w.image() == "web:1" })
			w.wentBack(head, theirs)
			if got := w.configMap("a")["key"]; got != "the colleague's" {
				t.Errorf("a = %q after the revert", got)
			}
		})
	}
}

// Pushes made at random, of several commits, with merges in which the bad
// commit is the first parent or the second, and with commits that change the
// spec of a Kustomization together with its files: whenever one fails, the
// revert has the files that git says were there when all was healthy last.
func TestRevertsOfRandomPushes(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 8))
	child := func(prefix string) string {
		return `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: child, namespace: headway-system}
spec:
  interval: 1h
  path: ./child
  prune: true
  commonMetadata: {labels: {part: "` + prefix + `"}}
  sourceRef: {kind: GitRepository, name: cluster}
`
	}
	w := newWorld(t, map[string]string{
		"apps/d.yaml": deployment("good:0"), "apps/a.yaml": configMap("a", "one"), "apps/child.yaml": child("x"), "child/c.yaml": configMap("c", "one"),
	}, onPath("apps", onFailure("revert")))
	defer w.controller()()
	good := git(t, w.work, "rev-parse", "HEAD")
	w.applied(good)
	for i := range 6 {
		base, bad := good, i%2 == 0
		edits := []map[string]string{
			{"apps/a.yaml": configMap("a", fmt.Sprint("v", i))},
			{"apps/child.yaml": child(fmt.Sprint("p", i)), "child/c.yaml": configMap("c", fmt.Sprint("v", i))},
			{"README.md": fmt.Sprint(i)},
			{"apps/d.yaml": deployment(fmt.Sprintf("good:%d", i+1))},
		}
		if bad {
			edits[3] = map[string]string{"apps/d.yaml": deployment(fmt.Sprintf("bad:%d", i+1))}
		}
		rng.Shuffle(len(edits), func(a, b int) { edits[a], edits[b] = edits[b], edits[a] })
		switch rng.IntN(3) {
		case 0:
			for n, files := range edits {
				w.stage(fmt.Sprint("commit ", n), files)
			}
		default:
			// One half is merged into the other.
			for n, files := range edits[:2] {
				w.stage(fmt.Sprint("ours ", n), files)
			}
			ours := git(t, w.work, "rev-parse", "HEAD")
			git(t, w.work, "reset", "-q", "--hard", base)
			for n, files := range edits[2:] {
				w.stage(fmt.Sprint("theirs ", n), files)
			}
			git(t, w.work, "merge", "-q", "--no-ff", "-m", "Merge branch 'main'", ours)
		}
		git(t, w.work, "push", "-q", "origin", "HEAD:main")
		head := git(t, w.work, "rev-parse", "HEAD")
		if bad {
			w.eventually("it is reverted", func() bool { return git(t, w.bare, "rev-parse", "main") != head })
			head = w.wentBack(head, good)
			git(t, w.work, "pull", "-q", "--ff-only", "origin", "main")
		}
		w.applied(head)
		w.eventually("it is healthy", func() bool { return w.condition("headway.dev/Verdict") == "True main@sha1:"+head })
		good = head
	}
}
