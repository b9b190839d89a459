package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/engine/pki"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// writesCluster is a server and a syncer without nodes, driven with kubectl by
// a user named ada.
type writesCluster struct {
	*uptest.Server
	t          *testing.T
	bare, work string
	kubeconfig string
	env        []string
}

// newWritesCluster makes a repository of files and follows it.
func newWritesCluster(t *testing.T, mode string, files map[string]string) *writesCluster {
	t.Helper()
	dir := t.TempDir()
	c := &writesCluster{t: t, bare: filepath.Join(dir, "repo.git"), work: filepath.Join(dir, "work"), kubeconfig: filepath.Join(dir, "kubeconfig")}
	c.run("", "git", "init", "-q", "--bare", "-b", "main", c.bare)
	c.run("", "git", "clone", "-q", c.bare, c.work)
	c.run(c.work, "git", "checkout", "-q", "-b", "main")
	c.write(files)
	c.run(c.work, "git", "add", "-A")
	c.run(c.work, "git", "commit", "-q", "-m", "Begin")
	c.run(c.work, "git", "push", "-q", "origin", "main")

	c.Server = uptest.Start(t, c.bare, uptest.Options{Before: func(s *uptest.Server) {
		c.Server = s
		c.patch(func(ks *kustomizev1.Kustomization) {
			ks.Annotations = map[string]string{flux.GitWrites: mode}
			ks.Spec.Wait = false
		})
	}})
	certPEM, keyPEM, err := c.Engine.PKI().Client("ada", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.WriteKubeconfig(c.kubeconfig, c.URL(), c.Engine.PKI().CACert, pki.Credentials{User: "ada", CertPEM: certPEM, KeyPEM: keyPEM}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the first commit is applied", func() bool {
		return strings.HasSuffix(c.ks().Status.LastAppliedRevision, c.head())
	})
	return c
}

// write puts files into the working tree.
func (c *writesCluster) write(files map[string]string) {
	c.t.Helper()
	for name, text := range files {
		path := filepath.Join(c.work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			c.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *writesCluster) ks() *kustomizev1.Kustomization {
	ks, _ := c.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}, Namespace: wire.SystemNamespace, Name: wire.RootName}).(*kustomizev1.Kustomization)
	return ks
}

func (c *writesCluster) patch(edit func(*kustomizev1.Kustomization)) {
	c.t.Helper()
	key := object.Key{GroupKind: schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}, Namespace: wire.SystemNamespace, Name: wire.RootName}
	_, err := c.Engine.Store().Commit(c.t.Context(), change.Tx{Changes: []change.Change{change.Patch(key, func(o object.Object) bool {
		edit(o.(*kustomizev1.Kustomization))
		return true
	})}})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *writesCluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	headwaytest.Eventually(c.t, what, ok, func() string { return fmt.Sprintf("status %+v", c.ks().Status) })
}

