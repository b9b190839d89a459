package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/report"
	"headway.dev/cmd/headway/up"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/forge/forgetest"
	"headway.dev/syncer/wire"
)

func coloured(colour string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: default\ndata:\n  colour: " + colour + "\n  size: big\n"
}

// workload is a Deployment that is healthy without pods and fails with some, as
// there is no node.
func workload(replicas int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: %[1]d
  progressDeadlineSeconds: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "example.com/web:%[1]d"}]}
`, replicas)
}

// What was, who did it and where, asked of a running cluster; and the journal
// tells when somebody has been at it.
func TestHistoryCommands(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": coloured("red")}, nil)
	first := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	s.deployed(first)
	between := time.Now()
	second := s.push(map[string]string{"settings.yaml": coloured("blue"), "more.yaml": strings.Replace(coloured("green"), "name: settings", "name: more", 1)})
	s.deployed(second)

	out := s.must(cli.ExitOK, "blame", "cm/settings", "-n", "default")
	headwaytest.Shows(t, "blame", out, "ConfigMap/settings in default", report.ShortSHA(second)+"  Ada", "settings.yaml:7  data.colour", "blue", report.ShortSHA(first)+"  Ada", "settings.yaml:8  data.size", "big")
	if strings.Contains(out, "metadata.uid") {
		t.Errorf("blame shows what nobody set:\n%s", out)
	}
	headwaytest.Shows(t, "blame --all", s.must(cli.ExitOK, "blame", "cm/settings", "-n", "default", "--all"), "metadata.uid")
	var blame wire.Blame
	if err := json.Unmarshal([]byte(s.must(cli.ExitOK, "blame", "configmap/settings", "-o", "json")), &blame); err != nil || blame.Commits[second].Author.Name != "Ada" {
		t.Errorf("blame -o json: %v, %+v", err, blame.Commits)
	}

	headwaytest.Shows(t, "get --at COMMIT", s.must(cli.ExitOK, "get", "cm/settings", "--at", report.ShortSHA(first)), "colour: red", "settings.yaml:1", first)
	headwaytest.Shows(t, "get --at TIME", s.must(cli.ExitOK, "get", "cm/settings", "--at", between.Format(time.RFC3339Nano)), "colour: red")
	headwaytest.Shows(t, "get", s.must(cli.ExitOK, "get", "cm/settings"), "colour: blue")
	headwaytest.Shows(t, "get of what was not there yet", s.must(cli.ExitFailed, "get", "cm/more", "--at", first), "ConfigMap/more was not declared at "+first[:12])
	headwaytest.Shows(t, "get of an unknown commit", s.must(cli.ExitFailed, "get", "cm/settings", "--at", "0123456"), "0123456")

	out = s.must(cli.ExitChanges, "diff", first, second)
	headwaytest.Shows(t, "diff", out, "+ create ConfigMap/more", "~ update ConfigMap/settings", "data.colour: red → blue")
	headwaytest.Shows(t, "diff backwards", s.must(cli.ExitChanges, "diff", second, first), "- delete ConfigMap/more", "data.colour: blue → red")
	s.must(cli.ExitOK, "diff", second, second)
	s.must(cli.ExitFailed, "diff", second, "none")

	out = s.must(cli.ExitOK, "log", "cm/settings", "-n", "default")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 3 || !strings.Contains(lines[1], report.ShortSHA(second)) || !strings.Contains(lines[2], report.ShortSHA(first)) || !strings.Contains(lines[1], "healthy") {
		t.Errorf("log of settings:\n%s", out)
	}
	out = s.must(cli.ExitOK, "log", "cm/more")
	if strings.Contains(out, report.ShortSHA(first)) || !strings.Contains(out, report.ShortSHA(second)) {
		t.Errorf("log of more:\n%s", out)
	}

	headwaytest.Shows(t, "log --verify", s.must(cli.ExitOK, "log", "--verify"), "The journal is whole: 4 entries")
	records, err := s.Cluster.Engine.Store().Records("journal", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	forged := []byte(strings.Replace(string(records[len(records)-1]), "healthy", "failed", 1))
	if _, err := s.Cluster.Engine.Store().Commit(t.Context(), change.Tx{Append: []change.Record{{Log: "journal", Data: forged}}}); err != nil {
		t.Fatal(err)
	}
	headwaytest.Shows(t, "log --verify of a forged journal", s.must(cli.ExitFailed, "log", "--verify"), "The journal is broken after 4 sound entries", "changed, removed or inserted")
	var verified wire.Verification
	if err := json.Unmarshal([]byte(s.must(cli.ExitFailed, "log", "--verify", "-o", "json")), &verified); err != nil || verified.OK || verified.Entries != 4 {
		t.Errorf("log --verify -o json: %v, %+v", err, verified)
	}
}

// A rollback is a commit, waited for; one that cannot be made changes nothing
// and has an exit code of its own.
func TestRollbackCommand(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": coloured("red")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	second := s.push(map[string]string{"settings.yaml": coloured("blue")})
	s.deployed(second)
	third := s.push(map[string]string{"settings.yaml": coloured("green")})
	s.deployed(third)

	out := s.must(cli.ExitRefused, "rollback", second)
	headwaytest.Shows(t, "a conflict", out, "settings.yaml")
	var outcome struct{ Conflicts []string }
	_, text, _ := s.headway("rollback", second, "-o", "json")
	if err := json.Unmarshal([]byte(text), &outcome); err != nil || len(outcome.Conflicts) != 1 || outcome.Conflicts[0] != "settings.yaml" {
		t.Errorf("rollback -o json of a conflict: %v\n%s", err, text)
	}
	if got := s.repo.Git(s.repo.Bare, "rev-parse", "main"); got != third {
		t.Errorf("main is at %s after a conflict, want %s", got, third)
	}
	headwaytest.Shows(t, "an unknown commit", s.must(cli.ExitFailed, "rollback", "0123456"), "0123456")

	out = s.must(cli.ExitOK, "rollback", "-m", "green is out")
	headwaytest.Shows(t, "rollback", out, "Revert", "reverts "+report.ShortSHA(third))
	if got := s.repo.Git(s.repo.Bare, "log", "-1", "--format=%P %B", "main"); !strings.HasPrefix(got, third) || !strings.Contains(got, "This reverts commit "+third+".") || !strings.Contains(got, "green is out") {
		t.Errorf("the newest commit: %s", got)
	}
	headwaytest.Shows(t, "get after the rollback", s.must(cli.ExitOK, "get", "cm/settings"), "colour: blue")
}

// What keeps a commit from being applied, or has failed, is in the status with
// its reason; a rollback ends a quarantine.
func TestStatusTellsHolds(t *testing.T) {
	s := newStory(t, map[string]string{"web.yaml": workload(0)}, nil)
	s.patch("Kustomization", func(o object.Object) { o.SetAnnotations(map[string]string{flux.OnFailure: "hold"}) })
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))

	bad := s.push(map[string]string{"web.yaml": workload(1)})
	s.eventually("the failed commit is in quarantine", func() bool { return strings.Contains(s.must(cli.ExitOK, "status"), "quarantine") })
	out := s.must(cli.ExitOK, "status")
	headwaytest.Shows(t, "status of a quarantine", out, "quarantine main@"+report.ShortSHA(bad), "Deployment/default/web")
	hold := func() wire.Hold {
		t.Helper()
		var status wire.Status
		if err := json.Unmarshal([]byte(s.must(cli.ExitOK, "status", "-o", "json")), &status); err != nil {
			t.Fatal(err)
		}
		if list := status.Sources[0].Kustomizations[0].Holds; len(list) == 1 {
			return list[0]
		}
		return wire.Hold{}
	}
	if h := hold(); h.Kind != wire.GateQuarantine || !strings.HasSuffix(h.Revision, bad) || h.Message == "" || h.Since.IsZero() {
		t.Errorf("status -o json of a quarantine: %+v", h)
	}
	headwaytest.Shows(t, "sync of a quarantine", s.must(cli.ExitFailed, "sync"), "not everything is applied")
	headwaytest.Shows(t, "log of a quarantine", s.must(cli.ExitOK, "log"), "failed", report.ShortSHA(bad))
	out = s.must(cli.ExitOK, "rollback")
	headwaytest.Shows(t, "rollback of a quarantine", out, "reverts "+report.ShortSHA(bad))
	s.deployed(s.repo.Git(s.repo.Bare, "rev-parse", "main"))
	if h := hold(); h.Kind != "" {
		t.Errorf("after the rollback: %+v", h)
	}

	s.patch("Kustomization", func(o object.Object) { o.SetAnnotations(map[string]string{flux.Freeze: "* * * * * / 1h"}) })
	s.repo.Git(s.repo.Work, "pull", "-q", "--ff-only", "origin", "main")
	waits := s.push(map[string]string{"settings.yaml": coloured("red")})
	s.eventually("the commit waits for the end of the freeze", func() bool { return strings.HasSuffix(hold().Revision, waits) })
	out = s.must(cli.ExitOK, "status")
	headwaytest.Shows(t, "status of a freeze", out, "freeze   main@"+report.ShortSHA(waits), "Frozen until", "* * * * * / 1h")
	headwaytest.Shows(t, "get while frozen", s.must(cli.ExitFailed, "get", "cm/settings"), "not declared")
	headwaytest.Shows(t, "plan while frozen", s.must(cli.ExitChanges, "plan"), "create ConfigMap/settings", "Frozen until")

	s.patch("Kustomization", func(o object.Object) { o.SetAnnotations(map[string]string{flux.MaxDeletes: "none"}) })
	s.eventually("an annotation that nobody understands is told", func() bool {
		return strings.Contains(s.must(cli.ExitOK, "status"), `annotation headway.dev/max-deletes: "none" is not a number of objects`)
	})
}

// A job of CI has a URL, a certificate to trust and a token that may do
// nothing but plan; its comment is on the pull request.
func TestPlanCommentStory(t *testing.T) {
	git := forgetest.New(t, forge.Gitea)
	s := newStory(t, map[string]string{"settings.yaml": coloured("red")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	s.repo.Push("refs/pull/12/head", map[string]string{"settings.yaml": coloured("blue")})
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, s.Cluster.Engine.PKI().CACert, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HEADWAY_TOKEN", "token-of-viewer")
	t.Setenv("HEADWAY_FORGE_TOKEN", forgetest.Token)
	args := []string{
		"plan", "--server", "https://" + s.Cluster.Listener.Addr().String(), "--certificate-authority", ca, "pull/12",
		"--comment", "12", "--forge", "gitea", "--repository", git.URL + "/" + forgeProject, "--forge-address", git.URL + "/api/v1",
	}
	headwaytest.Shows(t, "a token without the right", s.must(cli.ExitFailed, args...), "cannot post path")
	if n := len(git.Comments()); n != 0 {
		t.Errorf("%d comments of a plan that was refused", n)
	}
	s.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ci"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "headway:plan"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "viewer"}},
	})
	for _, verb := range []string{"wrote", "edited"} {
		var out string
		s.eventually("the right is there", func() bool {
			code, o, e := s.headway(args...)
			out = o + e
			return code == cli.ExitChanges
		})
		headwaytest.Shows(t, "plan", out, "update ConfigMap/settings", "→ blue", verb+" the comment on pull request 12")
	}
	if list := git.Comments(); len(list) != 1 || !strings.Contains(list[0].Body, "ConfigMap/settings") {
		t.Errorf("comments at the forge: %+v", list)
	}
	if got := s.must(cli.ExitOK, "get", "cm/settings"); !strings.Contains(got, "colour: red") {
		t.Errorf("the plan has changed something:\n%s", got)
	}
}

// A Git server on the outside has the URL, the certificate and the webhook's
// secret, and no credentials: what it says is believed if it is signed, and
// then deploys the push.
func TestWebhookOverTLS(t *testing.T) {
	var fetches atomic.Int64
	s := newStory(t, map[string]string{"settings.yaml": coloured("red")}, func(s *story, up *up.Options) {
		up.Repo = headwaytest.ServeGit(t, filepath.Dir(s.repo.Bare), func(r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/info/refs") && r.URL.Query().Get("service") == "git-upload-pack" {
				fetches.Add(1)
			}
			return true
		}) + "/" + filepath.Base(s.repo.Bare)
	})
	const token = "6f2a1d1c7a5e4d0f"
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: wire.SystemNamespace, Name: "hook"}, Data: map[string][]byte{"token": []byte(token)}})
	s.patch("GitRepository", func(o object.Object) { o.SetAnnotations(map[string]string{flux.WebhookSecret: "hook"}) })
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	// The annotation, too, made the source be looked at: let that be over.
	headwaytest.Quiet(t, "the source is not looked at any more", func() string { return fmt.Sprint(fetches.Load()) })
	second := s.push(map[string]string{"settings.yaml": coloured("blue")})
	const path, body = "/headway/v1/hooks/" + wire.SystemNamespace + "/" + wire.RootName, `{"ref":"refs/heads/main"}`
	signature := func(key string) http.Header {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(body))
		return http.Header{"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))}, "X-GitHub-Event": {"push"}}
	}
	before := fetches.Load()
	for name, header := range map[string]http.Header{"unsigned": nil, "signed by another": signature("other")} {
		if code, text := s.ask("-", http.MethodPost, path, body, header); code != http.StatusUnauthorized || text != "unauthorized\n" {
			t.Errorf("%s: %d %q", name, code, text)
		}
	}
	// The webhook opens that path, and that method, and nothing else.
	for _, r := range []struct{ method, path string }{{http.MethodGet, path}, {http.MethodPost, "/headway/v1/sync"}, {http.MethodGet, "/headway/v1/status"}, {http.MethodGet, "/api/v1/secrets"}} {
		if code, _ := s.ask("-", r.method, r.path, "", signature(token)); code != http.StatusForbidden && code != http.StatusUnauthorized {
			t.Errorf("%s %s without credentials: status %d", r.method, r.path, code)
		}
	}
	res, err := http.Post("http://"+s.Cluster.Listener.Addr().String()+path, "application/json", strings.NewReader(body)) //nolint:noctx // must fail
	if err == nil {
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("a webhook without TLS was accepted")
		}
	}
	if res, err := http.Post("https://"+s.Cluster.Listener.Addr().String()+path, "application/json", strings.NewReader(body)); err == nil { //nolint:noctx // must fail
		res.Body.Close()
		t.Error("a client that does not trust the cluster's authority was served")
	}
	if got := fetches.Load(); got != before {
		t.Errorf("the source was looked at %d times without a signed webhook", got-before)
	}
	if code, text := s.ask("-", http.MethodPost, path, body, signature(token)); code != http.StatusOK {
		t.Errorf("signed: %d %q", code, text)
	}
	s.deployed(second)
	headwaytest.Shows(t, "get after the webhook", s.must(cli.ExitOK, "get", "cm/settings"), "colour: blue")
}
