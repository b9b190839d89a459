package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/gittest"
)

// A server that breaks off, garbles, stalls or refuses is told of in words
// that name the step and hold nothing that a terminal would obey; the mirror
// recovers as soon as the server does.
func TestBrokenServers(t *testing.T) {
	bare, work := gittest.Repository(t)
	first := gittest.Push(t, work, "first", map[string]string{"a": strings.Repeat("some text\n", 1000)})
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	r := gittest.Mirror(t, srv.URL+"/repo.git")
	gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil)
	second := gittest.Push(t, work, "second", map[string]string{"b": strings.Repeat("more text\n", 1000)})
	escape := "\x1b]0;owned\x07\x1b[2J"
	for name, c := range map[string]struct {
		fault gitserver.Fault
		want  string
	}{
		"truncated refs":     {gitserver.OnRefs(gitserver.Truncate()), "list the references"},
		"truncated pack":     {gitserver.OnPack(gitserver.Truncate()), "unexpected EOF"},
		"corrupt pack":       {gitserver.OnPack(gitserver.Corrupt()), "fetch http"},
		"no such server":     {gitserver.Status(http.StatusBadGateway, "internal "+escape), "unexpected status 502 Bad Gateway"},
		"expired":            {gitserver.Status(http.StatusUnauthorized, "expired"), "check the credentials"},
		"forbidden":          {gitserver.OnPack(gitserver.Status(http.StatusForbidden, "no")), "check the credentials"},
		"gone":               {gitserver.Status(http.StatusNotFound, "no"), "repository not found"},
		"a web page":         {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "<html>") }, "not of a Git repository"},
		"garbage for refs":   {gitserver.OnRefs(gitserver.Answer([]byte(escape + "garbage"))), "list the references"},
		"garbage for a pack": {gitserver.OnPack(gitserver.Answer([]byte(escape + "garbage"))), "invalid packet length"},
		"an error":           {gitserver.OnPack(gitserver.Answer([]byte(gitserver.PktLine("ERR " + escape + "go away")))), "the server says: ?]0;owned"},
		"an error in a band": {gitserver.OnPack(gitserver.Answer([]byte(gitserver.PktLine("NAK\n") + gitserver.PktLine("\x03"+escape+"out of memory")))), "the server says: ?]0;owned"},
		"an unknown band":    {gitserver.OnPack(gitserver.Answer([]byte(gitserver.PktLine("NAK\n") + gitserver.PktLine("\x02hello") + gitserver.PktLine("\x09what")))), "unknown channel 9"},
		"nothing sent":       {gitserver.OnPack(gitserver.Answer(gitserver.PackAnswer(gitserver.Pack(), "done"))), "did not send " + second},
		"another pack":       {gitserver.OnPack(gitserver.Answer(gitserver.PackAnswer(gitserver.Pack(gitserver.Plain(gitserver.Blob, []byte("other"))), ""))), "did not send " + second},
		"endless answers":    {gitserver.OnPack(gitserver.Answer([]byte(strings.Repeat(gitserver.PktLine("NAK\n"), 20000)))), "too much before the pack"},
	} {
		srv.Fail(c.fault)
		_, err := r.Fetch(t.Context(), git.Ref{Branch: "main"}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\x1b\x07\n") || strings.Contains(err.Error(), "internal") || len(err.Error()) > 700 {
			t.Errorf("%s: %q, want an error with %q", name, fmt.Sprint(err), c.want)
		}
		if c, err := r.Commit(first); err != nil || c.Subject != "first" {
			t.Errorf("%s: what was fetched before reads %+v, %v", name, c, err)
		}
	}
	srv.Fail(nil)
	if h := gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil); h.Commit != second {
		t.Errorf("after all that: %s, want %s", h.Commit, second)
	}
}

