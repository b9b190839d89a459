package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/sops/sopstest"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/forge/forgetest"
	"headway.dev/syncer/wire"
)

// channels collects everything that a cluster says.
type channels struct {
	t    *testing.T
	text map[string]string
}

// add keeps what came out of a channel, which has to hold the word that shows
// that it is the right one.
func (c *channels) add(name, word, text string) {
	c.t.Helper()
	if !strings.Contains(text, word) {
		c.t.Errorf("%s does not hold %q, so that nothing is proved:\n%.2000s", name, word, text)
	}
	c.text[name] += text
}

// statusConditions are those of a source or a Kustomization.
func statusConditions(o object.Object) []metav1.Condition {
	switch o := o.(type) {
	case *sourcev1.GitRepository:
		return o.Status.Conditions
	case *kustomizev1.Kustomization:
		return o.Status.Conditions
	}
	return nil
}

// followers are all sources and Kustomizations.
func (s *story) followers() []object.Object {
	var all []object.Object
	for _, kind := range []string{"GitRepository", "Kustomization"} {
		list, _ := s.Cluster.Engine.Store().List(rootKey(kind).GroupKind, "")
		all = append(all, list...)
	}
	return all
}

// settled waits until everything but the root has failed, which has applied a
// commit.
func (l *leaky) settled(sha string) {
	l.t.Helper()
	open := ""
	headwaytest.Eventually(l.t, "everything but the root has failed", func() bool {
		open = ""
		for _, o := range l.followers() {
			want := metav1.ConditionFalse
			ks, ok := o.(*kustomizev1.Kustomization)
			if o.GetName() == wire.RootName || o.GetName() == "told" && !ok {
				want = metav1.ConditionTrue
			}
			c := apimeta.FindStatusCondition(statusConditions(o), "Ready")
			switch {
			case c == nil:
				open += "\n" + o.GetName() + " has no condition"
			case c.Status != want:
				open += fmt.Sprintf("\n%s %s is %s: %s", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), c.Status, c.Message)
			case ok && !strings.HasSuffix(ks.Status.LastAttemptedRevision, sha):
				open += fmt.Sprintf("\n%s has tried %s", o.GetName(), ks.Status.LastAttemptedRevision)
			}
		}
		return open == ""
	}, func() string { return open })
}

// present checks that the secrets are there to be shown.
func (l *leaky) present(plain map[string]string) {
	l.t.Helper()
	var all strings.Builder
	secrets, _ := l.Cluster.Engine.Store().List(schema.GroupKind{Kind: "Secret"}, "")
	for _, o := range secrets {
		for _, v := range o.(*corev1.Secret).Data {
			all.Write(v)
			all.WriteByte('\n')
		}
	}
	for _, o := range l.followers() {
		if src, ok := o.(*sourcev1.GitRepository); ok {
			all.WriteString(src.Spec.URL + "\n")
		}
	}
	for _, text := range plain {
		all.WriteString(text)
	}
	// These are in files that stay encrypted, or in a request.
	elsewhere := []string{"Secret that nobody can decrypt", "encrypted Secret that was changed", "encrypted Secret of the branch", "value of a refused write"}
	for name, secret := range l.secrets {
		if there := strings.Contains(all.String(), secret) || strings.Contains(all.String(), strings.ToUpper(secret)); !there && !slices.Contains(elsewhere, name) {
			l.t.Errorf("the secret %q is nowhere: that it does not show proves nothing", name)
		}
	}
}

// Whatever goes wrong around them, no secret shows where it does not belong:
// in logs, events, conditions, the journal, plans, metrics, errors, history,
// or at the forge.
func TestSecretsDoNotShow(t *testing.T) {
	l := newLeaky(t)
	first := l.repo.Git(l.repo.Work, "rev-parse", "HEAD")
	l.settled(first)
	files := l.manifests(t) // with other secrets
	for name, text := range files {
		if strings.HasPrefix(name, "good/sub") {
			files[name] = strings.Replace(text, "red", "blue", 1)
		}
	}
	second := l.push(files)
	l.ask("", http.MethodPost, "/headway/v1/sync", `{}`, nil)
	l.ask("", http.MethodPost, "/headway/v1/sync", `{"source":"headway-system/told"}`, nil)
	l.settled(second)
	l.repo.Git(l.repo.Work, "checkout", "-q", "-b", "change")
	change := map[string]string{
		"good/plain.yaml":  strings.Replace(files["good/plain.yaml"], "password: ", "password: x"+l.secrets.add("Secret of the branch"), 1),
		"good/sealed.yaml": string(sopstest.Secret(t, "sealed", map[string]string{"password": l.secrets.add("encrypted Secret of the branch"), "more": "x"}, l.own.Recipient())),
		"good/new.yaml":    "apiVersion: v1\nkind: Secret\nmetadata: {name: new, namespace: default}\nstringData: {password: " + l.secrets.add("new Secret") + "}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: new, namespace: default}\ndata: {dsn: '${password}'}\n",
	}
	l.repo.Push("change", change)
	l.repo.Git(l.repo.Work, "checkout", "-q", "-b", "broken")
	l.repo.Push("broken", map[string]string{"good/plain.yaml": files["type/a.yaml"]})
	plain := map[string]string{}
	for _, list := range []map[string]string{files, change} {
		for name, text := range list {
			plain[name+text] = text
		}
	}

	c := &channels{t: t, text: map[string]string{}}
	l.plans(c)
	l.history(c, first, second)
	l.errors(c)
	l.said(c)
	l.present(plain)
	for name, text := range c.text {
		if secret, form := l.secrets.shows(text); secret != "" {
			at := strings.Index(text, form)
			t.Errorf("%s shows the %s:\n…%s…", name, secret, text[max(0, at-300):min(len(text), at+len(form)+100)])
		}
	}
}

