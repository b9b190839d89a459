package forge_test

import (
	"strings"
	"testing"

	"headway.dev/manifests/egress"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/forge/forgetest"
	"headway.dev/syncer/internal/gitserver"
)

// A forge whose address is denied is not connected to, neither where it is made
// from the repository's URL nor where a secret names it.
func TestDeniedForges(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			srv := forgetest.New(t, kind)
			front, accepted := gitserver.Front(t, "127.0.0.1", strings.TrimPrefix(srv.URL, "http://"))
			version := map[forge.Kind]string{forge.GitHub: "/api/v3", forge.GitLab: "/api/v4", forge.Gitea: "/api/v1"}[kind]
			for _, rule := range []string{"loopback", "none"} {
				deny, err := egress.Parse([]string{rule})
				if err != nil {
					t.Fatal(err)
				}
				for _, cfg := range []forge.Config{
					{Repository: "http://" + front + "/" + forgetest.Project + ".git"},
					{Repository: "https://git.invalid/" + forgetest.Project + ".git", Address: "http://" + front + version},
				} {
					cfg.Kind, cfg.Token, cfg.Egress = kind, forgetest.Token, deny
					c, err := forge.New(cfg)
					if err != nil {
						t.Fatal(err)
					}
					before := accepted()
					status := c.SetStatus(t.Context(), sha, forge.Status{State: forge.Success, Context: "headway/a/b"})
					_, comment := c.Comment(t.Context(), 7, "<!-- plan of a/b -->", "the plan")
					c.Close()
					for what, err := range map[string]error{"status": status, "comment": comment} {
						if denied := err != nil && strings.Contains(err.Error(), "--deny-addresses has loopback"); denied != (rule == "loopback") || !denied && err != nil {
							t.Errorf("%s, %s: %v", rule, what, err)
						}
					}
					if connected := accepted() != before; connected == (rule == "loopback") {
						t.Errorf("%s: connected: %t", rule, connected)
					}
				}
			}
		})
	}
}