// Whoever does not answer in time is left, however they do it.
func TestSlowServers(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	identity, _ := gitserver.Keys(t)
	_, host := gitserver.Keys(t)
	dead := gitserver.Dead(t)
	known := gitserver.KnownHosts(dead, host)
	for name, c := range map[string]struct {
		url   string
		fault gitserver.Fault
		auth  *remote.Auth
	}{
		"dribbles refs":   {srv.URL + "/repo.git", gitserver.OnRefs(gitserver.Dribble(20 * time.Millisecond)), nil},
		"dribbles a pack": {srv.URL + "/repo.git", gitserver.OnPack(gitserver.Dribble(20 * time.Millisecond)), nil},
		"hangs":           {srv.URL + "/repo.git", gitserver.OnPack(gitserver.Hang()), nil},
		"dead http":       {"http://" + dead + "/repo.git", nil, nil},
		"dead https":      {"https://" + dead + "/repo.git", nil, nil},
		"dead ssh":        {"ssh://" + dead + "/repo.git", nil, &remote.Auth{Identity: identity, KnownHosts: known}},
	} {
		srv.Fail(c.fault)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		start := time.Now()
		_, err := gittest.Mirror(t, c.url).Fetch(ctx, git.Ref{Branch: "main"}, c.auth)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within spec.timeout") {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
	if _, err := gittest.Mirror(t, "http://"+gitserver.Refused(t)+"/repo.git").Fetch(t.Context(), git.Ref{Branch: "main"}, nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody listens: %v", err)
	}
}

// A redirect is followed where it stays with the server that the URL names,
// and no further: not to files, other hosts, or other ports of this machine.
func TestRedirects(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	target := gittest.Serve(t, filepath.Dir(bare), "", "")
	srv := gittest.Serve(t, filepath.Dir(bare), "ada", "secret")
	auth := &remote.Auth{Username: "ada", Password: "secret"}
	for to, want := range map[string]string{
		target.URL:               "which is not followed: set spec.url to where the repository is",
		"http://127.0.0.2:1":     "which is not followed",
		"http://169.254.169.254": "which is not followed",
		"file:///etc":            "which is not followed",
		"ssh://127.0.0.1":        "which is not followed",
		"http://[::1]:1":         "which is not followed",
	} {
		srv.Fail(gitserver.Redirect(to))
		_, err := gittest.Mirror(t, srv.URL+"/repo.git").Fetch(t.Context(), git.Ref{Branch: "main"}, auth)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("redirect to %s: %v, want an error with %q", to, err, want)
		}
	}
	if len(target.Requests()) > 0 {
		t.Errorf("the other server was asked: %v", target.Requests())
	}
	srv.Fail(gitserver.OnPack(gitserver.Redirect(srv.URL)))
	if _, err := gittest.Mirror(t, srv.URL+"/repo.git").Fetch(t.Context(), git.Ref{Branch: "main"}, auth); err == nil || !strings.Contains(err.Error(), "in the middle of a fetch") {
		t.Errorf("a redirected pack: %v", err)
	}
	srv.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/old.git/") {
			http.Redirect(w, r, "/repo.git/"+strings.TrimPrefix(r.URL.RequestURI(), "/old.git/"), http.StatusMovedPermanently)
			return
		}
		next.ServeHTTP(w, r)
	})
	if h := gittest.Fetch(t, gittest.Mirror(t, srv.URL+"/old.git"), git.Ref{Branch: "main"}, auth); h.Commit != sha {
		t.Errorf("a renamed repository: %s, want %s", h.Commit, sha)
	}
}

// Names of references that would be paths elsewhere do nothing, whoever says
// them.
func TestHostileReferences(t *testing.T) {
	sha := strings.Repeat("1", 40)
	commit := gitserver.CommitData(gitserver.Hash("tree", nil), "made up\n")
	pack := gitserver.Pack(gitserver.Plain(gitserver.Commit, commit), gitserver.Plain(gitserver.Tree, nil))
	made := gitserver.Hash("commit", commit)
	names := []string{
		"refs/heads/../../x", "refs/heads/--upload-pack=touch", "refs/heads/a.lock", "refs/heads/a..b", "refs/heads/\x1b[2J", "refs/heads/a\x00b",
		"refs/heads/.hidden", "refs/heads/a//b", "refs/heads/a~1", "config", "HEAD/../config", "../../etc/passwd", "refs/heads/" + strings.Repeat("n", 5000),
	}
	pairs := []string{made, "refs/heads/main"}
	for _, n := range names {
		pairs = append(pairs, sha, n)
	}
	srv := gittest.Serve(t, t.TempDir(), "", "")
	srv.Fail(gitserver.Serve(gitserver.Refs(pairs...), gitserver.PackAnswer(pack, "\x1b[2J")))
	dir := t.TempDir()
	r, err := git.Mirror(dir, srv.URL+"/repo.git", git.MirrorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if h := gittest.Fetch(t, r, git.Ref{Branch: "main"}, nil); h.Commit != made {
		t.Errorf("head = %s, want %s", h.Commit, made)
	}
	config, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range append(names, "-", "--", "@{-1}", "a b", "a\nb", ":", "*") {
		for _, ref := range []git.Ref{{Branch: strings.TrimPrefix(n, "refs/heads/")}, {Name: n}, {Tag: n}, {Branch: n}} {
			if h, err := r.Fetch(t.Context(), ref, nil); err == nil || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("Fetch(%+v) = %+v, %q", ref, h, fmt.Sprint(err))
			}
		}
	}
	if now, err := os.ReadFile(filepath.Join(dir, "config")); err != nil || !bytes.Equal(now, config) {
		t.Errorf("the mirror's configuration is now %q, %v", now, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
		t.Error("a reference was written elsewhere")
	}
	// The URL of such a repository in an error is without escapes, too.
	if err := remote.CheckURL("https://example.com/\x1b[2J"); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("a URL with an escape sequence: %v", err)
	}
}