// run runs a program, which has to succeed, and returns what it printed.
func (c *writesCluster) run(dir, name string, args ...string) string {
	c.t.Helper()
	out, err := c.try(dir, "", name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func (c *writesCluster) try(dir, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=Bo", "GIT_AUTHOR_EMAIL=bo@example.com",
		"GIT_COMMITTER_NAME=Bo", "GIT_COMMITTER_EMAIL=bo@example.com", "HOME="+filepath.Dir(c.bare), "KUBECONFIG="+c.kubeconfig)
	cmd.Env = append(cmd.Env, c.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

func (c *writesCluster) head() string {
	c.t.Helper()
	return c.run(c.bare, "git", "rev-parse", "main")
}

// changed is what the newest commit changed: the lines of its diff, by file.
func (c *writesCluster) changed() string {
	c.t.Helper()
	var out []string
	for line := range strings.SplitSeq(c.run(c.bare, "git", "show", "--format=", "-U0", "main"), "\n") {
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "@@"), strings.HasPrefix(line, "index "), strings.HasPrefix(line, "deleted file"):
		case strings.HasPrefix(line, "diff --git"):
			_, file, _ := strings.Cut(line, " b/")
			out = append(out, file)
		default:
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

const writesWeb = `# The front end.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # not api
  namespace: default
spec:
  replicas: 2 # for now
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: 'example.com/web:1'
        env:
        # how loud
        - name: LEVEL
          value: info
`

const writesConfig = `apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  namespace: default
data:
  # the colour
  colour: "red"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: default}
data: {k: v}
`

// writeStep is a write of kubectl's.
type writeStep struct {
	args []string
	// want is what the commit changes.
	stdin, want string
	get, value  string // what the API has right afterwards
}

// become checks that each write is answered once its commit is applied.
func (c *writesCluster) become(steps []writeStep) {
	c.t.Helper()
	for _, step := range steps {
		what := "kubectl " + strings.Join(step.args, " ")
		before := c.head()
		c.env = []string{`KUBE_EDITOR=sed -i 's/value: info/value: debug/'`}
		out, err := c.try("", step.stdin, "kubectl", step.args...)
		if err != nil {
			c.t.Fatalf("%s: %v\n%s", what, err, out)
		}
		kind, path, _ := strings.Cut(step.get, " ")
		if got := c.run("", "kubectl", "get", kind, "-o", "jsonpath="+path); got != step.value {
			c.t.Errorf("%s: right afterwards %s is %q, want %q", what, path, got, step.value)
		}
		if got := c.run(c.bare, "git", "rev-parse", "main~1"); got != before {
			c.t.Errorf("%s made more or less than one commit", what)
		}
		got := c.changed()
		if !strings.Contains(step.want, "\n") {
			got, _, _ = strings.Cut(got, "\n") // the file is gone
		}
		if d := cmp.Diff(step.want, got); d != "" {
			c.t.Errorf("%s (-want +got):\n%s", what, d)
		}
		if got := c.run(c.bare, "git", "log", "-1", "--format=%an <%ae>, %cn", "main"); got != "ada <ada@cluster.local>, headway" {
			c.t.Errorf("%s: the commit is by %s", what, got)
		}
	}
}

// refuse checks that writes are forbidden, with words.
func (c *writesCluster) refuse(list [][2]string) {
	c.t.Helper()
	for _, one := range list {
		args, want := one[0], one[1]
		out, err := c.try("", "", "kubectl", strings.Fields(args)...)
		if err == nil || !strings.Contains(out, "Forbidden") && !strings.Contains(out, "forbidden") || !strings.Contains(out, want) {
			c.t.Errorf("kubectl %s: %v\n%s\nwant %s", args, err, out, want)
		}
	}
}

// Every way in which kubectl writes becomes a commit that edits exactly those
// lines, in the user's name, and is answered once it is applied.
func TestWritesBecomeCommits(t *testing.T) {
	c := newWritesCluster(t, "commit", map[string]string{"web.yaml": writesWeb, "settings.yaml": writesConfig})
	applied := func(replace ...string) string {
		return strings.NewReplacer(replace...).Replace(writesConfig[:strings.Index(writesConfig, "---")])
	}
	c.become([]writeStep{
		{
			args: []string{"scale", "deploy/web", "--replicas=5"}, want: "web.yaml\n-  replicas: 2 # for now\n+  replicas: 5 # for now",
			get: "deploy/web {.spec.replicas}", value: "5",
		},
		{
			args: []string{"set", "image", "deploy/web", "web=example.com/web:2"}, want: "web.yaml\n-        image: 'example.com/web:1'\n+        image: 'example.com/web:2'",
			get: "deploy/web {.spec.template.spec.containers[0].image}", value: "example.com/web:2",
		},
		{
			args: []string{"set", "env", "deploy/web", "COLOUR=blue"}, want: "web.yaml\n+        - name: COLOUR\n+          value: blue",
			get: "deploy/web {.spec.template.spec.containers[0].env[1].value}", value: "blue",
		},
		{
			args: []string{"edit", "deploy/web"}, want: "web.yaml\n-          value: info\n+          value: debug",
			get: "deploy/web {.spec.template.spec.containers[0].env[0].value}", value: "debug",
		},
		{
			args: []string{"annotate", "cm/settings", "example.com/note=yes"}, want: "settings.yaml\n+  annotations:\n+    example.com/note: \"yes\"",
			get: `cm/settings {.metadata.annotations.example\.com/note}`, value: "yes",
		},
		{
			args: []string{"label", "cm/settings", "tier=front"}, want: "settings.yaml\n+  labels:\n+    tier: front",
			get: "cm/settings {.metadata.labels.tier}", value: "front",
		},
		{
			args: []string{"patch", "cm/settings", "--type=merge", "-p", `{"data":{"colour":"blue"}}`}, want: "settings.yaml\n-  colour: \"red\"\n+  colour: \"blue\"",
			get: "cm/settings {.data.colour}", value: "blue",
		},
		{
			args: []string{"patch", "cm/settings", "--type=json", "-p", `[{"op":"replace","path":"/data/colour","value":"green"}]`}, want: "settings.yaml\n-  colour: \"blue\"\n+  colour: \"green\"",
			get: "cm/settings {.data.colour}", value: "green",
		},
		{
			args: []string{"patch", "deploy/web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","imagePullPolicy":"Always"}]}}}}`},
			want: "web.yaml\n+        imagePullPolicy: Always",
			get:  "deploy/web {.spec.template.spec.containers[0].imagePullPolicy}", value: "Always",
		},
		{
			args: []string{"apply", "-f", "-"}, stdin: applied(`"red"`, `"black"`), want: "settings.yaml\n-  colour: \"green\"\n+  colour: \"black\"",
			get: "cm/settings {.data.colour}", value: "black",
		},
		{
			args: []string{"apply", "--server-side", "--force-conflicts", "-f", "-"}, stdin: applied(`"red"`, `"white"`), want: "settings.yaml\n-  colour: \"black\"\n+  colour: \"white\"",
			get: "cm/settings {.data.colour}", value: "white",
		},
		{args: []string{"label", "cm/settings", "tier-"}, want: "settings.yaml\n-  labels:\n-    tier: front", get: "cm/settings {.metadata.labels.tier}"},
		{
			args: []string{"delete", "cm/other"},
			want: "settings.yaml\n----\n-apiVersion: v1\n-kind: ConfigMap\n-metadata: {name: other, namespace: default}\n-data: {k: v}", get: "cm {.items[?(@.metadata.name=='other')].metadata.name}",
		},
		{args: []string{"delete", "cm/settings"}, want: "settings.yaml", get: "cm {.items[?(@.metadata.name=='settings')].metadata.name}"},
	})
	if files := c.run(c.bare, "git", "ls-tree", "--name-only", "main"); files != "web.yaml" {
		t.Errorf("files at the end: %s", files)
	}
}

// What does not concern Git is stored as ever, and what cannot be mapped back,
// or is only tried, changes nothing.
func TestWritesThatAreNoCommits(t *testing.T) {
	free := strings.Replace(strings.ReplaceAll(writesWeb, "web", "free"), "  replicas: 2 # for now\n", "", 1)
	c := newWritesCluster(t, "commit", map[string]string{
		"web.yaml": writesWeb, "free.yaml": free, "shared.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared, namespace: default}\ndata:\n  a: &a one\n  b: *a\n",
	})
	before := c.head()
	for _, args := range []string{
		"scale deploy/free --replicas=3", "rollout restart deploy/web", "create cm mine --from-literal=a=b", "label cm/mine a=b", "delete cm/mine",
		"set image deploy/web web=example.com/web:2 --dry-run=server", "delete deploy/web --dry-run=server",
	} {
		c.run("", "kubectl", strings.Fields(args)...)
	}
	out, err := c.try("", "", "kubectl", "patch", "cm/shared", "--type=merge", "-p", `{"data":{"b":"two"}}`)
	if err == nil || !strings.Contains(out, "shared.yaml:6: the value comes through the alias *a") {
		t.Errorf("a value through an alias: %v %s", err, out)
	}
	if got := c.head(); got != before {
		t.Errorf("a commit was made:\n%s", c.changed())
	}
	if got := c.run("", "kubectl", "get", "deploy/free", "-o", "jsonpath={.spec.replicas}"); got != "3" {
		t.Errorf("free has %s replicas", got)
	}
}

// kubectl rollout undo is the revert of the commit that changed the template.
func TestRolloutUndoReverts(t *testing.T) {
	c := newWritesCluster(t, "commit", map[string]string{"web.yaml": writesWeb})
	sets := func() int {
		return len(strings.Fields(c.run("", "kubectl", "get", "rs", "-o", "name")))
	}
	c.eventually("the first ReplicaSet is there", func() bool { return sets() == 1 })
	c.run("", "kubectl", "set", "image", "deploy/web", "web=example.com/web:2")
	bad := c.head()
	c.eventually("the second ReplicaSet is there", func() bool { return sets() == 2 })
	c.run("", "kubectl", "rollout", "undo", "deploy/web")
	if got, want := c.changed(), "web.yaml\n-        image: 'example.com/web:2'\n+        image: 'example.com/web:1'"; got != want {
		t.Errorf("the commit changed:\n%s", got)
	}
	message := c.run(c.bare, "git", "log", "-1", "--format=%an%n%B", "main")
	if !strings.HasPrefix(message, "ada\nRevert \"") || !strings.Contains(message, "This reverts commit "+bad+".") {
		t.Errorf("the commit says:\n%s", message)
	}
	if got := c.run("", "kubectl", "get", "deploy/web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"); got != "example.com/web:1" {
		t.Errorf("the image is %s", got)
	}
}

const writesBase = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: example.com/web
        resources:
          limits: {cpu: "1"}
`

// With kustomize the line that sets the field is edited: in images, replicas,
// a patch, or the manifest; what several objects share is refused.
func TestWritesThroughKustomize(t *testing.T) {
	c := newWritesCluster(t, "commit", map[string]string{
		"base/web.yaml":           writesBase,
		"base/kustomization.yaml": "resources: [web.yaml]\n",
		"limits.yaml":             "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        resources:\n          limits: {cpu: \"2\"} # more\n",
		"kustomization.yaml": `namespace: default
resources:
- base
- cm.yaml
labels:
- pairs: {team: one}
images:
# the release
- name: example.com/web
  newTag: "1"
replicas:
- {name: web, count: 2}
patches:
- path: limits.yaml
- target: {kind: Deployment, name: web}
  patch: |-
    # loud
    - op: add
      path: /metadata/annotations
      value: {level: info}
`,
		"cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {k: v}\n",
	})
	for _, step := range []struct{ args, want string }{
		{"scale deploy/web --replicas=4", "kustomization.yaml\n-- {name: web, count: 2}\n+- {name: web, count: 4}"},
		{"set image deploy/web web=example.com/web:2", "kustomization.yaml\n-  newTag: \"1\"\n+  newTag: \"2\""},
		{"set resources deploy/web --limits=cpu=3", "limits.yaml\n-          limits: {cpu: \"2\"} # more\n+          limits: {cpu: \"3\"} # more"},
		{"annotate deploy/web level=debug --overwrite", "kustomization.yaml\n-      value: {level: info}\n+      value: {level: debug}"},
		{`patch cm/settings --type=merge -p {"data":{"k":"w"}}`, "cm.yaml\n-data: {k: v}\n+data: {k: w}"},
		{"delete cm/settings", "cm.yaml\n-apiVersion: v1\n-kind: ConfigMap\n-metadata: {name: settings}\n-data: {k: w}\nkustomization.yaml\n-- cm.yaml"},
	} {
		before := c.head()
		// On a busy machine the builds may take longer than a request: the commit is
		// made once all the same.
		if out, err := c.try("", "", "kubectl", strings.Fields(step.args)...); strings.Contains(out, "(Timeout)") {
			c.eventually("the commit is applied", func() bool { return strings.HasSuffix(c.ks().Status.LastAppliedRevision, c.head()) })
			if c.head() == before {
				c.run("", "kubectl", strings.Fields(step.args)...)
			}
		} else if err != nil {
			t.Fatalf("%s: %v\n%s", step.args, err, out)
		}
		if d := cmp.Diff(step.want, c.changed()); d != "" {
			t.Errorf("%s (-want +got):\n%s", step.args, d)
		}
		if got := c.run(c.bare, "git", "rev-parse", "main~1"); got != before {
			t.Errorf("%s made more or less than one commit", step.args)
		}
	}
	before := c.head()
	out, err := c.try("", "", "kubectl", "label", "deploy/web", "team=two", "--overwrite")
	if err == nil || !strings.Contains(out, "labels in kustomization.yaml:") {
		t.Errorf("a common label: %v %s", err, out)
	}
	if c.head() != before {
		t.Error("the refused write made a commit")
	}
}

// In reject mode every way to write a field of Git's is refused with its place,
// and what Git does not set is free.
func TestWritesAreRefused(t *testing.T) {
	free := strings.Replace(strings.ReplaceAll(writesWeb, "web", "free"), "  replicas: 2 # for now\n", "", 1)
	c := newWritesCluster(t, "reject", map[string]string{"web.yaml": writesWeb, "free.yaml": free})
	commit := c.head()[:12]
	c.refuse([][2]string{
		{"scale deploy/web --replicas=5", "spec.replicas is set by Git in web.yaml:8 (commit " + commit + `, "Begin")`},
		{"scale deploy/web --replicas=5 --dry-run=server", "web.yaml:8"},
		{"set image deploy/web web=example.com/web:2", "spec.template.spec.containers[name=web].image is set by Git in web.yaml:17"},
		{`patch deploy/web --type=json -p [{"op":"remove","path":"/spec/template/spec/containers/0/env/0"}]`, "web.yaml:2"},
		{"delete deploy/web", "the object is set by Git in web.yaml:2"},
		{"delete deploy --all", "the object is set by Git in"},
		{"annotate deploy/web note=mine", "metadata.annotations.note is not in Git"},
		{"set env deploy/web EXTRA=1", "env[name=EXTRA]"},
	})
	for _, args := range []string{
		"annotate deploy/web note=mine --field-manager=ada", "label deploy/web tier=front --field-manager=ada", "rollout restart deploy/web",
		"scale deploy/free --replicas=3", "set env deploy/web EXTRA=1 --field-manager=ada",
	} {
		c.run("", "kubectl", strings.Fields(args)...)
	}
	// Controllers write on: the Deployment's status and its ReplicaSets.
	c.eventually("the rollout goes on", func() bool {
		return c.run("", "kubectl", "get", "deploy/web", "-o", "jsonpath={.status.observedGeneration}") ==
			c.run("", "kubectl", "get", "deploy/web", "-o", "jsonpath={.metadata.generation}")
	})
	// The way out in an emergency.
	c.run("", "kubectl", "-n", wire.SystemNamespace, "annotate", "kustomization", "cluster", "headway.dev/git-writes=heal", "--overwrite")
	c.run("", "kubectl", "scale", "deploy/web", "--replicas=5")
}
