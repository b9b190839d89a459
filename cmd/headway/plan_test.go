package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/syncer/forge"
	"headway.dev/syncer/forge/forgetest"
	"headway.dev/syncer/wire"
)

// A commit that is refused changes nothing, and no line of its plan says that
// this were fine; what of it is not refused is told.
func TestPlanOfARefusedCommit(t *testing.T) {
	fault := wire.Fault{File: "a.yaml", Line: 3, Message: "a.yaml:3: wrong"}
	broken := wire.Plan{Kustomization: "headway-system/broken", Target: "main@sha1:0123456789012345678901234567890123456789", Errors: []wire.Fault{fault}}
	half := broken
	half.Summary = wire.Summary{Create: 4, Restart: 1}
	fine := wire.Plan{Kustomization: "headway-system/fine", Summary: wire.Summary{Update: 1}}
	still := wire.Plan{Kustomization: "headway-system/still"}
	for _, c := range []struct {
		name  string
		plans []wire.Plan
		want  string
	}{
		{"cannot be rendered", []wire.Plan{broken}, "refused, nothing would be applied (1 fault)"},
		{"one object is at fault", []wire.Plan{half}, "refused, nothing would be applied (1 fault)"},
		{"all", []wire.Plan{half, broken}, "refused, nothing would be applied (2 faults)"},
		{"beside a change", []wire.Plan{half, fine}, "1 of 2 Kustomizations refused (1 fault); of the others 0 to create, 1 to update, 0 to delete, 0 with restarts"},
		{"beside none", []wire.Plan{broken, still}, "1 of 2 Kustomizations refused (1 fault), and the others stay as they are"},
	} {
		all := wire.Plans{Plan: wire.Plan{Target: broken.Target}, Plans: c.plans}
		for _, p := range c.plans {
			all.Errors = append(all.Errors, p.Errors...)
			all.Summary.Create += p.Summary.Create
			all.Summary.Update += p.Summary.Update
		}
		if len(c.plans) == 1 {
			all.Plan, all.Plans = c.plans[0], nil
		}
		for _, format := range []string{"text", "markdown"} {
			var out, errOut bytes.Buffer
			err := showPlan(&options{out: &out, err: &errOut}, all, outputFormat{value: format})
			if code := (exitError{}); !errors.As(err, &code) || code.code != exitFailed {
				t.Errorf("%s, %s: it ends with %v, want exit code %d", c.name, format, err, exitFailed)
			}
			if strings.Contains(out.String(), "no change") || !strings.Contains(out.String(), ": "+c.want+"\n") {
				t.Errorf("%s, %s: want %q in\n%s", c.name, format, c.want, out.String())
			}
		}
	}
}

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
				if code != exitChanges || !strings.Contains(out, "+ create ConfigMap/new") || !strings.Contains(errOut, want+" the comment on pull request 12") {
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
			if code != exitFailed || !strings.Contains(errOut, "set HEADWAY_FORGE_TOKEN or "+token) {
				t.Errorf("without a forge's token: %d %s", code, errOut)
			}
			t.Setenv("HEADWAY_TOKEN", "canary-wrong")
			code, _, errOut = headway(t, args...)
			if code != exitFailed || strings.Contains(errOut, "canary") {
				t.Errorf("with a wrong token: %d %s", code, errOut)
			}
			if code, _, errOut = headway(t, "plan", "--server", "http://127.0.0.1:1"); code != exitFailed || !strings.Contains(errOut, "in the clear") {
				t.Errorf("without TLS: %d %s", code, errOut)
			}
		})
	}
}
