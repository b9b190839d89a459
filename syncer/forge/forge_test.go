package forge_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"headway.dev/syncer/forge"
	"headway.dev/syncer/forge/forgetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sha = "0123456789abcdef0123456789abcdef01234567"

var kinds = []forge.Kind{forge.GitHub, forge.GitLab, forge.Gitea}

func client(tb testing.TB, kind forge.Kind, server, token string) *forge.Client {
	tb.Helper()
	c, err := forge.New(forge.Config{Kind: kind, Repository: server + "/" + forgetest.Project + ".git", Token: token})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// Each state goes to each forge in its own words.
func TestStatus(t *testing.T) {
	want := map[forge.Kind][]string{
		forge.GitHub: {"pending", "pending", "success", "failure", "error"},
		forge.GitLab: {"pending", "running", "success", "failed", "canceled"},
		forge.Gitea:  {"pending", "pending", "success", "failure", "error"},
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			srv := forgetest.New(t, kind)
			c := client(t, kind, srv.URL, forgetest.Token)
			var all []forgetest.Status
			for i, state := range []forge.State{forge.Pending, forge.Running, forge.Success, forge.Failure, forge.Canceled} {
				err := c.SetStatus(t.Context(), sha, forge.Status{State: state, Context: "headway/a/b", Description: "two\nlines " + strings.Repeat("ü", 200), Link: "https://example.com/x"})
				if err != nil {
					t.Errorf("%s: %v", state, err)
				}
				all = append(all, forgetest.Status{SHA: sha, State: want[kind][i], Context: "headway/a/b", Description: "two lines " + strings.Repeat("ü", 129) + "…", Link: "https://example.com/x"})
			}
			if d := cmp.Diff(all, srv.Statuses()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			// The same again is no error, also where the forge calls it one.
			if err := c.SetStatus(t.Context(), sha, forge.Status{State: forge.Canceled, Context: "headway/a/b"}); err != nil {
				t.Errorf("the same state again: %v", err)
			}
			if err := c.SetStatus(t.Context(), "main", forge.Status{State: forge.Success, Context: "x"}); err == nil {
				t.Error("a status of a branch was set")
			}
		})
	}
}

// There is one comment, found again by its marker on any page, whoever else
// has written the same.
func TestComment(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			srv := forgetest.New(t, kind)
			c := client(t, kind, srv.URL, forgetest.Token)
			for i := range 130 {
				srv.Say(forgetest.Comment{Number: 7, Body: fmt.Sprint("talk ", i)})
			}
			srv.Say(forgetest.Comment{Number: 7, Body: "<!-- plan of a/b -->\nimitated", Foreign: true})
			srv.Say(forgetest.Comment{Number: 8, Body: "<!-- plan of a/b -->\non another"})
			for i, step := range []struct {
				body    string
				created bool
			}{{"first", true}, {"second", false}, {"second", false}} {
				created, err := c.Comment(t.Context(), 7, "plan of a/b", step.body)
				if err != nil || created != step.created {
					t.Errorf("step %d: created = %v, %v, want %v", i, created, err, step.created)
				}
			}
			var got []string
			for _, one := range srv.Comments() {
				if strings.HasPrefix(one.Body, "<!--") {
					got = append(got, fmt.Sprint(one.Number, " ", one.Body))
				}
			}
			want := []string{"7 <!-- plan of a/b -->\nimitated", "8 <!-- plan of a/b -->\non another", "7 <!-- plan of a/b -->\nsecond"}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("comments (-want +got):\n%s", d)
			}
			// A marker cannot end itself.
			if _, err := c.Comment(t.Context(), 9, "x --> @all <!--", "body"); err != nil {
				t.Fatal(err)
			}
			all := srv.Comments()
			if last := all[len(all)-1].Body; strings.Index(last, "-->") != strings.Index(last, "\n")-3 {
				t.Errorf("the marker ended early: %q", last)
			}
		})
	}
}

