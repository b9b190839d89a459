package history_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/internal/gittest"
)

// Nearest lists what a plain breadth-first search does, and ends where that does,
// in random histories whose dates say nothing, also where one was not fetched
// whole.
func TestNearest(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 11))
		var stream bytes.Buffer
		const commits = 60
		for i := 1; i <= commits; i++ {
			fmt.Fprintf(&stream, "commit refs/heads/main\nmark :%d\ncommitter C <c@example.com> %d +0000\ndata 2\nm\n", i, 1_000_000_000+rng.IntN(700_000_000))
			if i == 1 {
				continue
			}
			parents := []int{i - 1 - rng.IntN(min(4, i-1))}
			for p := 1 + rng.IntN(i-1); rng.IntN(3) == 0 && !slices.Contains(parents, p); p = 1 + rng.IntN(i-1) {
				parents = append(parents, p)
			}
			for n, p := range parents {
				fmt.Fprintf(&stream, "%s :%d\n", []string{"from", "merge"}[min(n, 1)], p)
			}
		}
		whole := importHistory(t, stream.Bytes())
		shallow := filepath.Join(t.TempDir(), "shallow.git")
		runGit(t, whole, "-c", "protocol.file.allow=always", "clone", "-q", "--bare", "--depth", "4", "file://"+whole, shallow)
		for _, dir := range []string{whole, shallow} {
			repo, tip := gittest.Open(t, dir), runGit(t, dir, "rev-parse", "main")
			all := len(strings.Fields(runGit(t, dir, "rev-list", "main")))
			for _, limit := range []int{0, 1, 2, 5, all - 1, all, all + 1, 1000} {
				want, wantErr := breadthFirst(repo, tip, limit)
				var got []string
				var gotErr error
				for c, err := range history.Nearest(repo, tip, limit) {
					if gotErr = err; err == nil {
						got = append(got, c.SHA)
					}
				}
				if !slices.Equal(got, want) || (gotErr == nil) != (wantErr == nil) {
					t.Errorf("seed %d, %s, at most %d: %v, %v; want %v, %v", seed, filepath.Base(dir), limit, got, gotErr, want, wantErr)
				}
			}
			if _, err := breadthFirst(repo, tip, 1000); (err != nil) != (dir == shallow) {
				t.Errorf("the end of the history in %s: %v", filepath.Base(dir), err)
			}
		}
	}
}

func breadthFirst(repo *git.Repository, sha string, limit int) (list []string, err error) {
	walked := map[string]bool{}
	for next := []string{sha}; len(next) > 0 && len(walked) < limit; next = next[1:] {
		if walked[next[0]] {
			continue
		}
		walked[next[0]] = true
		c, err := repo.Commit(next[0])
		if err != nil {
			return list, err
		}
		list = append(list, c.SHA)
		next = append(next, c.Parents...)
	}
	return list, nil
}
