package history_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/internal/gittest"
)

// Between lists what git log has for two commits, across merges.
func TestBetween(t *testing.T) {
	bare, work := gittest.Repository(t)
	base := gittest.Push(t, work, "base", map[string]string{"a": "1"})
	gittest.Git(t, work, "checkout", "-q", "-b", "topic")
	gittest.Git(t, work, "commit", "-q", "--allow-empty", "-m", "topic")
	gittest.Git(t, work, "checkout", "-q", "main")
	mid := gittest.Push(t, work, "mid", map[string]string{"a": "2"})
	gittest.Git(t, work, "merge", "-q", "--no-ff", "-m", "merge", "topic")
	tip := gittest.Push(t, work, "tip", map[string]string{"a": "3"})
	r := gittest.Open(t, bare)
	for _, from := range []string{base, mid, tip, gittest.Git(t, work, "rev-parse", "topic")} {
		list, err := history.Between(r, from, tip, 100)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, c := range list {
			got[c.SHA] = true
		}
		want := strings.Fields(gittest.Git(t, work, "rev-list", from+".."+tip))
		for _, sha := range want {
			if !got[sha] {
				t.Errorf("from %s: %s is missing", from, sha)
			}
		}
		if len(got) != len(want) || len(list) != len(want) {
			t.Errorf("from %s: %d commits, want %d", from, len(list), len(want))
		}
	}
	if list, err := history.Between(r, "", tip, 100); err != nil || len(list) != 1 || list[0].SHA != tip {
		t.Errorf("from nothing: %v, %v", list, err)
	}
	if list, err := history.Between(r, base, tip, 2); err != nil || len(list) != 2 {
		t.Errorf("at most two: %v, %v", list, err)
	}
}

// Dates say nothing about what a history contains: commits that are older, or
// newer, than they say are listed as git lists them, each before its parents.
func TestBetweenWhateverTheDates(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 5))
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	commits := []string{gittest.Git(t, work, "rev-parse", "HEAD")}
	for i := range 25 {
		t.Setenv("GIT_COMMITTER_DATE", fmt.Sprintf("%d +0000", 1_000_000_000+rng.IntN(700_000_000)))
		parents := []string{"-p", commits[len(commits)-1-rng.IntN(min(4, len(commits)))]}
		if p := commits[rng.IntN(len(commits))]; rng.IntN(3) == 0 && p != parents[1] {
			parents = append(parents, "-p", p)
		}
		commits = append(commits, gittest.Git(t, work, append([]string{"commit-tree", "-m", fmt.Sprint(i), "HEAD^{tree}"}, parents...)...))
		gittest.Git(t, work, "update-ref", fmt.Sprint("refs/heads/c", i), commits[len(commits)-1])
	}
	gittest.Git(t, work, "push", "-q", "origin", "refs/heads/*:refs/heads/*")
	histories := map[string]string{}
	for _, sha := range commits {
		histories[sha] = gittest.Git(t, bare, "rev-list", sha)
	}
	r := gittest.Open(t, bare)
	for range 80 {
		from, to := commits[rng.IntN(len(commits))], commits[rng.IntN(len(commits))]
		list, err := history.Between(r, from, to, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, limit := range []int{1, 2, 5} {
			first, err := history.Between(r, from, to, limit)
			if err != nil || !slices.EqualFunc(first, list[:min(limit, len(list))], func(a, b git.Commit) bool { return a.SHA == b.SHA }) {
				t.Errorf("%s..%s: of %d commits the first %d are %d others, %v", from, to, len(list), limit, len(first), err)
			}
		}
		place := map[string]int{}
		for i, c := range list {
			place[c.SHA] = i
		}
		// Not `git rev-list from..to`: it trusts the dates.
		want := slices.DeleteFunc(strings.Fields(histories[to]), func(sha string) bool { return strings.Contains(histories[from], sha) })
		for _, sha := range want {
			if _, listed := place[sha]; !listed {
				t.Errorf("%s..%s: %s is missing", from, to, sha)
			}
		}
		if len(list) != len(want) || len(place) != len(want) {
			t.Errorf("%s..%s: %d commits, git lists %d", from, to, len(list), len(want))
		}
		for i, c := range list {
			for _, p := range c.Parents {
				if at, listed := place[p]; listed && at < i {
					t.Errorf("%s..%s: %s is listed after its parent %s", from, to, c.SHA, p)
				}
			}
		}
	}
}

// Dates of commits say nothing about their order.
func TestClockSkew(t *testing.T) {
	bare, work := gittest.Repository(t)
	var shas []string
	for i, date := range []string{"2037-01-01T00:00:00Z", "1990-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "1970-01-01T00:00:01Z"} {
		t.Setenv("GIT_COMMITTER_DATE", date)
		t.Setenv("GIT_AUTHOR_DATE", date)
		shas = append(shas, gittest.Push(t, work, date, map[string]string{"a": fmt.Sprint(i)}))
	}
	r := gittest.Open(t, bare)
	for i, a := range shas {
		for j, b := range shas {
			if got, err := history.IsAncestor(r, a, b); got != (i <= j) || err != nil {
				t.Errorf("IsAncestor(%d, %d) = %v, %v", i, j, got, err)
			}
		}
	}
	if list, err := r.Log(shas[3], 10); err != nil || len(list) != 4 || list[3].SHA != shas[0] {
		t.Errorf("Log = %v, %v", list, err)
	}
}