// What a forge refuses is told apart from what may pass, and says what to do;
// the token is in no error, and goes to no other address.
func TestRefusals(t *testing.T) {
	stolen := make(chan http.Header, 10)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.Header }))
	defer thief.Close()
	for _, kind := range kinds {
		srv := forgetest.New(t, kind)
		c := client(t, kind, srv.URL, forgetest.Token)
		for _, tc := range []struct {
			name      string
			answer    func(w http.ResponseWriter)
			words     string
			temporary bool
			after     time.Duration
		}{
			{"down", func(w http.ResponseWriter) { w.WriteHeader(503) }, "503", true, 0},
			{"busy", func(w http.ResponseWriter) { w.Header().Set("Retry-After", "30"); w.WriteHeader(429) }, "429", true, 30 * time.Second},
			{"asks for days", func(w http.ResponseWriter) { w.Header().Set("Retry-After", "999999999"); w.WriteHeader(503) }, "503", true, time.Hour},
			{"quota", func(w http.ResponseWriter) { w.Header().Set("X-RateLimit-Remaining", "0"); w.WriteHeader(403) }, "403", true, 0},
			{"forbidden", func(w http.ResponseWriter) { w.WriteHeader(403) }, "check the token", false, 0},
			{"unknown", func(w http.ResponseWriter) { w.WriteHeader(404) }, "check the repository's URL", false, 0},
			{"echo", func(w http.ResponseWriter) {
				w.WriteHeader(400)
				fmt.Fprintf(w, `{"message":"bad token %s"}`, forgetest.Token)
			}, "bad token ***", false, 0},
			{"redirect", func(w http.ResponseWriter) { w.Header().Set("Location", thief.URL); w.WriteHeader(307) }, "redirects are not followed", false, 0},
		} {
			srv.Fail(func(w http.ResponseWriter) bool { tc.answer(w); return true })
			err := c.SetStatus(t.Context(), sha, forge.Status{State: forge.Success, Context: "x"})
			refused, ok := errors.AsType[*forge.Error](err)
			if !ok || refused.Temporary() != tc.temporary || refused.RetryAfter != tc.after || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("%s, %s: %v (%+v), want words %q, temporary %v, after %v", kind, tc.name, err, refused, tc.words, tc.temporary, tc.after)
			}
			if strings.Contains(fmt.Sprint(err), forgetest.Token) {
				t.Errorf("%s, %s: the token is in the error: %v", kind, tc.name, err)
			}
		}
		srv.Fail(nil)
		wrong := client(t, kind, srv.URL, "another-token")
		if err := wrong.SetStatus(t.Context(), sha, forge.Status{State: forge.Success, Context: "x"}); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("%s: a wrong token: %v", kind, err)
		}
		if got := srv.Complaints(); len(got) != 1 { // the stand-in checks what it is to check
			t.Errorf("%s: the stand-in complained of %q", kind, got)
		}
		dead := client(t, kind, "http://127.0.0.1:1", forgetest.Token)
		err := dead.SetStatus(t.Context(), sha, forge.Status{State: forge.Success, Context: "x"})
		if refused, ok := errors.AsType[*forge.Error](err); !ok || !refused.Temporary() {
			t.Errorf("%s: no server: %v", kind, err)
		}
	}
	select {
	case h := <-stolen:
		t.Errorf("a redirect was followed, with the headers %v", h)
	default:
	}
}

// The API's address comes from the repository's, or from the configuration.
func TestAddress(t *testing.T) {
	for _, tc := range []struct {
		kind                forge.Kind
		repo, address, want string
	}{
		{forge.GitHub, "https://github.com/o/r.git", "", "https://api.github.com/repos/o/r"},
		{forge.GitHub, "ssh://git@github.com/o/r", "", "https://api.github.com/repos/o/r"},
		{forge.GitHub, "https://ghe.example.com/o/r", "", "https://ghe.example.com/api/v3/repos/o/r"},
		{forge.GitLab, "https://gitlab.com/a/b/c/r.git", "", "https://gitlab.com/api/v4/projects/a%2Fb%2Fc%2Fr"},
		{forge.GitLab, "ssh://git@gitlab.example.com:2222/a/r.git", "", "https://gitlab.example.com/api/v4/projects/a%2Fr"},
		{forge.GitLab, "https://example.com/gitlab/a/r.git", "https://example.com/gitlab/api/v4", "https://example.com/gitlab/api/v4/projects/a%2Fr"},
		{forge.Gitea, "https://user:pw@example.com:8443/git/o/r.git", "", "https://example.com:8443/git/api/v1/repos/o/r"},
		{forge.Gitea, "ssh://git@example.com/o/r.git", "https://web.example.com/api/v1/", "https://web.example.com/api/v1/repos/o/r"},
		{forge.Gitea, "https://example.com/o/r%3Fx", "", "https://example.com/api/v1/repos/o/r%3Fx"},
	} {
		c, err := forge.New(forge.Config{Kind: tc.kind, Repository: tc.repo, Address: tc.address, Token: "t"})
		if err != nil || c.Address() != tc.want {
			t.Errorf("%s %s: %v, %v, want %s", tc.kind, tc.repo, c.Address(), err, tc.want)
		}
	}
	for _, tc := range []forge.Config{
		{Kind: forge.GitHub, Repository: "https://github.com/o", Token: "t"},
		{Kind: forge.GitHub, Repository: "https://github.com/o/../r", Token: "t"},
		{Kind: forge.GitHub, Repository: "/srv/git/r.git", Token: "t"},
		{Kind: forge.GitHub, Repository: "https://github.com/o/r", Token: ""},
		{Kind: forge.GitHub, Repository: "https://github.com/o/r", Token: "a\r\nX: y"},
		{Kind: forge.GitHub, Repository: "https://github.com/o/r", Address: "file:///etc/passwd", Token: "t"},
		{Kind: forge.GitHub, Repository: "https://github.com/o/r", Token: "t", CA: []byte("nonsense")},
	} {
		if _, err := forge.New(tc); err == nil {
			t.Errorf("%+v was taken", tc)
		}
	}
}
