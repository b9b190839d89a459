package write_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gittest"
)

func TestTrailers(t *testing.T) {
	for name, tc := range map[string]struct {
		message string
		want    []string
	}{
		"one":                   {"subject\n\nHeadway-Allow: deletes=40\n", []string{"deletes=40"}},
		"several, any case":     {"subject\n\nbody\n\nHeadway-Allow: deletes=40\nSigned-off-by: Ada\nheadway-allow:  restarts=3, freeze \n", []string{"deletes=40", "restarts=3, freeze"}},
		"goes on":               {"subject\n\nHeadway-Allow: deletes=40\n restarts=3\n", []string{"deletes=40 restarts=3"}},
		"in the subject":        {"Headway-Allow: deletes=40\n", nil},
		"in the body":           {"subject\n\nHeadway-Allow: deletes=40\n\nMore words.\n", nil},
		"among words":           {"subject\n\nHeadway-Allow: deletes=40\nis what I thought of.\n", nil},
		"among words, by Git":   {"subject\n\nas said\nSigned-off-by: Ada\nHeadway-Allow: freeze\n", []string{"freeze"}},
		"quoted":                {"subject\n\n> Headway-Allow: deletes=40\n", nil},
		"spaces before a colon": {"subject\n\nHeadway-Allow : freeze\n", []string{"freeze"}},
		"longer key":            {"subject\n\nX-Headway-Allow: freeze\n", nil},
		"nothing":               {"", nil},
	} {
		if diff := cmp.Diff(tc.want, write.Trailers(tc.message, "Headway-Allow")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

// The git program finds the same trailers in messages put together at random.
func TestTrailersAsGitFindsThem(t *testing.T) {
	bare, _ := gittest.Repository(t)
	rng := rand.New(rand.NewPCG(1, 2))
	pieces := []string{
		"subject", "words and words", "", "", " ", "Headway-Allow: deletes=1", "headway-allow: freeze", "Headway-Allow : restarts=2", "Headway-Allow:", " restarts=9", "\tdeletes=7",
		"Signed-off-by: Ada <ada@example.com>", "Co-authored-by: Bob", "(cherry picked from commit 0123)", "Not a trailer: yes", "Key:value", "# a comment", ": none", "---",
	}
	file := filepath.Join(t.TempDir(), "message")
	for range 80 {
		lines := []string{"subject"}
		for range 1 + rng.IntN(9) {
			lines = append(lines, pieces[rng.IntN(len(pieces))])
		}
		message := strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(file, []byte(message), 0o644); err != nil {
			t.Fatal(err)
		}
		var want []string
		out := gittest.Git(t, bare, "interpret-trailers", "--only-trailers", "--only-input", "--unfold", "--no-divider", file)
		for line := range strings.SplitSeq(out, "\n") {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(key), "Headway-Allow") {
				want = append(want, strings.TrimSpace(value))
			}
		}
		if diff := cmp.Diff(want, write.Trailers(message, "Headway-Allow")); diff != "" {
			t.Errorf("message %q: (-git +got)\n%s", message, diff)
		}
	}
}
