package syncer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/sops/sopstest"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

func secretOf(name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: name}, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

func configMapOf(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: name}, Data: data}
}

func substituteFrom(refs ...kustomizev1.SubstituteReference) func(*sourcev1.GitRepository, *kustomizev1.Kustomization) {
	return func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: refs, Substitute: map[string]string{"inline": "spec"}}
	}
}

// Variables come from ConfigMaps and Secrets, later ones first, those of the
// spec before all; a change of one is applied without a commit.
func TestSubstituteFrom(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "${one}-${two}-${inline}-${none:=default}")}, substituteFrom(
		kustomizev1.SubstituteReference{Kind: "ConfigMap", Name: "vars"},
		kustomizev1.SubstituteReference{Kind: "Secret", Name: "vars"},
		kustomizev1.SubstituteReference{Kind: "ConfigMap", Name: "absent", Optional: true},
	))
	want := `False BuildFailed post build failed: substitute from 'ConfigMap/vars' error: configmaps "vars" not found`
	w.eventually(want, func() bool { return w.ready("Kustomization") == want })
	w.create(configMapOf("vars", map[string]string{"one": "map", "two": "map", "inline": "map"}))
	want = `False BuildFailed post build failed: substitute from 'Secret/vars' error: secrets "vars" not found`
	w.eventually(want, func() bool { return w.ready("Kustomization") == want })
	w.create(secretOf("vars", map[string]string{"two": "secret\n", "inline": "secret"}))
	w.eventually("applied once all is there", func() bool { return w.configMap("a")["key"] == "map-secret-spec-default" })
	w.commit(change.Patch(key("ConfigMap", "headway-system", "vars"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data = map[string]string{"one": "new"}
		return true
	}))
	w.eventually("a change of the ConfigMap is applied", func() bool { return w.configMap("a")["key"] == "new-secret-spec-default" })
	w.commit(change.Patch(key("Secret", "headway-system", "vars"), func(o object.Object) bool {
		o.(*corev1.Secret).Data = map[string][]byte{"two": []byte("rotated")}
		return true
	}))
	w.eventually("a change of the Secret is applied", func() bool { return w.configMap("a")["key"] == "new-rotated-spec-default" })
	w.commit(change.Patch(key("ConfigMap", "headway-system", "vars"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data = map[string]string{"a-b": "x"}
		return true
	}))
	want = "False BuildFailed post build failed: 'a-b' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'"
	w.eventually(want, func() bool { return w.ready("Kustomization") == want })
	if got := w.configMap("a")["key"]; got != "new-rotated-spec-default" {
		t.Errorf("a is %q after a refusal", got)
	}
}

// Without any variable nothing is substituted, unless the strategy is Always.
func TestSubstituteStrategy(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "${none:=default}")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.PostBuild = &kustomizev1.PostBuild{}
	})
	w.eventually("nothing is substituted", func() bool { return w.configMap("a")["key"] == "${none:=default}" })
	w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
		ks := o.(*kustomizev1.Kustomization)
		ks.Spec.PostBuild.SubstituteStrategy = kustomizev1.SubstituteStrategyAlways
		ks.Generation++
		return true
	}))
	w.eventually("defaults are", func() bool { return w.configMap("a")["key"] == "default" })
}

func TestDecryption(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, map[string]string{"s.yaml": string(sopstest.Secret(t, "s", map[string]string{"password": "one"}, id.Recipient()))}, decryption)
	want := `False BuildFailed cannot get sops decryption Secret 'headway-system/sops': secrets "sops" not found`
	w.eventually(want, func() bool { return w.ready("Kustomization") == want })
	w.create(secretOf("sops", map[string]string{"age.agekey": "AGE-SECRET-KEY-1BROKEN"}))
	want = `False BuildFailed failed to import data from sops decryption Secret 'headway-system/sops': age.agekey: is not an age identity file`
	w.eventually(want, func() bool { return w.ready("Kustomization") == want })
	w.commit(change.Patch(key("Secret", "headway-system", "sops"), func(o object.Object) bool {
		o.(*corev1.Secret).Data = map[string][]byte{"age.agekey": []byte(id.String())}
		return true
	}))
	password := func() string {
		s, _ := w.store.Get(key("Secret", "default", "s")).(*corev1.Secret)
		if s == nil {
			return ""
		}
		return string(s.Data["password"])
	}
	w.eventually("the Secret is applied", func() bool { return password() == "one" })
	w.write(map[string]string{"s.yaml": string(sopstest.Secret(t, "s", map[string]string{"password": "two"}, id.Recipient()))})
	w.applied(w.push("rotate"))
	if got := password(); got != "two" {
		t.Errorf("password = %q, want two", got)
	}
}

