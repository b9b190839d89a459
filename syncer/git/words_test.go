package git_test

import (
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/internal/gittest"
)

// A commit in another encoding is told in UTF-8.
func TestEncodingOfCommits(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	for encoding, bytes := range map[string]string{"ISO-8859-1": "Gr\xfc\xdfe", "windows-1251": "\xcf\xf0\xe8\xe2\xe5\xf2", "Shift_JIS": "\x93\xfa\x96\x7b"} {
		want := map[string]string{"ISO-8859-1": "Grüße", "windows-1251": "Привет", "Shift_JIS": "日本"}[encoding]
		gittest.Git(t, work, "-c", "i18n.commitEncoding="+encoding, "-c", "user.name="+bytes, "commit", "-q", "--allow-empty", "--author", bytes+" <a@b>", "-m", bytes+"\n\n"+bytes)
		gittest.Git(t, work, "push", "-q", "origin", "HEAD:main")
		c, err := gittest.Open(t, bare).Commit(gittest.Git(t, work, "rev-parse", "HEAD"))
		if err != nil {
			t.Fatal(err)
		}
		if c.Subject != want || c.Author.Name != want || c.Message != want+"\n\n"+want+"\n" {
			t.Errorf("%s: subject %q, author %q, message %q; want %q", encoding, c.Subject, c.Author.Name, c.Message, want)
		}
	}
}

// What cannot be followed is said in words.
func TestWhatCannotBeFollowed(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	gittest.Git(t, work, "tag", "tree", "HEAD^{tree}")
	gittest.Git(t, work, "tag", "-a", "-m", "of a file", "file", "HEAD:a")
	gittest.Git(t, work, "push", "-q", "origin", "tree", "file")
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	for where, r := range map[string]*git.Repository{"local": gittest.Open(t, bare), "remote": gittest.Mirror(t, srv.URL+"/repo.git")} {
		for tag, want := range map[string]string{"tree": "names a tree", "file": "names a blob"} {
			if _, err := r.Fetch(t.Context(), git.Ref{Tag: tag}, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s tag on a %s: %v", where, tag, err)
			}
		}
	}
	other := filepath.Join(t.TempDir(), "sha256.git")
	gittest.Git(t, work, "init", "-q", "--bare", "--object-format=sha256", "-b", "main", other)
	clone := filepath.Join(t.TempDir(), "clone")
	gittest.Git(t, work, "init", "-q", "--object-format=sha256", "-b", "main", clone)
	gittest.Git(t, clone, "commit", "-q", "--allow-empty", "-m", "first")
	gittest.Git(t, clone, "push", "-q", other, "HEAD:main")
	if _, err := git.Open(other); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("a local repository with SHA-256: %v", err)
	}
	r := gittest.Mirror(t, gittest.Serve(t, filepath.Dir(other), "", "").URL+"/sha256.git")
	if _, err := r.Fetch(t.Context(), git.Ref{Branch: "main"}, nil); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("a remote with SHA-256: %v", err)
	}
}
