package write_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gittest"
)

// gitRevertAt is the tree that the git program makes of HEAD by a revert, or
// else the files that it finds in conflict.
func gitRevertAt(tb testing.TB, work, sha string) (tree string, conflicts []string) {
	tb.Helper()
	before := gittest.Git(tb, work, "rev-parse", "HEAD")
	cmd := exec.CommandContext(context.Background(), "git", "-c", "merge.renames=false", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "revert", "--no-edit", sha)
	cmd.Dir = work
	if err := cmd.Run(); err == nil {
		tree = gittest.Git(tb, work, "rev-parse", "HEAD^{tree}")
	} else {
		conflicts = slices.Compact(strings.Fields(gittest.Git(tb, work, "diff", "--name-only", "--diff-filter=U")))
	}
	gittest.Git(tb, work, "reset", "-q", "--hard", before)
	gittest.Git(tb, work, "clean", "-qfdx")
	return tree, conflicts
}

// lines are n random lines of a manifest; few words make many that are alike.
func lines(rng *rand.Rand, n, words int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%sword%d", strings.Repeat("  ", rng.IntN(3)), rng.IntN(words))
	}
	return out
}

// edited changes, adds, removes and moves lines at random places.
func edited(rng *rand.Rand, text []string, words int) []string {
	text = slices.Clone(text)
	for range 1 + rng.IntN(2) {
		at := rng.IntN(len(text) + 1)
		to := min(len(text), at+rng.IntN(3))
		switch rng.IntN(4) {
		case 0:
			text = slices.Delete(text, at, to)
		case 1:
			moved := slices.Clone(text[at:to])
			text = slices.Delete(text, at, to)
			text = slices.Insert(text, rng.IntN(len(text)+1), moved...)
		default:
			text = slices.Replace(text, at, to, lines(rng, rng.IntN(4), words)...)
		}
	}
	return text
}

// A revert of an older commit merges by lines: in random histories of edits to
// a few files the tree is the one that `git revert` makes, and where that finds
// conflicts these files are named, and nothing is changed.
func TestRevertMergesLinesAsGitDoes(t *testing.T) {
	merged, refused := 0, 0
	for seed := range 3 {
		rng := rand.New(rand.NewPCG(uint64(seed), 17))
		words := []int{4, 12, 200}[seed%3]
		bare, work := gittest.Repository(t)
		files := map[string][]string{}
		for _, name := range []string{"a.yaml", "d/b.yaml", "d/e/c.yaml"} {
			files[name] = lines(rng, 12+rng.IntN(60), words)
		}
		save := func(subject string, names ...string) {
			content := map[string]string{}
			for _, name := range names {
				content[name] = strings.Join(files[name], "\n")
				if rng.IntN(4) > 0 {
					content[name] += "\n" // else the last line has no end
				}
			}
			gittest.Push(t, work, subject, content)
		}
		save("first", "a.yaml", "d/b.yaml", "d/e/c.yaml")
		for i := range 12 {
			var names []string
			for _, name := range []string{"a.yaml", "d/b.yaml", "d/e/c.yaml"} {
				if rng.IntN(2) == 0 {
					files[name] = edited(rng, files[name], words)
					names = append(names, name)
				}
			}
			own := fmt.Sprint("n", i) // so that no commit is empty
			files[own] = []string{"n"}
			save(fmt.Sprint("commit ", i), append(names, own)...)
		}
		r := gittest.Open(t, bare)
		sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
		commits := strings.Fields(gittest.Git(t, work, "rev-list", "HEAD"))
		head := gittest.Git(t, work, "rev-parse", "HEAD^{tree}")
		for _, sha := range commits[:len(commits)-1] {
			want, conflicts := gitRevertAt(t, work, sha)
			c, err := write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: sha, Author: sig, Committer: sig})
			refusal, conflict := errors.AsType[*write.ConflictError](err)
			switch {
			case err == nil && c.Tree != want:
				t.Errorf("seed %d: revert of %s: tree %s, git's is %q (conflicts %v)\n%s", seed, sha, c.Tree, want, conflicts, gittest.Git(t, bare, "diff", commits[0], c.Tree))
			case err == nil:
				merged++
				if of, err := write.RevertOf(r, c.SHA); err != nil || of.Commit != sha {
					t.Errorf("RevertOf = %v, %v; want %s", of, err, sha)
				}
				gittest.Git(t, bare, "update-ref", "refs/heads/main", commits[0])
			case conflict:
				refused++
				if !slices.Equal(refusal.Files, conflicts) {
					t.Errorf("seed %d: revert of %s: conflicts in %v, git's are in %v", seed, sha, refusal.Files, conflicts)
				}
				if got := gittest.Git(t, bare, "rev-parse", "main"); got != commits[0] {
					t.Errorf("a conflict moved main to %s", got)
				}
			case errors.Is(err, write.ErrNothingToRevert):
				if want != "" && want != head {
					t.Errorf("nothing to revert of %s, but git makes %s", sha, want)
				}
			default:
				t.Errorf("revert of %s: %v", sha, err)
			}
		}
		gittest.Git(t, bare, "fsck", "--strict")
	}
	t.Logf("%d merged, %d refused", merged, refused)
	if merged < 9 || refused < 9 {
		t.Errorf("%d reverts and %d conflicts: the histories are too simple", merged, refused)
	}
}

