package git

import (
	"strings"

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
	// any says that a pattern may match every path.
	any bool
}

// newIgnorer reads patterns in the format of .gitignore, one per line. It
// returns nil if there are none.
func newIgnorer(lines string) *ignorer {
	ig := &ignorer{names: map[string]bool{}}
	var patterns []gitignore.Pattern
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		patterns = append(patterns, gitignore.ParsePattern(line, nil))
		ig.need(line)
	}
	if len(patterns) == 0 {
		return nil
	}
	ig.matcher = gitignore.NewMatcher(patterns)
	return ig
}

// Ignored reports which files patterns leave out of a tree: those that match,
// and those below directories that do.
func Ignored(lines string) func(name string) bool {
	ig := newIgnorer(lines)
	return func(name string) bool {
		if ig == nil {
			return false
		}
		for i, c := range name {
			if c == '/' && ig.ignores(name[:i], filemode.Dir) {
				return true
			}
		}
		return ig.ignores(name, filemode.Regular)
	}
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

// may says whether a path with the component may match a pattern.
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

// ignores says whether the path, of the tree's root, is left out.
func (ig *ignorer) ignores(name string, mode filemode.FileMode) bool {
	for component := range strings.SplitSeq(name, "/") {
		if ig.may(component) {
			return ig.matcher.Match(strings.Split(name, "/"), mode == filemode.Dir)
		}
	}
	return false
}
