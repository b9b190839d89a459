package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// storyTokens are the users of stories, besides the administrator of the
// kubeconfig.
const storyTokens = "token-of-bob,bob,2\ntoken-of-viewer,viewer,3\n"

// story is what `headway up -v` runs, but for the agent and the proxy, which
// no story about Git needs, and a repository for it.
type story struct {
	*uptest.Server
	t    *testing.T
	repo *headwaytest.Repository
}

// newStory runs a cluster on a repository of files until the test ends. edit
// may change the flags.
func newStory(t *testing.T, files map[string]string, edit func(*story, *up.Options)) *story {
	t.Helper()
	s := &story{t: t, repo: headwaytest.NewRepository(t, files)}
	tokens := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(tokens, []byte(storyTokens), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(clientcmd.RecommendedConfigPathEnvVar, "")
	s.Server = uptest.Start(t, s.repo.Bare, uptest.Options{Flags: func(up *up.Options) {
		up.TokenAuthFile = tokens
		if edit != nil {
			edit(s, up)
		}
	}})
	return s
}

// headway runs a command against the cluster.
func (s *story) headway(args ...string) (code int, out, errOut string) {
	s.t.Helper()
	return headway(s.t, append([]string{"--data-dir", s.Cfg.DataDir}, args...)...)
}

// must is headway for a command that ends with the code.
func (s *story) must(want int, args ...string) string {
	s.t.Helper()
	code, out, errOut := s.headway(args...)
	if code != want {
		s.t.Errorf("headway %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, out, errOut)
	}
	return out + errOut
}

// deployed waits until a commit is applied and judged.
func (s *story) deployed(sha string) {
	s.t.Helper()
	s.eventually("commit "+sha+" is deployed", func() bool {
		var status wire.Status
		code, out, _ := s.headway("status", "-o", "json")
		if code != cli.ExitOK || json.Unmarshal([]byte(out), &status) != nil || len(status.Sources) == 0 {
			return false
		}
		for _, k := range status.Sources[0].Kustomizations {
			if !strings.HasSuffix(k.Applied, sha) || k.Ready != "True" {
				return false
			}
		}
		return len(status.Sources[0].Kustomizations) > 0
	})
}

// eventually waits for an effect.
func (s *story) eventually(what string, ok func() bool) {
	s.t.Helper()
	headwaytest.Eventually(s.t, what, ok, func() string {
		_, out, errOut := s.headway("status")
		return out + errOut
	})
}

// push commits files on main, and returns the commit.
func (s *story) push(files map[string]string) string {
	s.t.Helper()
	s.repo.Push("main", files)
	return s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
}

// create stores objects, as an administrator would.
func (s *story) create(objects ...object.Object) {
	s.t.Helper()
	var changes []change.Change
	for _, o := range objects {
		changes = append(changes, change.Create(o, time.Now()))
	}
	if _, err := s.Cluster.Engine.Store().Commit(s.t.Context(), change.Tx{Changes: changes}); err != nil {
		s.t.Fatal(err)
	}
}

// ask sends a request to the API: as the administrator, as the user of a
// token, or as nobody for the token "-".
func (s *story) ask(token, method, path, body string, header http.Header) (int, string) {
	s.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.Cfg.KubeconfigPath())
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		config = rest.AnonymousClientConfig(config)
		config.BearerToken = strings.TrimPrefix(token, "-")
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(s.t.Context(), method, config.Host+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// patch changes the GitRepository or Kustomization of the command line.
func (s *story) patch(kind string, edit func(object.Object)) {
	s.t.Helper()
	_, err := s.Cluster.Engine.Store().Commit(s.t.Context(), change.Tx{Changes: []change.Change{change.Patch(rootKey(kind), func(o object.Object) bool {
		edit(o)
		return true
	})}})
	if err != nil {
		s.t.Fatal(err)
	}
}
