package syncer_test

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/syncer/wire"
)

// appOf declares the Kustomization app, whose failures are reverted.
func appOf(value string) string {
	return "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: app, namespace: headway-system, annotations: {headway.dev/on-failure: revert}}\n" +
		"spec:\n  interval: 1h\n  timeout: 1h\n  prune: true\n  wait: true\n  path: ./app\n  sourceRef: {kind: GitRepository, name: cluster}\n  postBuild: {substitute: {a: " + value + "}}\n"
}

// An automatic revert brings back exactly the files that Git says the last
// healthy revision had, and with them the objects, whatever came between: other
// commits of the push, merges, moves, specs of children, broken neighbours.
func TestRevertEqualsGit(t *testing.T) {
	list, pushes := seeds(t, 2, 8)
	for _, seed := range list {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRandomRepo(seed)
			r.files["cluster/app.yaml"] = appOf("zero")
			r.files["app/keep.yaml"] = configMap("keep-app", "\"${a}\"")
			r.files["app/web.yaml"] = deployment("good:0")
			w := mono(t, r.files)
			defer w.controller()()
			w.allSettled()
			good := git(t, w.bare, "rev-parse", "main")
			for i, bad := 0, 0; i < pushes && bad < 3; i++ { // three in an hour are reverted
				before, previous, whole := w.snapshot(), git(t, w.bare, "rev-parse", "main"), w.whole()
				said := r.push(w)
				if r.rng.IntN(2) == 0 {
					image := pick(r.rng, []string{"bad", "bad", "bad", "good"})
					r.files["app/web.yaml"] = deployment(fmt.Sprintf("%s:%d", image, i))
					if r.rng.IntN(2) == 0 {
						r.files["cluster/app.yaml"] = appOf(fmt.Sprintf("v%d", i))
					}
					r.commit(w, image+" image")
					said = append(said, image+" image")
					if r.rng.IntN(2) == 0 {
						said = append(said, r.push(w)...)
					}
				}
				head := git(t, w.work, "rev-parse", "HEAD")
				git(t, w.work, "push", "-q", "origin", "HEAD:main")
				fails := w.attempted(head) && strings.Contains(r.files["app/web.yaml"], "bad:")
				if fails {
					bad++
					w.eventually(fmt.Sprintf("seed %d: %s is reverted (%s)", seed, head, strings.Join(said, "; ")), func() bool { return git(t, w.bare, "rev-parse", "main") != head })
				}
				w.allSettled()
				now := git(t, w.bare, "rev-parse", "main")
				fault := func(format string, args ...any) {
					t.Fatalf("seed %d, push %d (%s): %s\nstates:\n\t%s\n%s", seed, i, strings.Join(said, "; "), fmt.Sprintf(format, args...), strings.Join(w.states(), "\n\t"), git(t, w.bare, "log", "--graph", "--oneline", "-12", "main"))
				}
				switch {
				case !fails && now != head:
					fault("main moved to %s by itself", now)
				case !fails && w.readyOf("app") == "True ReconciliationSucceeded Applied revision: main@sha1:"+head:
					good = head
				case fails:
					if got, want := git(t, w.bare, "rev-parse", now+"^{tree}"), git(t, w.bare, "rev-parse", good+"^{tree}"); got != want {
						fault("the revert's tree is %s, that of %s was %s:\n%s", got, good, want, git(t, w.bare, "diff", "--stat", good, now))
					}
					if up := git(t, w.bare, "rev-parse", now+"^"); up != head {
						fault("the revert stands on %s and not on %s", up, head)
					}
					if differ := differences(before, w.snapshot()); whole && previous == good && len(differ) > 0 {
						fault("the objects are others than before the push:\n\t%s", strings.Join(differ, "\n\t"))
					}
					// What it goes back to may have a broken parent: while that cannot be applied
					// app keeps the spec of the bad commit, and waits for it to be mended.
					applied := w.readyOf("app")
					waits := strings.Contains(applied, "which declares this one") && !strings.HasPrefix(w.readyOf("cluster"), "True")
					git(t, w.work, "pull", "-q", "--ff-only", "origin", "main")
					r.reread(w)
					if !waits && !r.contested("app", applied) && applied != "True ReconciliationSucceeded Applied revision: main@sha1:"+now {
						fault("app is %s after the revert", applied)
					}
					good = now
				}
			}
		})
	}
}

// contested reports whether a Kustomization cannot be applied because the files
// themselves declare an object of it twice: which one has it is whoever came first, so
// the same files come to another end once one of the two had been gone.
func (r *randomRepo) contested(kustomization, ready string) bool {
	m := heldByAnother.FindStringSubmatch(ready)
	return m != nil && m[1] == kustomization && len(r.names(func(f string) bool { return path.Base(f) == m[2]+".yaml" && path.Dir(f) != kustomization })) > 0
}

var heldByAnother = regexp.MustCompile(`ReconciliationFailed (\w+)/copy\.yaml:\d+: \w+ default/(\w+): is managed by the Kustomization headway-system/\w+: remove it from there first$`)

// attempted waits until app has looked at a commit, and reports whether it was
// applied. The status says so only until the commit is reverted, which may be over
// before this is called.
func (w *world) attempted(head string) bool {
	w.t.Helper()
	applied := func() bool {
		log, err := w.sync.Log("", "", "", -1, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		return slices.ContainsFunc(log, func(e wire.LogEntry) bool {
			return e.Type == wire.EntryApplied && e.Kustomization == "headway-system/app" && strings.HasSuffix(e.Revision, head)
		})
	}
	w.eventually("app has looked at "+head, func() bool {
		ks, ok := w.store.Get(key("Kustomization", "headway-system", "app")).(*kustomizev1.Kustomization)
		return ok && (strings.HasSuffix(ks.Status.LastAttemptedRevision, head) || strings.Contains(w.readyOf("app"), head)) || applied()
	})
	return applied()
}

// whole reports whether all Kustomizations have applied the newest commit.
func (w *world) whole() bool {
	return !slices.ContainsFunc(w.states(), func(s string) bool { return !strings.Contains(s, ": True ") })
}

// differences are what two states differ in, whoever the objects are.
func differences(before, after map[object.Key]object.Object) []string {
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	var list []string
	for key := range keys {
		for _, f := range diff.Objects(before[key], after[key]) {
			list = append(list, key.String()+" "+f.Path)
		}
	}
	slices.Sort(list)
	return list
}