// plans asks for plans in every way.
func (l *leaky) plans(c *channels) {
	l.t.Helper()
	for _, format := range []string{"text", "json", "markdown"} {
		// What is broken on main is so on every branch: a plan tells of it all.
		c.add("plan -o "+format, "password", l.must(cli.ExitFailed, "plan", "change", "-o", format))
		code, out, errOut := l.headway("plan", "broken", "-o", format)
		if code != cli.ExitFailed {
			l.t.Errorf("plan of a broken branch: exit code %d", code)
		}
		c.add("plan of a broken branch -o "+format, "plain.yaml", out+errOut)
	}
	c.add("plan of a commit that is applied", "headway-system/tampered", l.must(cli.ExitFailed, "plan"))
	l.repo.Git(l.repo.Work, "checkout", "-q", "change")
	c.add("plan --path", "password", l.must(cli.ExitChanges, "plan", "--path", filepath.Join(l.repo.Work, "good")))
	l.t.Setenv("HEADWAY_FORGE_TOKEN", l.secrets["forge token"])
	out := l.must(cli.ExitFailed, "plan", "change", "--comment", "12", "--repository", l.forge.URL+"/"+forgeProject, "--forge", "gitea", "--forge-address", l.forge.URL+"/api/v1")
	c.add("plan --comment", "comment on pull request 12", out)
	if list := l.forge.Comments(); len(list) != 1 {
		l.t.Errorf("%d comments at the forge", len(list))
	} else {
		c.add("the comment at the forge", "password", list[0].Body)
	}
	_, body := l.ask("token-of-viewer", http.MethodPost, "/headway/v1/plan", `{"rev":"change"}`, nil)
	c.add("a viewer's plan", "password", body)
}

// history asks for what was, as the administrator and as a user who may read
// everything but Secrets.
func (l *leaky) history(c *channels, first, second string) {
	l.t.Helper()
	for _, object := range []string{"secret/plain", "secret/sealed", "cm/settings"} {
		for _, format := range []string{"text", "json"} {
			c.add("blame", "metadata.name", l.must(cli.ExitOK, "blame", object, "-n", "default", "-o", format))
		}
		kind, name, _ := strings.Cut(strings.Replace(object, "cm/", "configmap/", 1), "/")
		for _, at := range []string{first, second} {
			c.add("get --at", name, l.must(cli.ExitOK, "get", object, "-n", "default", "--at", at))
			_, body := l.ask("token-of-viewer", http.MethodGet, "/headway/v1/get?kind="+kind+"&namespace=default&name="+name+"&at="+at, "", nil)
			c.add("a viewer's get", "", body)
		}
		_, body := l.ask("token-of-viewer", http.MethodGet, "/headway/v1/blame?kind="+kind+"&namespace=default&name="+name, "", nil)
		c.add("a viewer's blame", "", body)
		c.add("log of an object", "default", l.must(cli.ExitOK, "log", object, "-n", "default", "-o", "json"))
	}
	for _, format := range []string{"text", "json"} {
		c.add("diff", "password", l.must(cli.ExitFailed, "diff", first, second, "-o", format))
		c.add("log", second[:7], l.must(cli.ExitOK, "log", "--limit", "1000", "-o", format))
		c.add("status", wire.RootName, l.must(cli.ExitOK, "status", "-o", format))
	}
	for _, path := range []string{"diff?from=" + first + "&to=" + second, "log", "status"} {
		_, body := l.ask("token-of-viewer", http.MethodGet, "/headway/v1/"+path, "", nil)
		c.add("a viewer's "+path, "", body)
	}
	for _, path := range []string{"diff?from=" + first + "&to=" + second, "log?limit=1000", "blame?kind=Secret&namespace=default&name=plain"} {
		_, body := l.ask("", http.MethodGet, "/headway/v1/"+path, "", nil)
		c.add("the history as JSON", "plain", body)
	}
	records, err := l.Cluster.Engine.Store().Records("journal", 0, 1<<20)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, r := range records {
		c.add("the journal", "hash", string(r))
	}
}

