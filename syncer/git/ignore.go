package git

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// ignorer tells what the patterns of a tree leave out. Trying each pattern on
// each of ten thousand names takes longer than everything else that is done for
// a commit, and nearly always in vain; so names that cannot match any are told
// first: for most patterns a path has to have a component of a given name, or
// of a given ending.
type ignorer struct {
	matcher gitignore.Matcher
	names   map[string]bool
	endings []string
	// any says that a pattern may match every path, includes that some take
	// back what others leave out.
	any, includes bool
	id            string // of all patterns
	count, size   int    // of patterns, and their bytes
	work          atomic.Int64
}

// maxIgnoreWork bounds what it costs, in patterns that are tried on components of
// names, to find out what is left out of one tree: a few seconds.
const maxIgnoreWork = 500_000_000

// patterns are those of one place, a line each in the format of .gitignore;
// they are for what is below the directory dir.
type patterns struct{ dir, lines string }

// newIgnorer puts patterns together, of which the later ones count more. It
// returns nil if there are none.
func newIgnorer(list ...patterns) *ignorer {
	ig := &ignorer{names: map[string]bool{}}
	var all []gitignore.Pattern
	id := sha256.New()
	for _, p := range list {
		var domain []string
		if p.dir != "." && p.dir != "" {
			domain = strings.Split(p.dir, "/")
		}
		for line := range strings.Lines(p.lines) {
			line = strings.TrimRight(line, "\r\n")
			if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
				continue
			}
			all = append(all, gitignore.ParsePattern(line, domain))
			ig.need(strings.TrimRight(line, " "))
			ig.size += len(line)
			ig.includes = ig.includes || strings.HasPrefix(line, "!")
			fmt.Fprintf(id, "%q %q\n", p.dir, line)
		}
	}
	if len(all) == 0 {
		return nil
	}
	ig.count = len(all)
	ig.matcher, ig.id = gitignore.NewMatcher(all), hex.EncodeToString(id.Sum(nil))
	return ig
}

// need notes what a path must have for a pattern to match it: each segment of
// the pattern, but for **, matches a component of the path.
func (ig *ignorer) need(pattern string) {
	const wild = `*?[\`
	for segment := range strings.SplitSeq(strings.TrimPrefix(pattern, "!"), "/") {
		ending, star := strings.CutPrefix(segment, "*")
		switch {
		case segment == "" || strings.ContainsAny(ending, wild):
		case star && ending != "":
			ig.endings = append(ig.endings, ending)
			return
		case !star:
			ig.names[segment] = true
			return
		}
	}
	ig.any = true
}

// may reports whether a path with the component may match a pattern.
func (ig *ignorer) may(component string) bool {
	if ig.any || ig.names[component] {
		return true
	}
	for _, ending := range ig.endings {
		if strings.HasSuffix(component, ending) {
			return true
		}
	}
	return false
}

// ignores reports whether the path, of the tree's root, is left out. It fails once
// that has cost too much.
func (ig *ignorer) ignores(name string, mode filemode.FileMode) (bool, error) {
	components := strings.Count(name, "/") + 1
	if err := ig.charge(components * (1 + len(ig.endings)/16)); err != nil {
		return false, err
	}
	for component := range strings.SplitSeq(name, "/") {
		if !ig.may(component) {
			continue
		}
		// A long name is held against a long pattern byte by byte.
		if err := ig.charge(ig.count*components + ig.size*len(name)/64); err != nil {
			return false, err
		}
		return ig.matcher.Match(strings.Split(name, "/"), mode == filemode.Dir), nil
	}
	return false, nil
}

func (ig *ignorer) charge(work int) error {
	if ig.work.Add(int64(work)) > maxIgnoreWork {
		return fmt.Errorf("the tree has too many names for the %d patterns that say what is left out: write fewer in %s files and spec.ignore", ig.count, SourceIgnore)
	}
	return nil
}
