package git_test

import (
	"errors"
	"net/url"
	"path/filepath"
	"testing"

	"headway.dev/syncer/egress"
	"headway.dev/syncer/git"
	"headway.dev/syncer/internal/gitserver"
)

// A remote whose address is denied is not connected to, over http as over ssh,
// directly as through a proxy; without the rule each of them is fetched.
func TestDeniedRemotes(t *testing.T) {
	bare, work := repository(t)
	sha := push(t, work, "first", map[string]string{"a": "1"})
	web := serve(t, filepath.Dir(bare), "", "")
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
			a := &git.Auth{}
			if c.data != nil {
				a = auth(t, c.url, c.data)
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