// errors makes requests that fail.
func (l *leaky) errors(c *channels) {
	l.t.Helper()
	for name, r := range map[string]struct{ token, method, path, body string }{
		"Secrets of others":      {"token-of-viewer", http.MethodGet, "/api/v1/namespaces/default/secrets/plain", ""},
		"a list of Secrets":      {"token-of-viewer", http.MethodGet, "/api/v1/secrets", ""},
		"no base64":              {"", http.MethodPost, "/api/v1/namespaces/default/secrets", `{"metadata":{"name":"x"},"data":{"a":"` + l.secrets["data that is not base64"] + `!"}}`},
		"another type":           {"", http.MethodPost, "/api/v1/namespaces/default/secrets", `{"metadata":{"name":"x"},"stringData":{"a":["` + l.secrets["value of the wrong type"] + `"]}}`},
		"an unknown field":       {"", http.MethodPost, "/api/v1/namespaces/default/secrets?fieldValidation=Strict", `{"metadata":{"name":"x"},"stringData":{"a":"` + l.secrets["plain Secret"] + `"},"colour":1}`},
		"a bad name":             {"", http.MethodPost, "/api/v1/namespaces/default/secrets", `{"metadata":{"name":"X_"},"stringData":{"a":"` + l.secrets["plain Secret"] + `"}}`},
		"a Secret without a key": {"", http.MethodPost, "/api/v1/namespaces/default/secrets", `{"metadata":{"name":"x"},"type":"kubernetes.io/tls","stringData":{"a":"` + l.secrets["plain Secret"] + `"}}`},
		"a sync by a viewer":     {"token-of-viewer", http.MethodPost, "/headway/v1/sync", `{}`},
		"a revert of nothing":    {"", http.MethodPost, "/headway/v1/rollback", `{"commit":"0123456"}`},
		"a plan of nothing":      {"", http.MethodPost, "/headway/v1/plan", `{"rev":"none"}`},
		"files that are no plan": {"", http.MethodPost, "/headway/v1/plan", `{"files":[{"path":"a.yaml","data":"` + base64.StdEncoding.EncodeToString([]byte(l.secrets["plain Secret"])) + `"}]}`},
		"a webhook unsigned":     {"-", http.MethodPost, "/headway/v1/hooks/" + wire.SystemNamespace + "/" + wire.RootName, `{}`},
		"history of nothing":     {"", http.MethodGet, "/headway/v1/get?kind=Secret&namespace=default&name=none&at=main", ""},
	} {
		code, body := l.ask(r.token, r.method, r.path, r.body, nil)
		if code < http.StatusBadRequest {
			l.t.Errorf("%s: status %d, want an error\n%.300s", name, code, body)
		}
		c.add("the answer to "+name, "", body)
		if body == "" {
			l.t.Errorf("%s: the answer is empty", name)
		}
	}
	l.patch("Kustomization", func(o object.Object) { o.SetAnnotations(map[string]string{flux.GitWrites: "reject"}) })
	code, body := l.ask("", http.MethodPatch, "/api/v1/namespaces/default/secrets/plain", `{"stringData":{"password":"`+l.secrets.add("value of a refused write")+`"}}`,
		http.Header{"Content-Type": {"application/merge-patch+json"}})
	if code != http.StatusForbidden {
		l.t.Errorf("a write by hand: status %d %.300s", code, body)
	}
	c.add("the answer to a refused write", "set by Git", body)
}

// said collects what the cluster says by itself.
func (l *leaky) said(c *channels) {
	l.t.Helper()
	l.eventually("the forge is told that the commit is applied", func() bool {
		return slices.ContainsFunc(l.forge.Statuses(), func(s forgetest.Status) bool { return s.State == "success" })
	})
	statuses, err := json.Marshal(l.forge.Statuses())
	if err != nil {
		l.t.Fatal(err)
	}
	c.add("the statuses at the forge", "headway/", string(statuses))
	for _, o := range l.followers() {
		text, err := json.Marshal(statusConditions(o))
		if err != nil {
			l.t.Fatal(err)
		}
		c.add("the conditions of "+o.GetName(), "Ready", string(text))
	}
	_, body := l.ask("", http.MethodGet, "/api/v1/events", "", nil)
	c.add("the events", "BuildFailed", body)
	l.eventually("the other forge's refusal is told", func() bool { return strings.Contains(l.Log.String(), "the forge takes no commit status") })
	_, body = l.ask("", http.MethodGet, "/metrics", "", nil)
	c.add("the metrics", "headway_gitops_ready", body)
	c.add("the log", "part=syncer", l.Log.String())
	c.add("what it prints", "API at https://", l.Out.String())
}