// A list of references without end is not read to its end.
func TestEndlessReferences(t *testing.T) {
	srv := gittest.Serve(t, t.TempDir(), "", "")
	line := gitserver.PktLine(strings.Repeat("1", 40) + " refs/heads/" + strings.Repeat("n", 60000) + "\n")
	first := string(gitserver.Refs(strings.Repeat("1", 40), "refs/heads/main"))
	srv.Fail(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		_, _ = fmt.Fprint(w, strings.TrimSuffix(first, "0000"))
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, line); err != nil {
				return
			}
		}
	})
	_, err := gittest.Mirror(t, srv.URL+"/repo.git").Fetch(t.Context(), git.Ref{Branch: "main"}, nil)
	if err == nil || !strings.Contains(err.Error(), "the list of references is larger than 32 MiB") {
		t.Errorf("Fetch = %v", err)
	}
}

// URLs that are options, commands or files to some program are refused.
func TestHostileURLs(t *testing.T) {
	for _, url := range []string{
		"ssh://-oProxyCommand=id/x", "ssh://-u@host/x", "-u./payload", "--upload-pack=id", "ext::sh -c id", "fd::17", "file:///etc/passwd", "FILE:///etc",
		"/etc/passwd", "./x", "../x", "git://example.com/x", "http://", "https:///x", "ssh://user@/x", "http:example.com", "\x00", "https://host/a%00b",
		"https://host/a%0ab", "https://host/" + strings.Repeat("x", 3000), "rsync://host/x", "https://:443/x", "data:text/plain,x",
	} {
		if _, err := git.Mirror(t.TempDir(), url, git.MirrorOptions{}); err == nil {
			t.Errorf("Mirror(%q) was accepted", url)
		}
	}
	for _, url := range []string{"https://example.com/x.git", "http://user@example.com:8080/a/b", "ssh://git@example.com/x", "ssh://example.com:22/~user/x", "https://[::1]/x"} {
		if err := remote.CheckURL(url); err != nil {
			t.Errorf("CheckURL(%q) = %v", url, err)
		}
	}
}

// A path cannot leave its quotes on the remote's command line, and a program
// that fails has its say.
func TestSSHQuoting(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	identity, user := gitserver.Keys(t)
	hostPEM, hostKey := gitserver.Keys(t)
	addr := gitserver.SSH(t, hostPEM, user)
	auth := &remote.Auth{Identity: identity, KnownHosts: gitserver.KnownHosts(addr, hostKey)}
	canary := filepath.Join(t.TempDir(), "canary")
	_, err := gittest.Mirror(t, "ssh://root@"+addr+bare+"'%20;touch%20"+canary+";'").Fetch(t.Context(), git.Ref{Branch: "main"}, auth)
	if err == nil || !strings.Contains(err.Error(), "repository not found") {
		t.Errorf("a path with a quote: %v", err)
	}
	if _, err := os.Stat(canary); err == nil {
		t.Error("the path was run as a command")
	}
	stranger, _ := gitserver.Keys(t)
	if _, err := gittest.Mirror(t, "ssh://root@"+addr+bare).Fetch(t.Context(), git.Ref{Branch: "main"}, &remote.Auth{Identity: stranger, KnownHosts: auth.KnownHosts}); err == nil || !strings.Contains(err.Error(), "check the credentials") {
		t.Errorf("a key that is not let in: %v", err)
	}
}

// Whatever revision a user asks for, resolving it ends without a panic, and
// finds a commit or says that there is none.
func FuzzResolve(f *testing.F) {
	bare, work := gittest.Repository(f)
	gittest.Push(f, work, "first", map[string]string{"a": "1"})
	for _, rev := range []string{"main", "HEAD~1", "main^{commit}", "@{-1}", ":/first", "main^{/fix}", "--all", "../../x", "main@{yesterday}", "^", "0000", "HEAD~999999999999", "\x00"} {
		f.Add(rev)
	}
	r := gittest.Open(f, bare)
	f.Fuzz(func(t *testing.T, rev string) {
		if sha, err := r.Resolve(rev); err == nil {
			if _, err := r.Commit(sha); err != nil {
				t.Errorf("Resolve(%q) = %s, which is no commit: %v", rev, sha, err)
			}
		}
	})
}

// Whatever a server says first, reading it ends without a panic.
func FuzzAdvertisement(f *testing.F) {
	f.Add(gitserver.Refs(strings.Repeat("1", 40), "refs/heads/main", strings.Repeat("2", 40), "refs/tags/v1"))
	f.Add([]byte("0000"))
	f.Add([]byte("fffe"))
	srv := gittest.Serve(f, f.TempDir(), "", "")
	r := gittest.Mirror(f, srv.URL+"/repo.git")
	f.Fuzz(func(t *testing.T, refs []byte) {
		srv.Fail(gitserver.OnRefs(gitserver.Answer(refs)))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if h, err := r.Fetch(ctx, git.Ref{Branch: "main"}, nil); err == nil {
			t.Errorf("a head without a commit: %+v", h)
		}
	})
}
