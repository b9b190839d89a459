package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// secretFor makes a Secret and has the cluster's GitRepository use it.
func secretFor(t *testing.T, c *e2e.Cluster, data map[string]string) {
	t.Helper()
	secret, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]string{"name": "git", "namespace": "headway-system"}, "stringData": data,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.KubectlIn(string(secret), "apply", "-f", "-")
	c.Kubectl("patch", "gitrepository", "cluster", "-n", "headway-system", "--type=merge", "-p", `{"spec":{"secretRef":{"name":"git"}}}`)
}

// A repository behind HTTP with a password: pushes are fetched every interval
// and with sync, an outage is told and survived, and a rollback is pushed.
func TestHTTPRemote(t *testing.T) {
	t.Parallel()
	c := e2e.New(t, "--repo", "http://127.0.0.1:8080/remote.git", "--interval", "1s")
	c.NewRemote()
	plainRepo(t, c)
	stop := c.Remote.ServeHTTP("127.0.0.1:8080", "ada", "pass-word")
	c.Up()
	statusHas(t, c, "authentication", "next try")
	secretFor(t, c, map[string]string{"username": "ada", "password": "pass-word"})
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))

	c.Clone.Write("config-0.yaml", configMap(0, "two"))
	c.Clone.Push("Noticed by the interval")
	wantValue(t, c, "config-0", "two")

	stop()
	statusHas(t, c, "connection refused", "since", "next try in")
	if r := c.Headway("sync"); r.Code != 1 || !strings.Contains(r.Stdout+r.Stderr, "connection refused") {
		t.Errorf("sync without a server: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	wantValue(t, c, "config-0", "two")
	c.Clone.Write("config-0.yaml", configMap(0, "three"))
	c.Clone.Push("Pushed during the outage")
	c.Remote.ServeHTTP("127.0.0.1:8080", "ada", "pass-word")
	wantValue(t, c, "config-0", "three")
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))

	rollback(t, c)
	wantValue(t, c, "config-0", "two")
	if out := c.Program.Output() + c.Headway("status").Stdout + c.Kubectl("get", "events", "-A"); strings.Contains(out, "pass-word") {
		t.Errorf("the password is told:\n%s", out)
	}
}

// A repository behind SSH, with a private key and the server's known key.
func TestSSHRemote(t *testing.T) {
	t.Parallel()
	c := e2e.New(t, "--interval", "1h")
	c.NewRemote()
	plainRepo(t, c)
	identity, knownHosts := c.Remote.ServeSSH("2222")
	c.Program.AddFlags("--repo", "ssh://root@127.0.0.1:2222"+c.Remote.Dir)
	c.Up()
	statusHas(t, c, "secretRef", "identity", "known_hosts")

	other, _ := c.Remote.ServeSSH("2223")
	secretFor(t, c, map[string]string{"identity": other, "known_hosts": knownHosts})
	statusHas(t, c, "unable to authenticate")
	secretFor(t, c, map[string]string{"identity": identity, "known_hosts": strings.Replace(knownHosts, ":2222", ":2223", 1)})
	statusHas(t, c, "known_hosts")
	secretFor(t, c, map[string]string{"identity": identity, "known_hosts": knownHosts})
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))

	c.Clone.Write("config-0.yaml", configMap(0, "two"))
	commit := c.Clone.Push("Fetched by sync")
	if r := c.Headway("sync"); r.Code != 0 || !strings.Contains(r.Stdout, commit[:7]) {
		t.Errorf("sync: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if got, err := configValue(t, c, "config-0"); err != nil || got != "two" {
		t.Errorf("config-0 after sync holds %q, %v", got, err)
	}
	rollback(t, c)
	wantValue(t, c, "config-0", "one")
}