// Three versions of a file, as git merges them: far more than histories can
// have, with lines that are alike and longer texts.
func TestMergedFilesAreGits(t *testing.T) {
	bare, work := gittest.Repository(t)
	r := gittest.Open(t, bare)
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	gittest.Push(t, work, "first", map[string]string{"f": "x\n"})
	rng := rand.New(rand.NewPCG(3, 5))
	text := func(lines []string) string { return strings.Join(lines, "\n") + "\n" }
	merged, refused := 0, 0
	for i := range 32 {
		words := []int{3, 8, 30, 500}[i%4]
		parent := lines(rng, 5+rng.IntN(250), words)
		commit := edited(rng, edited(rng, parent, words), words)
		tip := edited(rng, edited(rng, commit, words), words)
		gittest.Push(t, work, "parent", map[string]string{"f": text(parent), "n": fmt.Sprint(i, " parent")})
		sha := gittest.Push(t, work, "commit", map[string]string{"f": text(commit), "m": fmt.Sprint(i)})
		head := gittest.Push(t, work, "tip", map[string]string{"f": text(tip), "n": fmt.Sprint(i, " tip")})
		want := mergeTree(t, bare, head, sha, sha+"^")
		c, err := write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: sha, Author: sig, Committer: sig})
		switch _, conflict := errors.AsType[*write.ConflictError](err); {
		case err == nil:
			merged++
			if c.Tree != want {
				t.Errorf("case %d: the tree is %s, git makes %q", i, c.Tree, want)
			}
			gittest.Git(t, bare, "update-ref", "refs/heads/main", head)
		case conflict:
			refused++
			if want != "" {
				t.Errorf("case %d: %v, but git makes %s", i, err, want)
			}
		default:
			t.Errorf("case %d: %v", i, err)
		}
	}
	t.Logf("%d merged, %d refused", merged, refused)
	if merged < 6 || refused < 6 {
		t.Errorf("%d merged and %d refused: the texts are too simple", merged, refused)
	}
}

// What is no text, and what is too large or too hard to be compared, is not
// merged but refused, at once.
func TestMergeIsBounded(t *testing.T) {
	random := func(rng *rand.Rand, n, words int) string { return strings.Join(lines(rng, n, words), "\n") + "\n" }
	rng := rand.New(rand.NewPCG(1, 1))
	for name, versions := range map[string][3]string{
		"binary":    {"a\n\x00\nb\nc\nd\n", "A\n\x00\nb\nc\nd\n", "A\n\x00\nb\nc\nD\n"},
		"too large": {strings.Repeat("x\n", 1<<19) + "a\nb\nc\n", strings.Repeat("x\n", 1<<19) + "A\nb\nc\n", strings.Repeat("x\n", 1<<19) + "A\nb\nC\n"},
		"too hard":  {random(rng, 60_000, 3), random(rng, 60_000, 3), random(rng, 60_000, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			bare, work := gittest.Repository(t)
			gittest.Push(t, work, "first", map[string]string{"f": versions[0]})
			sha := gittest.Push(t, work, "second", map[string]string{"f": versions[1]})
			gittest.Push(t, work, "third", map[string]string{"f": versions[2]})
			sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := write.Revert(ctx, gittest.Open(t, bare), write.RevertOptions{Branch: "main", Commit: sha, Author: sig, Committer: sig})
			conflict, ok := errors.AsType[*write.ConflictError](err)
			if !ok || !slices.Equal(conflict.Files, []string{"f"}) || ctx.Err() != nil {
				t.Errorf("revert: %v", err)
			}
		})
	}
}