func decryption(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
	ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "sops"}}
}

// spec.ignore leaves fields alone once the object is there.
func TestIgnoredFields(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.Ignore = []kustomizev1.IgnoreRule{{Paths: []string{"/data/key"}, Target: &kustomize.Selector{Kind: "ConfigMap", Name: "a"}}}
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("a new object has %q, want what Git says", got)
	}
	for _, name := range []string{"a", "b"} {
		w.commit(change.Patch(key("ConfigMap", "default", name), func(o object.Object) bool {
			o.(*corev1.ConfigMap).Data["key"] = "by hand"
			return true
		}))
	}
	w.eventually("what is not ignored is put back", func() bool { return w.configMap("b")["key"] == "one" })
	w.write(map[string]string{"a.yaml": configMap("a", "two") + "  other: new\n"})
	w.applied(w.push("change a"))
	if got := w.configMap("a"); got["key"] != "by hand" || got["other"] != "new" {
		t.Errorf("a is %v, want the ignored key left alone and the other one applied", got)
	}
}

// listener takes down everything that the syncer says.
type listener struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *listener) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *listener) Event(_ object.Object, typ, reason, message string) {
	fmt.Fprintln(r, typ, reason, message)
}

func (r *listener) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// said is everything that can be read of the world but the objects' own data:
// statuses, journal, events, logs.
func (w *world) said(r *listener) string {
	w.t.Helper()
	out := r.String()
	for _, kind := range scheme.Kinds() {
		list, _ := w.store.List(kind.GroupKind(), "")
		for _, obj := range list {
			if kind.Kind == "Secret" || kind.Kind == "ConfigMap" || kind.Kind == "Deployment" {
				continue
			}
			raw, err := json.Marshal(obj)
			if err != nil {
				w.t.Fatal(err)
			}
			out += string(raw) + "\n"
		}
	}
	for entry := range w.journal() {
		out += entry
	}
	entries, err := w.sync.Log("", "", "", -1, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := json.Marshal(entries)
	if err != nil {
		w.t.Fatal(err)
	}
	return out + string(raw)
}

// journal are the records of all logs of the store.
func (w *world) journal() map[string]bool {
	all := map[string]bool{}
	records, err := w.store.Records("journal", 0, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		all[string(r)] = true
	}
	return all
}

const sealedValue = "canary-5e1f0c77"

// Values of encrypted files and of variables from Secrets are in the objects
// that they are for and nowhere else, whatever is wrong with the manifests.
func TestSecretsAreNotShown(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(text string) string {
		return string(sopstest.New(t, id.Recipient()).Set("encrypted_regex", "^(data|stringData|spec)$").YAML(text, func(path []string) bool {
			return path[0] == "data" || path[0] == "stringData" || path[0] == "spec"
		}))
	}
	deploy := func(image, env string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: default}\nspec:\n  selector: {matchLabels: {app: d}}\n  template:\n    metadata: {labels: {app: d}}\n    spec:\n      containers:\n      - name: d\n        image: " + image + "\n        env: [{name: PASSWORD, value: \"" + env + "\"}]\n"
	}
	said := &listener{}
	base := map[string]string{
		"s.yaml": string(sopstest.Secret(t, "s", map[string]string{"password": sealedValue}, id.Recipient())),
		"c.yaml": seal("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: default}\ndata: {password: " + sealedValue + ", user: " + sealedValue + "-user}\n"),
		"v.yaml": configMap("v", "\"x-${PASSWORD}-${PASSWORD:0:9}\""),
		"d.yaml": deploy("nginx:1", "${PASSWORD}"),
	}
	w := newWorld(t, base, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		decryption(src, ks)
		substituteFrom(kustomizev1.SubstituteReference{Kind: "Secret", Name: "vars"})(src, ks)
	})
	w.stop()
	w.cfg = func(c *syncer.Config) {
		c.Log = slog.New(slog.NewTextHandler(said, nil))
		c.Events = said
		c.Progress = func(ev wire.Event) { fmt.Fprintf(said, "%+v\n", ev) }
	}
	w.create(secretOf("sops", map[string]string{"age.agekey": id.String()}))
	w.create(secretOf("vars", map[string]string{"PASSWORD": sealedValue}))
	w.start()
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	if got := w.configMap("v")["key"]; got != "x-"+sealedValue+"-"+sealedValue[:9] {
		t.Fatalf("v is %q", got)
	}
	check := func(what, text string) {
		t.Helper()
		for _, secret := range []string{sealedValue, sealedValue[7:], "AGE-SECRET"} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s shows a secret: …%s…", what, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
	plan := func(what string, req wire.PlanRequest) wire.Plans {
		t.Helper()
		p, err := w.sync.Plan(t.Context(), req)
		if err != nil {
			check(what, err.Error())
			return p
		}
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		check(what, string(raw))
		return p
	}
	// Changes and deletions: neither the old values nor the new ones.
	for what, files := range map[string]map[string]string{
		"changed": {
			"s.yaml": string(sopstest.Secret(t, "s", map[string]string{"password": sealedValue + "-2", "more": sealedValue}, id.Recipient())),
			"c.yaml": seal("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: default}\ndata: {password: " + sealedValue + "-2}\n"),
			"v.yaml": configMap("v", "\"${PASSWORD}\""), "d.yaml": deploy("nginx:2", "y-${PASSWORD}"),
		},
		"no longer secret": {
			"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\n",
			"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: default}\ndata: {user: ada}\n",
			"v.yaml": configMap("v", "plain"), "d.yaml": deploy("nginx:2", "plain"),
		},
		"deleted": {"a.yaml": configMap("a", "one")},
	} {
		p := plan("the plan of what is "+what, wire.PlanRequest{Files: files})
		if len(p.Errors) > 0 || len(p.Actions) < 4 {
			t.Errorf("%s: %d actions, errors %v", what, len(p.Actions), p.Errors)
		}
		if text := fmt.Sprint(p.Actions); what == "changed" && !strings.Contains(text, "nginx:2") {
			t.Errorf("what is not secret is not shown: %v", text)
		}
	}
	// Manifests that are broken in many ways, as plans and as commits.
	for name, text := range map[string]string{
		"x-field.yaml":     seal("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: {b: " + sealedValue + "}}\n"),
		"x-base64.yaml":    seal("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: " + sealedValue + "}\n"),
		"x-unknown.yaml":   seal("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nextra: 1\nstringData: {a: " + sealedValue + "}\n"),
		"x-type.yaml":      seal("apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: default}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: " + sealedValue + "}\n"),
		"x-key.yaml":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: default}\ndata: {\"a b ${PASSWORD}\": x}\n",
		"x-label.yaml":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: default, labels: {a: \"-${PASSWORD}-\"}}\n",
		"x-replicas.yaml":  strings.Replace(deploy("x", "x"), "spec:\n", "spec:\n  replicas: ${PASSWORD}\n", 1),
		"x-pull.yaml":      deploy("x\n        imagePullPolicy: ${PASSWORD}", "x"),
		"x-selector.yaml":  strings.Replace(deploy("x", "x"), "{app: d}", "{app: ${PASSWORD}}", 1),
		"x-policy.yaml":    strings.Replace(deploy("x", "x"), "    spec:\n", "    spec:\n      restartPolicy: ${PASSWORD}\n", 1),
		"x-immutable.yaml": strings.ReplaceAll(deploy("x", "${PASSWORD}"), "{app: d}", "{app: e}"),
		"x-service.yaml":   "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: default}\nspec: {clusterIP: \"${PASSWORD}\", ports: [{port: 80}, {port: 80}]}\n",
		"x-ns.yaml":        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: \"${PASSWORD:0:6}\"}\n",
		"x-yaml.yaml":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \"${PASSWORD\"}\n",
		"x-mac.yaml":       strings.Replace(seal("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: "+sealedValue+"}\n"), "name: x", "name: y", 1),
		"x-twice.yaml":     base["s.yaml"],
	} {
		files := map[string]string{name: text}
		for f, data := range base {
			if name != "x-immutable.yaml" && !strings.Contains(text, "kind: Deployment") || f != "d.yaml" {
				files[f] = data
			}
		}
		if p := plan("the plan with "+name, wire.PlanRequest{Files: files}); len(p.Errors) == 0 {
			t.Errorf("%s: no error", name)
		}
		w.write(map[string]string{name: text})
	}
	sha := w.push("break it in many ways")
	w.eventually("the commit is refused", func() bool {
		return w.ks().Status.LastAttemptedRevision == "main@sha1:"+sha && strings.HasPrefix(w.ready("Kustomization"), "False")
	})
	w.eventually("the log tells the faults", func() bool { return strings.Contains(said.String(), "x-unknown.yaml") })
	check("what the syncer says", w.said(said))
	if n := len(w.journal()); n < 2 {
		t.Errorf("the journal that was looked through has %d entries", n)
	}
}
