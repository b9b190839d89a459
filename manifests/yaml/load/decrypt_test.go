package load_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/manifests/yaml/sops"
	"headway.dev/manifests/yaml/sops/sopstest"
	"headway.dev/manifests/yaml/substitute"
)

const canary = "hunter2-canary"

// vault is a tree with the keys to what is encrypted in it.
type vault struct {
	t    *testing.T
	id   *age.X25519Identity
	opts load.Options
}

func newVault(t *testing.T) *vault {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sops.ParseKeys(map[string][]byte{"age.agekey": []byte(id.String())})
	if err != nil {
		t.Fatal(err)
	}
	return &vault{t: t, id: id, opts: load.Options{Decrypt: keys.Decrypt, Inputs: keys.ID()}}
}

func (v *vault) secret() string {
	return string(sopstest.Secret(v.t, "s", map[string]string{"password": canary, "user": "ada"}, v.id.Recipient()))
}

func (v *vault) yaml(text string) string {
	return string(sopstest.New(v.t, v.id.Recipient()).Set("encrypted_regex", "^(data|stringData|value|env)$").YAML(text, func(path []string) bool {
		for _, p := range path {
			if p == "data" || p == "stringData" || p == "value" || p == "env" {
				return true
			}
		}
		return false
	}))
}

func (v *vault) vars(secret bool, pairs ...string) {
	v.t.Helper()
	v.opts.Substitute = substitute.New()
	for i := 0; i+1 < len(pairs); i += 2 {
		if err := v.opts.Substitute.Set(pairs[i], pairs[i+1], secret); err != nil {
			v.t.Fatal(err)
		}
	}
	v.opts.Inputs = v.opts.Substitute.ID()
}

func (v *vault) load(files map[string]string) ([]load.Item, error) {
	tree := fstest.MapFS{}
	for name, data := range files {
		tree[name] = &fstest.MapFile{Data: []byte(data)}
	}
	return load.Dir(context.Background(), tree, ".", v.opts)
}

func one[T any](t *testing.T, items []load.Item, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		if obj, ok := any(it.Object).(T); ok {
			return obj
		}
	}
	t.Fatalf("no such object in %d items", len(items))
	panic("unreachable")
}

func secretValue(s *corev1.Secret, key string) string {
	if v, ok := s.StringData[key]; ok {
		return v
	}
	return string(s.Data[key])
}

// Everything that Flux decrypts, and from where it takes it.
func TestDecryption(t *testing.T) {
	v := newVault(t)
	env := string(sopstest.New(t, v.id.Recipient()).Lines("password", canary))
	for name, files := range map[string]map[string]string{
		"manifest":               {"s.yaml": v.secret()},
		"resource":               {"kustomization.yaml": "resources: [s.yaml]\nnamePrefix: my-\n", "s.yaml": v.secret()},
		"source of a generator":  {"kustomization.yaml": "secretGenerator: [{name: s, envs: [s.env]}]\n", "s.env": env},
		"patch":                  {"kustomization.yaml": "resources: [s.yaml]\npatches: [{path: p.yaml}]\n", "s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: x}\n", "p.yaml": v.secret()},
		"component":              {"kustomization.yaml": "components: [c]\n", "c/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [s.yaml]\n", "c/s.yaml": v.secret()},
		"file within the Secret": {"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {password: " + base64.StdEncoding.EncodeToString([]byte(env)) + "}\n"},
	} {
		items, err := v.load(files)
		got := secretValue(one[*corev1.Secret](t, items, err), "password")
		if got != canary && got != "password="+canary+"\n" {
			t.Errorf("%s: password is %q", name, got)
		}
		if f := items[0].Source; f.File == "" || f.Line == 0 {
			t.Errorf("%s: the source is %v", name, f)
		}
	}
}

