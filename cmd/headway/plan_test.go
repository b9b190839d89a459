package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/cmd/headway/cli"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/forge/forgetest"
	"headway.dev/syncer/wire"
)

// planServer answers plans to one token, over TLS, and knows what else was
// asked.
func planServer(t *testing.T, plans wire.Plans) (url, ca string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.URL.Path)
		switch {
		case r.Header.Get("Authorization") != "Bearer read-only":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/headway/v1/plan":
			_ = json.NewEncoder(w).Encode(plans)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(srv.Close)
	ca = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return srv.URL, ca, asked
}

// headway runs the program.
func headway(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"headway"}, args...), strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// A CI job needs a URL and a token, and nothing but the plan is asked for; the
// comment goes to the forge with the job's own token, and is edited later.
func TestPlanInCI(t *testing.T) {
	for kind, token := range map[forge.Kind]string{forge.GitHub: "GITHUB_TOKEN", forge.GitLab: "GITLAB_TOKEN", forge.Gitea: "GITEA_TOKEN"} {
		t.Run(string(kind), func(t *testing.T) {
			git := forgetest.New(t, kind)
			plans := wire.Plans{
				Plan:   wire.Plan{Kustomization: "headway-system/cluster", Target: "pull/12@sha1:0123456789012345678901234567890123456789", Summary: wire.Summary{Create: 1}, Actions: []wire.Action{{Action: "Create", Kind: "ConfigMap", Name: "new"}}},
				Source: "headway-system/cluster", Repository: git.URL + "/" + forgetest.Project + ".git", Forge: string(kind),
			}
			url, ca, asked := planServer(t, plans)
			t.Setenv("KUBECONFIG", "/nonexistent")
			t.Setenv("HEADWAY_TOKEN", "read-only")
			t.Setenv(token, forgetest.Token)
			args := []string{"plan", "--server", url, "--certificate-authority", ca, "pull/12", "--comment", "pull/12", "--cluster", "staging"}
			for _, want := range []string{"wrote", "edited"} {
				code, out, errOut := headway(t, args...)
				if code != cli.ExitChanges || !strings.Contains(out, "+ create ConfigMap/new") || !strings.Contains(errOut, want+" the comment on pull request 12") {
					t.Errorf("exit code %d\n%s%s", code, out, errOut)
				}
			}
			if _, _, errOut := headway(t, append(args, "--cluster", "production")...); !strings.Contains(errOut, "wrote") {
				t.Errorf("another cluster's comment: %s", errOut)
			}
			got := git.Comments()
			if len(got) != 2 || got[0].Number != 12 || !strings.Contains(got[0].Body, "1 to create") || !strings.Contains(got[0].Body, "`staging`") {
				t.Errorf("comments = %+v", got)
			}
			for _, req := range *asked {
				if req != "POST /headway/v1/plan" {
					t.Errorf("the server was asked for %s", req)
				}
			}
			// What is wrong is said, and no token with it.
			t.Setenv(token, "")
			code, _, errOut := headway(t, args...)
			if code != cli.ExitFailed || !strings.Contains(errOut, "set HEADWAY_FORGE_TOKEN or "+token) {
				t.Errorf("without a forge's token: %d %s", code, errOut)
			}
			t.Setenv("HEADWAY_TOKEN", "canary-wrong")
			code, _, errOut = headway(t, args...)
			if code != cli.ExitFailed || strings.Contains(errOut, "canary") {
				t.Errorf("with a wrong token: %d %s", code, errOut)
			}
			if code, _, errOut = headway(t, "plan", "--server", "http://127.0.0.1:1"); code != cli.ExitFailed || !strings.Contains(errOut, "in the clear") {
				t.Errorf("without TLS: %d %s", code, errOut)
			}
		})
	}
}
