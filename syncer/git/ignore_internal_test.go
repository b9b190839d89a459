package git

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// The names that are told first must never change what the patterns say: the
// oracle is the library, on random patterns and paths of few letters.
func TestIgnorerIsTheLibrarys(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	segment := func() string {
		return pick("a", "b", "ab", "a.jpg", "*.jpg", "*", "**", "a*", "?b", "[ab]", `\!a`, "*a*", ".git", "")
	}
	pattern := func() string {
		parts := make([]string, 1+rnd.IntN(3))
		for i := range parts {
			parts[i] = segment()
		}
		return pick("", "", "!", "/") + strings.Join(parts, "/") + pick("", "", "/")
	}
	ignored := 0
	for range 20_000 {
		var lines []string
		var all []gitignore.Pattern
		for range 1 + rnd.IntN(3) {
			line := pattern()
			if strings.Trim(line, "/!") == "" {
				continue
			}
			lines = append(lines, line)
			all = append(all, gitignore.ParsePattern(line, nil))
		}
		ig := newIgnorer(patterns{lines: "# comment\n\n" + strings.Join(lines, "\n")})
		if (ig == nil) != (len(lines) == 0) {
			t.Fatalf("patterns %q: ignorer is nil: %t", lines, ig == nil)
		}
		if ig == nil {
			continue
		}
		parts := make([]string, 1+rnd.IntN(4))
		for i := range parts {
			parts[i] = pick("a", "b", "ab", "ba", "a.jpg", "b.jpg", ".git", "!a", "c")
		}
		mode := filemode.Regular
		if rnd.IntN(2) == 0 {
			mode = filemode.Dir
		}
		want := gitignore.NewMatcher(all).Match(parts, mode == filemode.Dir)
		if got, err := ig.ignores(strings.Join(parts, "/"), mode); err != nil || got != want {
			t.Fatalf("patterns %q ignore %q (%s): %t, %v, want %t", lines, parts, mode, got, err, want)
		}
		if want {
			ignored++
		}
	}
	if ignored < 1000 {
		t.Errorf("only %d paths were ignored: the test tests little", ignored)
	}
}
