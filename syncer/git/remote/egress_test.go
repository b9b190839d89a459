package remote_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/manifests/egress"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/gittest"
)

// A remote whose address is denied is not connected to, over http as over ssh,
// directly as through a proxy; without the rule each of them is fetched.
func TestDeniedRemotes(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	web := gittest.Serve(t, filepath.Dir(bare), "", "")
	identity, user := gitserver.Keys(t)
	host, hostKey := gitserver.Keys(t)
	ssh := gitserver.SSH(t, host, user)
	proxy, used := socks(t)
	keys := map[string]string{"identity": string(identity), "known_hosts": string(gitserver.KnownHosts(ssh, hostKey))}
	via := &url.URL{Scheme: "socks5", Host: proxy}
	for name, c := range map[string]struct {
		url   string
		data  map[string]string
		proxy *url.URL
	}{
		"http":         {url: web.URL + "/repo.git"},
		"ssh":          {url: "ssh://root@" + ssh + bare, data: keys},
		"http, socks5": {url: web.URL + "/repo.git", proxy: via},
		"ssh, socks5":  {url: "ssh://root@" + ssh + bare, data: keys, proxy: via},
	} {
		t.Run(name, func(t *testing.T) {
			a := &remote.Auth{}
			if c.data != nil {
				a = gittest.Auth(t, c.url, c.data)
			}
			a.Proxy = c.proxy
			for _, rule := range []string{"loopback", "none"} {
				deny, err := egress.Parse([]string{rule})
				if err != nil {
					t.Fatal(err)
				}
				r, err := git.Mirror(t.TempDir(), c.url, git.MirrorOptions{Egress: deny})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = r.Close() }()
				before := used()
				h, err := r.Fetch(t.Context(), git.Ref{Branch: "main"}, a)
				switch {
				case rule == "none" && (err != nil || h.Commit != sha):
					t.Errorf("not denied: %v, %v", h, err)
				case rule == "loopback" && !errors.As(err, new(*egress.DeniedError)):
					t.Errorf("denied: %v", err)
				case rule == "loopback" && used() != before:
					t.Error("the proxy was connected to")
				}
			}
		})
	}
}

// A revert is not pushed to an address that is denied, over http as over ssh,
// and the remote stays as it is; without the rule it is.
func TestDeniedPushes(t *testing.T) {
	identity, user := gitserver.Keys(t)
	host, hostKey := gitserver.Keys(t)
	for _, scheme := range []string{"http", "ssh"} {
		t.Run(scheme, func(t *testing.T) {
			bare, work := gittest.Repository(t)
			gittest.Push(t, work, "first", map[string]string{"a": "1"})
			second := gittest.Push(t, work, "second", map[string]string{"a": "2"})
			web := gittest.Serve(t, filepath.Dir(bare), "", "")
			target := strings.TrimPrefix(web.URL, "http://")
			if scheme == "ssh" {
				target = gitserver.SSH(t, host, user)
			}
			front, accepted := gitserver.Front(t, "127.0.0.1", target)
			origin, a := "http://"+front+"/repo.git", &remote.Auth{}
			if scheme == "ssh" {
				origin = "ssh://root@" + front + bare
				a = gittest.Auth(t, origin, map[string]string{"identity": string(identity), "known_hosts": string(gitserver.KnownHosts(front, hostKey))})
			}
			dir := t.TempDir()
			mirrored := func(rule string) *git.Repository {
				deny, err := egress.Parse([]string{rule})
				if err != nil {
					t.Fatal(err)
				}
				r, err := git.Mirror(dir, origin, git.MirrorOptions{Egress: deny})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = r.Close() })
				return r
			}
			sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
			revert := func(r *git.Repository) (git.Commit, error) {
				return write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: second, Author: sig, Committer: sig, Auth: a})
			}
			gittest.Fetch(t, mirrored("none"), git.Ref{Branch: "main"}, a)
			before := accepted()
			if _, err := revert(mirrored("loopback")); !errors.As(err, new(*egress.DeniedError)) {
				t.Errorf("denied: %v", err)
			}
			if accepted() != before {
				t.Error("the remote was connected to")
			}
			if got := gittest.Git(t, bare, "rev-parse", "main"); got != second {
				t.Errorf("main is at %s, want %s", got, second)
			}
			if c, err := revert(mirrored("none")); err != nil || gittest.Git(t, bare, "rev-parse", "main") != c.SHA || accepted() == before {
				t.Errorf("not denied: %v", err)
			}
		})
	}
}

// A remote that may be reached cannot lead a push to an address that is denied.
func TestDeniedRedirectOfPush(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	second := gittest.Push(t, work, "second", map[string]string{"a": "2"})
	web := gittest.Serve(t, filepath.Dir(bare), "", "")
	target, err := url.Parse(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, accepted := gitserver.Front(t, "127.0.0.2", target.Host)
	passes := httputil.NewSingleHostReverseProxy(target)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("service") == "git-receive-pack" || strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
			http.Redirect(w, r, "http://"+elsewhere+r.URL.RequestURI(), http.StatusTemporaryRedirect)
			return
		}
		passes.ServeHTTP(w, r)
	}))
	defer origin.Close()
	sig := git.Signature{Name: "Bot", Email: "bot@example.com", When: time.Now()}
	for _, rule := range []string{"127.0.0.2/32", "none"} {
		deny, err := egress.Parse([]string{rule})
		if err != nil {
			t.Fatal(err)
		}
		r, err := git.Mirror(t.TempDir(), origin.URL+"/repo.git", git.MirrorOptions{Egress: deny})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		gittest.Fetch(t, r, git.Ref{Branch: "main"}, &remote.Auth{})
		c, err := write.Revert(t.Context(), r, write.RevertOptions{Branch: "main", Commit: second, Author: sig, Committer: sig, Auth: &remote.Auth{}})
		switch at := gittest.Git(t, bare, "rev-parse", "main"); {
		case rule == "none" && (err != nil || at != c.SHA || accepted() == 0):
			t.Errorf("not denied: %v, %d connections", err, accepted())
		case rule != "none" && (!errors.As(err, new(*egress.DeniedError)) || at != second || accepted() > 0):
			t.Errorf("denied: %v, %d connections, main is at %s", err, accepted(), at)
		}
	}
}