// Without decryption, and for what Flux leaves encrypted.
func TestNotDecrypted(t *testing.T) {
	v := newVault(t)
	env := string(sopstest.New(t, v.id.Recipient()).Lines("password", canary))
	items, err := v.load(map[string]string{"kustomization.yaml": "configMapGenerator: [{name: c, files: [s.env]}]\n", "s.env": env})
	if got := one[*corev1.ConfigMap](t, items, err).Data["s.env"]; got != env {
		t.Errorf("the file of a ConfigMap is %q", got)
	}
	plain := newVault(t)
	plain.opts.Decrypt = nil
	_, err = plain.load(map[string]string{"s.yaml": v.secret()})
	if err == nil || !strings.Contains(err.Error(), "s.yaml:9: Secret/s: sops: the manifest is encrypted with SOPS: set spec.decryption on the Kustomization") {
		t.Errorf("without spec.decryption: %v", err)
	}
	_, err = newVault(t).load(map[string]string{"s.yaml": v.secret()})
	if err == nil || !strings.Contains(err.Error(), "s.yaml: decryption failed: cannot get sops data key") {
		t.Errorf("without the key: %v", err)
	}
}

// What comes from an encrypted file or a Secret is hidden in objects that are
// no Secrets, whatever it went through, and what does not is shown.
func TestSecretFields(t *testing.T) {
	v := newVault(t)
	config := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {password: " + canary + "}\nimmutable: false\n"
	for name, c := range map[string]struct {
		files  map[string]string
		vars   []string
		hidden bool
		shown  string
	}{
		"encrypted ConfigMap": {files: map[string]string{"c.yaml": v.yaml(config)}, hidden: true},
		"patch":               {files: map[string]string{"kustomization.yaml": "resources: [c.yaml]\npatches: [{path: p.yaml}]\n", "c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {open: yes-open}\n", "p.yaml": v.yaml(config)}, hidden: true, shown: "yes-open"},
		"replacement with a part of the value": {files: map[string]string{
			"kustomization.yaml": "resources: [s.yaml, c.yaml]\nreplacements: [{source: {kind: Secret, name: s, fieldPath: stringData.password, options: {delimiter: '-', index: 1}}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.part]}]}]\n",
			"s.yaml":             v.secret(), "c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {part: x}\n",
		}, hidden: true},
		"replacement": {files: map[string]string{
			"kustomization.yaml": "resources: [s.yaml, c.yaml]\nreplacements: [{source: {kind: Secret, name: s, fieldPath: stringData.password}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.copy]}]}]\n",
			"s.yaml":             v.secret(), "c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {copy: x, open: yes-open}\n",
		}, hidden: true, shown: "yes-open"},
		"variable":              {files: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: \"x-${PW}\", open: yes-open}\n"}, vars: []string{"PW", canary}, hidden: true, shown: "yes-open"},
		"a part of a variable":  {files: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: \"${PW:0:7}\"}\n"}, vars: []string{"PW", canary}, hidden: true},
		"upper case":            {files: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: \"${PW^^}\"}\n"}, vars: []string{"PW", canary}, hidden: true},
		"a variable as a key":   {files: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {\"${PW}\": x}\n"}, vars: []string{"PW", canary}, hidden: true},
		"a variable with YAML":  {files: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: ${PW}\n"}, vars: []string{"PW", "{" + canary + ": " + canary + "}"}, hidden: true},
		"secret that is unused": {files: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: \"${OTHER:=yes-open}\"}\n"}, vars: []string{"PW", canary}, shown: "yes-open"},
	} {
		t.Run(name, func(t *testing.T) {
			w := *v
			if c.vars != nil {
				w.vars(true, c.vars...)
			}
			items, err := w.load(c.files)
			obj := one[*corev1.ConfigMap](t, items, err)
			if _, ok := obj.Annotations[diff.HiddenFields]; ok != c.hidden {
				t.Errorf("annotations %v, want hidden fields: %v", obj.Annotations, c.hidden)
			}
			old := obj.DeepCopy()
			for k := range old.Data {
				old.Data[k] = "old"
			}
			for what, fields := range map[string][]diff.Field{"created": diff.Objects(nil, obj), "changed": diff.Objects(old, obj), "deleted": diff.Objects(obj, nil)} {
				text := strings.ToLower(fmt.Sprint(fields))
				if strings.Contains(text, "hunter2") || strings.Contains(text, "canary") {
					t.Errorf("%s: the differences show a secret: %v", what, fields)
				}
				if c.shown != "" && !strings.Contains(text, c.shown) {
					t.Errorf("%s: the differences do not show %s: %v", what, c.shown, fields)
				}
			}
			for _, it := range items {
				if it.Object.GetObjectKind().GroupVersionKind().Kind != "ConfigMap" || !c.hidden {
					continue
				}
				for _, value := range obj.Data {
					if strings.Contains(strings.ToLower(value), "hunter2") && strings.Contains(it.Redact("bad "+value), value) {
						t.Errorf("Redact shows %q", value)
					}
				}
			}
		})
	}
}

