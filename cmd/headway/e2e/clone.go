package e2e

import (
	"os"
	"path/filepath"
	"strings"
)

// Clone is a clone of the repository that the cluster follows, to work in.
type Clone struct {
	Dir  string
	node *Node
}

// Git runs git in the clone and returns its output without the last newline.
func (w *Clone) Git(args ...string) string {
	w.node.tb.Helper()
	return strings.TrimSuffix(w.node.must(w.node.Run("", append([]string{"git", "-C", w.Dir}, args...)...), "git", args), "\n")
}

// Write writes a file of the clone.
func (w *Clone) Write(name, content string) {
	w.node.tb.Helper()
	path := filepath.Join(w.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.node.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.node.tb.Fatal(err)
	}
}

// Replace replaces old, which must be there, in a file of the clone.
func (w *Clone) Replace(name, old, replacement string) {
	w.node.tb.Helper()
	content, err := os.ReadFile(filepath.Join(w.Dir, name))
	if err != nil {
		w.node.tb.Fatal(err)
	}
	if !strings.Contains(string(content), old) {
		w.node.tb.Fatalf("%s does not hold %q:\n%s", name, old, content)
	}
	w.Write(name, strings.ReplaceAll(string(content), old, replacement))
}

// Commit commits everything in the clone and returns the commit's hash.
func (w *Clone) Commit(message string) string {
	w.node.tb.Helper()
	w.Git("add", "--all")
	w.Git("commit", "-q", "-m", message)
	return w.Git("rev-parse", "HEAD")
}

// Push commits and pushes, and returns the commit's hash.
func (w *Clone) Push(message string) string {
	w.node.tb.Helper()
	commit := w.Commit(message)
	w.Git("push", "-q", "origin", "HEAD")
	return commit
}