func rollback(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	bad := c.Clone.Git("rev-parse", "HEAD")
	if r := c.Headway("rollback"); r.Code != 0 {
		t.Fatalf("rollback: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.Clone.Git("pull", "-q", "--ff-only")
	if log := c.Clone.Git("log", "-1", "--format=%P%n%b"); !strings.Contains(log, bad+"\n") || !strings.Contains(log, "This reverts commit "+bad) {
		t.Errorf("the remote's newest commit is no revert of %s:\n%s", bad, log)
	}
}

func statusHas(t *testing.T, c *e2e.Cluster, wants ...string) {
	t.Helper()
	c.Eventually(30*time.Second, fmt.Sprintf("status tells %q", wants), func() error {
		r := c.Headway("status")
		for _, want := range wants {
			if !strings.Contains(r.Stdout, want) {
				return fmt.Errorf("no %q in:\n%s%s", want, r.Stdout, r.Stderr)
			}
		}
		return nil
	})
}

// A repository declares a second repository and what to apply of it, in order;
// a broken one beside it delays nobody, neither now nor after a restart.
func TestNestedSources(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	other := filepath.Join(t.TempDir(), "other")
	for _, dir := range []string{"first", "second", "broken"} {
		if err := os.MkdirAll(filepath.Join(other, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	commitOther := func(message string, files map[string]string) {
		t.Helper()
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(other, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if r := c.Run("", "sh", "-c", "cd "+other+" && { [ -d .git ] || git init -q -b main; } && git add -A && git commit -q -m '"+message+"'"); r.Code != 0 {
			t.Fatalf("git: %s%s", r.Stdout, r.Stderr)
		}
	}
	config := func(name, value string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: default}\ndata: {key: " + value + "}\n"
	}
	commitOther("Start", map[string]string{
		"first/a.yaml": config("first", "one"), "second/a.yaml": config("second", "one"), "broken/a.yaml": "kind: [",
	})
	stop := c.Remote.ServeGit("127.0.0.1:8080", filepath.Dir(other))
	defer stop()

	c.Clone.Git("rm", "-r", "-q", ".")
	kustomization := func(name, source, dependsOn string) string {
		return `---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: ` + name + `, namespace: headway-system}
spec: {interval: 1m, retryInterval: 1s, prune: true, wait: true, path: ./` + name + `, sourceRef: {kind: GitRepository, name: ` + source + `}` + dependsOn + `}
`
	}
	repository := func(name, url string) string {
		return `---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: ` + name + `, namespace: headway-system}
spec: {interval: 1s, url: "` + url + `", ref: {branch: main}}
`
	}
	c.Clone.Write("sources.yaml", repository("other", "http://127.0.0.1:8080/other/.git")+repository("absent", "http://127.0.0.1:9/absent.git"))
	c.Clone.Write("kustomizations.yaml", kustomization("first", "other", "")+kustomization("second", "other", ", dependsOn: [{name: first}]")+
		kustomization("broken", "other", "")+kustomization("never", "absent", "")+kustomization("after-broken", "other", ", dependsOn: [{name: broken}]"))
	c.Clone.Push("Follow another repository")
	wantValue(t, c, "first", "one")
	wantValue(t, c, "second", "one")
	statusHas(t, c, "broken/a.yaml", "headway-system/absent", "connection refused", "dependency 'headway-system/broken' is not ready")
	contains(t, "kustomizations", c.Kubectl("get", "kustomizations", "-n", "headway-system"), "first", "second", "broken", "Applied revision: main@sha1:")

	// A broken dependency holds back, and what is repaired goes on.
	commitOther("Break the first", map[string]string{"first/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first, namespace: default}\ndatum: {}\n", "second/a.yaml": config("second", "two")})
	statusHas(t, c, "first/a.yaml", "datum")
	if got, err := configValue(t, c, "second"); err != nil || got != "one" {
		t.Errorf("second holds %q, %v, while what it depends on is broken", got, err)
	}
	c.Program.Stop()
	c.Up()
	commitOther("Repair the first", map[string]string{"first/a.yaml": config("first", "three")})
	wantValue(t, c, "first", "three")
	wantValue(t, c, "second", "two")
	statusHas(t, c, "broken/a.yaml", "connection refused")

	// What is no longer declared is pruned with all that came of it.
	c.Clone.Write("kustomizations.yaml", kustomization("first", "other", ""))
	c.Clone.Push("No second one")
	c.Eventually(30*time.Second, "second is pruned", func() error {
		if value, err := configValue(t, c, "second"); err == nil {
			return fmt.Errorf("it holds %q", value)
		}
		return nil
	})
	wantValue(t, c, "first", "three")
}