// Whatever is wrong with what was decrypted or substituted: no error shows it.
func TestErrorsHoldNoDecryptedValues(t *testing.T) {
	v := newVault(t)
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: " + canary + "}\n"
	deploy := func(replicas string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: " + replicas + "}\n"
	}
	for name, files := range map[string]map[string]string{
		"no base64":           {"s.yaml": v.yaml("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {password: " + canary + "}\n")},
		"unknown field":       {"s.yaml": v.yaml(secret + "extra: 1\n")},
		"wrong type":          {"s.yaml": v.yaml("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: [" + canary + "]\n")},
		"wrong kind":          {"s.yaml": v.yaml(strings.Replace(secret, "Secret", "Secrets", 1))},
		"wrong patch":         {"kustomization.yaml": "resources: [s.yaml]\npatches: [{path: p.yaml}]\n", "s.yaml": secret, "p.yaml": v.yaml(strings.Replace(secret, "name: s", "name: other", 1))},
		"patch of a string":   {"kustomization.yaml": "resources: [s.yaml]\npatches: [{path: p.yaml, target: {kind: Secret}}]\n", "s.yaml": v.secret(), "p.yaml": "[{op: test, path: /stringData/password, value: x}]"},
		"wrong replacement":   {"kustomization.yaml": "resources: [s.yaml]\nreplacements: [{source: {kind: Secret, name: s, fieldPath: stringData.password}, targets: [{select: {kind: Secret}, fieldPaths: [metadata.labels.x.y]}]}]\n", "s.yaml": v.secret()},
		"duplicate":           {"a.yaml": v.secret(), "b.yaml": v.secret()},
		"number variable":     {"d.yaml": deploy("${PW}")},
		"variable of a date":  {"d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d, creationTimestamp: \"${PW}\"}\n"},
		"variable of a kind":  {"d.yaml": "apiVersion: v1\nkind: ${PW}\nmetadata: {name: d}\n"},
		"variable in version": {"d.yaml": "apiVersion: a/b/${PW}\nkind: ConfigMap\nmetadata: {name: d}\n"},
		"variable as field":   {"d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n${PW}: x\n"},
		"quantity":            {"d.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: d}\nspec: {containers: [{name: c, resources: {limits: {cpu: \"${PW}\"}}}]}\n"},
		"YAML in a variable":  {"d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {a: x ${BAD} y}\n"},
		"anchor in variable":  {"d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: ${STAR}\n"},
		"variable in a name":  {"d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"x-${PW}\"}\n"},
		"in a name, not fit":  {"d.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: \"x-${PW}\"}\nspec: {containers: [{name: c, resources: {limits: {cpu: \"${CPU}\"}}}]}\n"},
		"in a namespace":      {"d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: \"${PW}\"}\n"},
		"replacement of name": {"kustomization.yaml": "resources: [s.yaml, c.yaml]\nreplacements: [{source: {kind: Secret, name: s, fieldPath: stringData.password, options: {delimiter: '-', index: 1}}, targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.name]}]}]\n", "s.yaml": v.secret(), "c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"},
		"replaced name":       {"kustomization.yaml": "resources: [s.yaml, c.yaml]\nreplacements: [{source: {kind: Secret, name: s, fieldPath: stringData.password}, targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.name]}]}]\n", "s.yaml": v.secret(), "c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"},
		"bad substitution":    {"d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {a: \"${PW}${\"}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := *v
			w.vars(true, "PW", canary, "CPU", "500m", "BAD", canary+": {"+canary, "STAR", "*"+canary)
			_, err := w.load(files)
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "canary") {
				t.Errorf("the error holds the value: %v", err)
			}
			for _, e := range load.Errors(err) {
				if e.Source.File == "" {
					t.Errorf("an error without a file: %v", e)
				}
			}
			if len(load.Errors(err)) == 0 && !errors.Is(err, nil) {
				t.Errorf("no fault: %v", err)
			}
		})
	}
}

