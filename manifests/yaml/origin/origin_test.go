package origin_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"

	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/manifests/yaml/origin"
)

// overlay is a repository that uses what kustomize has.
var overlay = map[string]string{
	"base/kustomization.yaml": `resources:
- web.yaml
- list.yaml
configMapGenerator:
- name: settings
  literals:
  - LEVEL=info
  - MODE=base
  files:
  - motd.txt
  envs: [settings.env]
secretGenerator:
- name: keys
  literals: [token=canary]
`,
	"base/motd.txt":     "Hello.\nWorld.\n",
	"base/settings.env": "# comment\nCOLOUR=red\n",
	"base/web.yaml": `# The web server.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {tier: front}
  annotations:
    note: |
      several
      lines
    short: one
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
        image: registry.example.com/web:1.0
        args:
        - --verbose
        - --port=80
        env:
        - name: LEVEL
          value: low
        - name: KEEP
          value: kept
        resources:
          limits:
            cpu: 1000m
            memory: 64Mi
        envFrom:
        - configMapRef:
            name: settings
      - name: side
        image: side:1
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports:
  - port: 80
    name: http
`,
	"base/list.yaml": `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: one}
  data:
    a: first
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: two}
  data:
    b: second
`,
	"part/kustomization.yaml": `apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
- target: {kind: Deployment, name: web}
  patch: |-
    - op: replace
      path: /spec/template/spec/containers/1/image
      value: side:2
    - op: add
      path: /spec/template/spec/containers/0/env/-
      value:
        name: ADDED
        value: by-component
`,
	"prod/kustomization.yaml": `namePrefix: prod-
namespace: production
resources:
- ../base
components:
- ../part
labels:
- pairs:
    env: prod
  includeSelectors: true
commonAnnotations:
  owner: team-a
images:
- name: registry.example.com/web
  newName: mirror.example.com/web
  newTag: "2.0"
replicas:
- name: web
  count: 3
configMapGenerator:
- name: settings
  behavior: merge
  literals:
  - MODE=prod
patches:
- path: web-patch.yaml
- target:
    labelSelector: tier=front
  patch: |
    - op: replace
      path: /metadata/annotations/short
      value: two
`,
	"prod/web-patch.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        env:
        - name: LEVEL
          value: high
      terminationGracePeriodSeconds: 5
`,
}

func tree(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, data := range files {
		out[name] = &fstest.MapFile{Data: []byte(data)}
	}
	return out
}

// rendered are the leaves of all objects, by "Kind/name path", with origins.
func rendered(t *testing.T, files map[string]string, dir string, spec *kustomizev1.KustomizationSpec) map[string]string {
	t.Helper()
	got := map[string]string{}
	each(t, files, dir, spec, func(object, path string, _ any, o origin.Origin) {
		at := fmt.Sprintf("%s %s", o.How, o.Source)
		if o.End > o.Source.Line {
			at += fmt.Sprintf("-%d", o.End)
		}
		if o.Field != "" {
			at += " " + o.Field
		}
		if o.Inline != "" {
			at += " " + o.Inline
		}
		if !o.Exact {
			at += " inexact"
		}
		got[object+" "+path] = at
	})
	return got
}

// wantOrigins renders a tree and compares where all of its fields come from.
func wantOrigins(t *testing.T, files map[string]string, dir string, spec *kustomizev1.KustomizationSpec, want map[string]string) {
	t.Helper()
	if d := cmp.Diff(want, rendered(t, files, dir, spec)); d != "" {
		t.Errorf("origins (-want +got):\n%s", d)
	}
}

func each(t *testing.T, files map[string]string, dir string, spec *kustomizev1.KustomizationSpec, f func(object, path string, value any, o origin.Origin)) {
	t.Helper()
	items, err := load.Dir(t.Context(), tree(files), dir, load.Options{Build: spec})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		trace, err := origin.Of(tree(files), dir, spec, it)
		if err != nil {
			t.Fatal(err)
		}
		name := it.Object.GetObjectKind().GroupVersionKind().Kind + "/" + it.Object.GetName()
		for _, leaf := range diff.Objects(nil, it.Object) {
			o, ok := trace.Field(leaf.Path)
			if !ok {
				t.Errorf("%s has no field %s", name, leaf.Path)
			}
			f(name, leaf.Path, leaf.New, o)
		}
	}
}

func TestOverlay(t *testing.T) {
	got := rendered(t, overlay, "prod", nil)
	want := map[string]string{
		"Deployment/prod-web metadata.name":                                                        "namePrefix prod/kustomization.yaml:1 namePrefix",
		"Deployment/prod-web metadata.namespace":                                                   "namespace prod/kustomization.yaml:2 namespace",
		"Deployment/prod-web metadata.labels.tier":                                                 "manifest base/web.yaml:6 metadata.labels.tier",
		"Deployment/prod-web metadata.labels.env":                                                  "labels prod/kustomization.yaml:9 labels[0].pairs[env]",
		"Deployment/prod-web metadata.annotations.owner":                                           "annotations prod/kustomization.yaml:12 commonAnnotations[owner]",
		"Deployment/prod-web metadata.annotations.note":                                            "manifest base/web.yaml:8-10 metadata.annotations.note",
		"Deployment/prod-web metadata.annotations.short":                                           "json-patch prod/kustomization.yaml:32 patches[1].patch [0].value",
		"Deployment/prod-web spec.replicas":                                                        "replicas prod/kustomization.yaml:19 replicas[0].count",
		"Deployment/prod-web spec.selector.matchLabels.app":                                        "manifest base/web.yaml:15 spec.selector.matchLabels.app",
		"Deployment/prod-web spec.selector.matchLabels.env":                                        "labels prod/kustomization.yaml:9 labels[0].pairs[env]",
		"Deployment/prod-web spec.template.metadata.labels.env":                                    "labels prod/kustomization.yaml:9 labels[0].pairs[env]",
		"Deployment/prod-web spec.template.spec.terminationGracePeriodSeconds":                     "patch prod/web-patch.yaml:13 spec.template.spec.terminationGracePeriodSeconds",
		"Deployment/prod-web spec.template.spec.containers[name=web].image":                        "images prod/kustomization.yaml:16 images[0].newTag",
		"Deployment/prod-web spec.template.spec.containers[name=side].image":                       "json-patch part/kustomization.yaml:8 patches[0].patch [0].value",
		"Deployment/prod-web spec.template.spec.containers[name=web].args":                         "manifest base/web.yaml:23-25 spec.template.spec.containers[name=web].args",
		"Deployment/prod-web spec.template.spec.containers[name=web].env[name=LEVEL].value":        "patch prod/web-patch.yaml:12 spec.template.spec.containers[name=web].env[name=LEVEL].value",
		"Deployment/prod-web spec.template.spec.containers[name=web].env[name=KEEP].value":         "manifest base/web.yaml:30 spec.template.spec.containers[name=web].env[name=KEEP].value",
		"Deployment/prod-web spec.template.spec.containers[name=web].env[name=ADDED].value":        "json-patch part/kustomization.yaml:13 patches[0].patch [1].value[value]",
		"Deployment/prod-web spec.template.spec.containers[name=web].resources.limits.cpu":         "manifest base/web.yaml:33 spec.template.spec.containers[name=web].resources.limits.cpu",
		"Deployment/prod-web spec.template.spec.containers[name=web].envFrom[0].configMapRef.name": "reference base/web.yaml:37 spec.template.spec.containers[name=web].envFrom[0].configMapRef.name inexact",
		"Service/prod-web spec.ports[port=80].name":                                                "manifest base/web.yaml:49 spec.ports[port=80].name",
		"ConfigMap/prod-two data.b":                                                                "manifest base/list.yaml:13 items[1].data.b",
		"ConfigMap/prod-settings data.LEVEL":                                                       "generator base/kustomization.yaml:7 configMapGenerator[0].literals[0]",
		"ConfigMap/prod-settings data.MODE":                                                        "generator prod/kustomization.yaml:24 configMapGenerator[0].literals[0]",
		"ConfigMap/prod-settings data[motd.txt]":                                                   "generator base/motd.txt:1-2",
		"ConfigMap/prod-settings data.COLOUR":                                                      "generator base/settings.env:2",
		"Secret/prod-keys data.token":                                                              "generator base/kustomization.yaml:14 secretGenerator[0].literals[0]",
	}
	for key, w := range want {
		name, path, _ := strings.Cut(key, " ")
		g := ""
		for k, v := range got {
			// Generated names end in a hash.
			if object, p, _ := strings.Cut(k, " "); p == path && (object == name || strings.HasPrefix(object, name+"-") && len(object) == len(name)+11) {
				g = v
			}
		}
		if g != w {
			t.Errorf("%s:\n got %s\nwant %s", key, g, w)
		}
	}
}

// What is said to set a field does: with that line changed, the rendered value
// changes, and only then.
func TestChangingTheLineChangesTheField(t *testing.T) {
	spec := &kustomizev1.KustomizationSpec{NameSuffix: "-x", Images: []kustomize.Image{{Name: "side", NewTag: "3"}}}
	before := map[string]any{}
	origins := map[string]origin.Origin{}
	each(t, overlay, "prod", spec, func(object, path string, value any, o origin.Origin) {
		before[stable(object)+" "+path], origins[stable(object)+" "+path] = value, o
	})
	checked := 0
	for at, o := range origins {
		changed, ok := edited(o, at, before[at])
		if !ok {
			continue
		}
		after := ""
		each(t, changed, "prod", spec, func(object, path string, value any, _ origin.Origin) {
			if stable(object)+" "+path == at {
				after = fmt.Sprint(value)
			}
		})
		checked++
		if after == fmt.Sprint(before[at]) || !strings.Contains(after, "9") {
			t.Errorf("%s is said to come from %s (%s), but is %q after a change of that line", at, o.Source, o.How, after)
		}
	}
	if checked < 15 {
		t.Errorf("checked %d fields only", checked)
	}
}

// edited is the overlay with a 9 put before a value, where it is said to stand.
// What names an object or a list's item stays.
func edited(o origin.Origin, at string, value any) (map[string]string, bool) {
	text, ok := value.(string)
	if n, isNumber := value.(float64); isNumber {
		text, ok = fmt.Sprint(n), true
	}
	if !ok || !o.Exact || o.Source.File == "" || o.End != o.Source.Line {
		return nil, false
	}
	for _, part := range []string{"Secret", ".name", "abels", "selector", ".port"} {
		if strings.Contains(at, part) {
			return nil, false
		}
	}
	changed := maps.Clone(overlay)
	lines := strings.Split(changed[o.Source.File], "\n")
	line := lines[o.Source.Line-1]
	_, tag, _ := strings.Cut(text, ":")
	for _, v := range []string{text, tag} {
		if i := strings.LastIndex(line, v); v != "" && i >= 0 {
			lines[o.Source.Line-1] = line[:i] + "9" + line[i:]
			changed[o.Source.File] = strings.Join(lines, "\n")
			return changed, true
		}
	}
	return nil, false // written differently, as 1000m is for 1
}

// stable is an object's name without the hash of its contents.
func stable(object string) string {
	for _, name := range []string{"settings", "keys"} {
		if before, _, ok := strings.Cut(object, name); ok {
			return before + name
		}
	}
	return object
}

func TestFluxSpec(t *testing.T) {
	files := map[string]string{
		"app/a.yaml":    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: ${VAR}-x\n  l: plain\n",
		"app/pod.yaml":  "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: c\n    image: i:1\n",
		"app/README.md": "not a manifest",
	}
	spec := &kustomizev1.KustomizationSpec{
		TargetNamespace: "prod", NamePrefix: "pre-",
		CommonMetadata: &kustomizev1.CommonMetadata{Labels: map[string]string{"team": "a"}},
		Images:         []kustomize.Image{{Name: "i", NewTag: "2"}},
		Patches:        []kustomize.Patch{{Patch: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  l: patched\n"}},
	}
	wantOrigins(t, files, "app", spec, map[string]string{
		"ConfigMap/pre-a data.k":                  "manifest app/a.yaml:6 data.k",
		"ConfigMap/pre-a data.l":                  "patch  spec.patches[0].patch data.l",
		"ConfigMap/pre-a metadata.labels.team":    "labels  spec.commonMetadata.labels[team]",
		"ConfigMap/pre-a metadata.name":           "namePrefix  spec.namePrefix",
		"ConfigMap/pre-a metadata.namespace":      "namespace  spec.targetNamespace",
		"Pod/pre-p metadata.labels.team":          "labels  spec.commonMetadata.labels[team]",
		"Pod/pre-p metadata.name":                 "namePrefix  spec.namePrefix",
		"Pod/pre-p metadata.namespace":            "namespace  spec.targetNamespace",
		"Pod/pre-p spec.containers[name=c].image": "images  spec.images[0].newTag",
		"Pod/pre-p spec.containers[name=c].name":  "manifest app/pod.yaml:7 spec.containers[name=c].name",
	})
}

// A base that two overlays use is traced through the one that named the object.
func TestSharedBase(t *testing.T) {
	files := map[string]string{
		"kustomization.yaml":      "resources: [a, b, replaced.yaml]\nreplacements:\n- source: {kind: ConfigMap, name: a-c, fieldPath: data.k}\n  targets:\n  - select: {kind: ConfigMap, name: r}\n    fieldPaths: [data.k]\n",
		"replaced.yaml":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: r}\ndata: {k: old}\n",
		"a/kustomization.yaml":    "namePrefix: a-\nresources: [../base]\npatches:\n- patch: |\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: c}\n    data: {k: a}\n",
		"b/kustomization.yaml":    "namePrefix: b-\nresources: [../base]\n",
		"base/kustomization.yaml": "resources: [c.yaml]\n",
		"base/c.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  k: base\n",
	}
	wantOrigins(t, files, ".", nil, map[string]string{
		"ConfigMap/a-c metadata.name": "namePrefix a/kustomization.yaml:1 namePrefix",
		"ConfigMap/a-c data.k":        "patch a/kustomization.yaml:8 patches[0].patch data.k",
		"ConfigMap/b-c metadata.name": "namePrefix b/kustomization.yaml:1 namePrefix",
		"ConfigMap/b-c data.k":        "manifest base/c.yaml:6 data.k",
		"ConfigMap/r metadata.name":   "manifest replaced.yaml:3 metadata.name",
		"ConfigMap/r data.k":          "replacements kustomization.yaml:2-6 replacements inexact",
	})
}

// Kustomizations below a plain directory are found, and plain files stay plain.
func TestPlainDirectory(t *testing.T) {
	files := map[string]string{
		"apps/plain.yaml":              "kind: ConfigMap\napiVersion: v1\nmetadata: {name: plain}\ndata: {k: v}\n",
		"apps/deep/kustomization.yaml": "resources: [c.yaml]\nnamespace: deep\n",
		"apps/deep/c.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
		"apps/z.json":                  "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"z\"},\n\t\"data\": {\n\t\t\"k\": \"v\"\n\t}\n}\n",
	}
	wantOrigins(t, files, "apps", nil, map[string]string{
		"ConfigMap/c metadata.name":      "manifest apps/deep/c.yaml:3 metadata.name",
		"ConfigMap/c metadata.namespace": "namespace apps/deep/kustomization.yaml:2 namespace",
		"ConfigMap/plain data.k":         "manifest apps/plain.yaml:4 data.k",
		"ConfigMap/plain metadata.name":  "manifest apps/plain.yaml:3 metadata.name",
		"ConfigMap/z data.k":             "manifest apps/z.json:6 data.k",
		"ConfigMap/z metadata.name":      "manifest apps/z.json:4 metadata.name",
	})
}

func FuzzOf(f *testing.F) {
	f.Add([]byte(overlay["prod/kustomization.yaml"]), []byte(overlay["prod/web-patch.yaml"]))
	f.Add([]byte("resources: [../base, .]\npatches: [{patch: '[{op: add, path: /, value: }]'}]\n"), []byte("- 1\n"))
	f.Add([]byte("images: {a: b}\nlabels: 3\nconfigMapGenerator: [1, {name: settings}]\n"), []byte("\xff"))
	f.Fuzz(func(t *testing.T, kustomization, patch []byte) {
		if bytes.Count(kustomization, []byte("*")) > 2 || bytes.Count(patch, []byte("*")) > 2 {
			return // alias bombs are refused by the load, before
		}
		// An object of the sound tree, traced through one that is not.
		items, err := load.Dir(t.Context(), tree(overlay), "base", load.Options{})
		if err != nil {
			t.Fatal(err)
		}
		files := maps.Clone(overlay)
		files["prod/kustomization.yaml"], files["prod/web-patch.yaml"] = string(kustomization), string(patch)
		for _, it := range items {
			trace, err := origin.Of(tree(files), "prod", nil, it)
			if err != nil {
				continue
			}
			for _, leaf := range diff.Objects(nil, it.Object) {
				if o, ok := trace.Field(leaf.Path); ok && o.Source.File == "" && !slices.Contains([]origin.How{origin.Rendered}, o.How) {
					t.Errorf("%s comes from nowhere: %+v", leaf.Path, o)
				}
			}
		}
	})
}
