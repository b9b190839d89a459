package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// CloneRemote clones the repository that the cluster follows.
func (c *Cluster) CloneRemote() {
	c.tb.Helper()
	c.must(c.Run("", "git", "clone", "-q", c.Remote, c.Clone), "git clone", nil)
}

// Git runs git in the clone and returns its output without the last newline.
func (c *Cluster) Git(args ...string) string {
	c.tb.Helper()
	return strings.TrimSuffix(c.must(c.Run("", append([]string{"git", "-C", c.Clone}, args...)...), "git", args), "\n")
}

// Write writes a file of the clone.
func (c *Cluster) Write(name, content string) {
	c.tb.Helper()
	path := filepath.Join(c.Clone, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		c.tb.Fatal(err)
	}
}

// Replace replaces old, which must be there, in a file of the clone.
func (c *Cluster) Replace(name, old, replacement string) {
	c.tb.Helper()
	content, err := os.ReadFile(filepath.Join(c.Clone, name))
	if err != nil {
		c.tb.Fatal(err)
	}
	if !strings.Contains(string(content), old) {
		c.tb.Fatalf("%s does not hold %q:\n%s", name, old, content)
	}
	c.Write(name, strings.ReplaceAll(string(content), old, replacement))
}

// Commit commits everything in the clone and returns the commit's hash.
func (c *Cluster) Commit(message string) string {
	c.tb.Helper()
	c.Git("add", "--all")
	c.Git("commit", "-q", "-m", message)
	return c.Git("rev-parse", "HEAD")
}

// Push commits and pushes, and returns the commit's hash.
func (c *Cluster) Push(message string) string {
	c.tb.Helper()
	commit := c.Commit(message)
	c.Git("push", "-q", "origin", "HEAD")
	return commit
}

// Deployed waits until the commit is applied and everything of it is healthy.
func (c *Cluster) Deployed(commit string) {
	c.tb.Helper()
	c.Eventually(90*time.Second, "commit "+commit+" is deployed", func() error {
		return c.kustomization(func(k kustomization) error { return k.deployed(commit) })
	})
}