// Substitution as Flux does it: after the build, on every object that does not
// refuse it; faults still name the file and line.
func TestSubstitution(t *testing.T) {
	v := newVault(t)
	v.vars(false, "name", "web", "n", "3", "image", "nginx:1.27")
	items, err := v.load(map[string]string{
		"kustomization.yaml": "resources: [a.yaml]\nnamePrefix: my-\n",
		"a.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${name}\", labels: {n: \"x${n}\"}}\ndata: {image: \"${image}\", literal: \"$${image}\", unset: \"${nope:=fallback}\"}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: raw, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}}\nstringData: {a: \"${name}\"}\n",
	})
	c := one[*corev1.ConfigMap](t, items, err)
	if c.Name != "my-web" || c.Labels["n"] != "x3" || c.Data["image"] != "nginx:1.27" || c.Data["literal"] != "${image}" || c.Data["unset"] != "fallback" {
		t.Errorf("substituted: %+v", c)
	}
	if s := one[*corev1.Secret](t, items, err); s.StringData["a"] != "${name}" {
		t.Errorf("disabled: %v", s.StringData)
	}
	if _, ok := c.Annotations[diff.HiddenFields]; ok {
		t.Error("what comes from no Secret is hidden")
	}
	_, err = v.load(map[string]string{"d/a.yaml": "# a\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: ${name}\nspec:\n  replicas: ${image}\n"})
	want := `d/a.yaml:12: Deployment/web: spec.replicas: cannot unmarshal string into a value of type int32`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A change of the variables loads again what uses some, and nothing else.
func TestCacheKnowsInputs(t *testing.T) {
	v := newVault(t)
	v.opts.Cache = &load.Cache{}
	decrypted := 0
	inner := v.opts.Decrypt
	v.opts.Decrypt = func(name string, data []byte) (sops.File, error) {
		decrypted++
		return inner(name, data)
	}
	files := map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: \"${n}\"}\n", "s.yaml": v.secret()}
	for _, n := range []string{"one", "one", "two"} {
		v.vars(false, "n", n)
		items, err := v.load(files)
		if got := one[*corev1.ConfigMap](t, items, err).Data["a"]; got != n {
			t.Errorf("a is %q, want %q", got, n)
		}
	}
	if decrypted != 2 {
		t.Errorf("decrypted %d times, want once for each set of inputs", decrypted)
	}
}

func TestBuildMetadata(t *testing.T) {
	v := newVault(t)
	v.opts.Build = &kustomizev1.KustomizationSpec{BuildMetadata: []kustomizev1.BuildMetadataOption{kustomizev1.BuildMetadataOriginAnnotations, kustomizev1.BuildMetadataTransformerAnnotations}, NamePrefix: "x-"}
	items, err := v.load(map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"})
	a := one[*corev1.ConfigMap](t, items, err).Annotations
	if !strings.Contains(a["config.kubernetes.io/origin"], "path: a.yaml") || !strings.Contains(a["alpha.config.kubernetes.io/transformations"], "PrefixTransformer") {
		t.Errorf("annotations: %v", a)
	}
	v.opts.Build = nil
	items, err = v.load(map[string]string{"kustomization.yaml": "resources: [a.yaml]\nbuildMetadata: [managedByLabel]\n", "a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"})
	c := one[*corev1.ConfigMap](t, items, err)
	if len(c.Labels) != 1 || len(c.Annotations) != 0 {
		t.Errorf("labels %v, annotations %v", c.Labels, c.Annotations)
	}
}
