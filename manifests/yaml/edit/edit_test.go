package edit_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headway.dev/manifests/yaml/edit"
)

const web = `# The front end.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web # its name
  annotations:
    note: 'it''s here'   # kept
spec:
  replicas: 2 # enough
  template:
    spec:
      # the containers
      containers:
      - name: web
        image: "example.com/web:1" # pinned
        args: [serve, --port=80]
        env:
        - name: A
          value: "1"

        # B is for beta
        - name: B
          value: two
      - name: side
        image: example.com/side:1
`

// tree is a document's value, to be changed by a test.
type tree = map[string]any

func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(tree)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

var webID = edit.ID{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}

// set edits the text's object and returns the new text.
func set(t *testing.T, text string, id edit.ID, change func(tree)) (string, error) {
	t.Helper()
	want, _, err := edit.Get("f.yaml", []byte(text), id)
	if err != nil {
		t.Fatal(err)
	}
	change(want.(tree))
	out, err := edit.Set("f.yaml", []byte(text), id, want)
	return string(out), err
}

// lines are those that differ: "-old" and "+new", as diff has them.
func lines(before, after string) string {
	a, b := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	var out strings.Builder
	for _, l := range a {
		out.WriteString("-" + l)
	}
	for _, l := range b {
		out.WriteString("+" + l)
	}
	return out.String()
}

func TestSet(t *testing.T) {
	containers := []any{"spec", "template", "spec", "containers"}
	c := func(d tree, path ...any) any { return at(d, append(append([]any{}, containers...), path...)...) }
	for _, tt := range []struct {
		name   string
		change func(tree)
		want   string
	}{
		{"number", func(d tree) { d["spec"].(tree)["replicas"] = 5 }, "-  replicas: 2 # enough\n+  replicas: 5 # enough\n"},
		{
			"double quotes", func(d tree) { c(d, 0).(tree)["image"] = "example.com/web:2" },
			"-        image: \"example.com/web:1\" # pinned\n+        image: \"example.com/web:2\" # pinned\n",
		},
		{"plain", func(d tree) { c(d, 1).(tree)["image"] = "example.com/side:2" }, "-        image: example.com/side:1\n+        image: example.com/side:2\n"},
		{
			"single quotes", func(d tree) { at(d, "metadata", "annotations").(tree)["note"] = "isn't" },
			"-    note: 'it''s here'   # kept\n+    note: 'isn''t'   # kept\n",
		},
		{"a text that looks like a number", func(d tree) { c(d, 0, "env", 1).(tree)["value"] = "22" }, "-          value: two\n+          value: \"22\"\n"},
		{"a new key", func(d tree) { at(d, "metadata", "annotations").(tree)["b/c"] = "d" }, "+    b/c: d\n"},
		{
			"a new mapping", func(d tree) { d["metadata"].(tree)["labels"] = tree{"app": "web", "on": "yes"} },
			"+  labels:\n+    app: web\n+    \"on\": \"yes\"\n",
		},
		{"the last key of a mapping goes with it", func(d tree) { delete(d["metadata"].(tree), "annotations") }, "-  annotations:\n-    note: 'it''s here'   # kept\n"},
		{
			"flow list", func(d tree) { c(d, 0).(tree)["args"] = []any{"serve", "--port=81", "--debug"} },
			"-        args: [serve, --port=80]\n+        args: [serve, --port=81, --debug]\n",
		},
		{"flow list shrinks", func(d tree) { c(d, 0).(tree)["args"] = []any{"serve"} }, "-        args: [serve, --port=80]\n+        args: [serve]\n"},
		{"flow list empties", func(d tree) { c(d, 0).(tree)["args"] = []any{} }, "-        args: [serve, --port=80]\n+        args: []\n"},
		{
			"an item more", func(d tree) {
				c(d, 0).(tree)["env"] = append(c(d, 0, "env").([]any), tree{"name": "C", "value": "three"})
			},
			"+        - name: C\n+          value: three\n",
		},
		{
			"an item in front", func(d tree) {
				c(d, 0).(tree)["env"] = append([]any{tree{"value": "0", "name": "Z"}}, c(d, 0, "env").([]any)...)
			},
			"+        - name: Z\n+          value: \"0\"\n",
		},
		{
			"an item less", func(d tree) { c(d, 0).(tree)["env"] = c(d, 0, "env").([]any)[:1] },
			"-        - name: B\n-          value: two\n",
		},
		{
			"the first of two items", func(d tree) { c(d, 0).(tree)["env"] = c(d, 0, "env").([]any)[1:] },
			"-        - name: A\n-          value: \"1\"\n",
		},
		{"a whole list goes", func(d tree) { delete(c(d, 1).(tree), "image") }, "-        image: example.com/side:1\n"},
		{"the key behind the dash", func(d tree) { delete(c(d, 1).(tree), "name") }, "-      - name: side\n-        image: example.com/side:1\n+      - image: example.com/side:1\n"},
		{"a mapping becomes empty", func(d tree) { d["metadata"].(tree)["annotations"] = tree{} }, "-  annotations:\n-    note: 'it''s here'   # kept\n+  annotations: {}\n"},
		{
			"a text of lines", func(d tree) { at(d, "metadata", "annotations").(tree)["text"] = "one\n\ntwo\n" },
			"+    text: |\n+      one\n+\n+      two\n",
		},
	} {
		for _, crlf := range []bool{false, true} {
			text, want := web, tt.want
			if crlf {
				text, want = strings.ReplaceAll(web, "\n", "\r\n"), strings.ReplaceAll(want, "\n", "\r\n")
			}
			got, err := set(t, text, webID, tt.change)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			if d := cmp.Diff(want, lines(text, got)); d != "" {
				t.Errorf("%s (CRLF %t): (-want +got):\n%s", tt.name, crlf, d)
			}
		}
	}
}

// One document among others, an item of a list, JSON, and texts without a line
// break at the end.
func TestSetElsewhere(t *testing.T) {
	configMap := edit.ID{APIVersion: "v1", Kind: "ConfigMap", Name: "b"}
	add := func(d tree) {
		d["data"].(tree)["k"] = "changed"
		d["data"].(tree)["new"] = "x"
	}
	for _, tt := range []struct{ name, text, want string }{
		{
			"documents", "\ufeff---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n---\n# b\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v} # c\n---\n",
			"-data: {k: v} # c\n+data: {k: changed, new: x} # c\n",
		},
		{
			"list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: a\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: b\n  data:\n    k: v\n",
			"-    k: v\n+    k: changed\n+    new: x\n",
		},
		{
			"JSON", "{\n\t\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"b\"},\n\t\"data\": {\n\t\t\"k\": \"v\"\n\t}\n}",
			"-\t\t\"k\": \"v\"\n+\t\t\"k\": \"changed\", \"new\": \"x\"\n",
		},
		{
			"no line break at the end", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata:\n  k: v",
			"-  k: v+  k: changed\n+  new: x",
		},
		{
			"unusual characters", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {\"é€😀\": ü, k: 'v'}\n",
			"-data: {\"é€😀\": ü, k: 'v'}\n+data: {\"é€😀\": ü, k: 'changed', new: x}\n",
		},
		{
			"a literal", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata:\n    # text\n    k: |-\n        one\n\n        two\n    z: 1.0.0\n",
			"-        one\n-\n-        two\n-    z: 1.0.0\n+        changed\n+    z: 1.0.0\n+    new: x\n",
		},
	} {
		got, err := set(t, tt.text, configMap, add)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if d := cmp.Diff(tt.want, lines(tt.text, got)); d != "" {
			t.Errorf("%s: (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestLiteralKeepsItsLines(t *testing.T) {
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata:\n  k: |   # a program\n      one\n     \n      two # not a comment\n      three\n  z: v\n"
	got, err := set(t, text, edit.ID{APIVersion: "v1", Kind: "ConfigMap", Name: "b"}, func(d tree) {
		d["data"].(tree)["k"] = "one\n\ntwo\nthree\n"
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("-      two # not a comment\n+      two\n", lines(text, got)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestRefused(t *testing.T) {
	id := edit.ID{APIVersion: "v1", Kind: "ConfigMap", Name: "b"}
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
	for _, tt := range []struct{ name, text, want string }{
		{"alias", head + "data:\n  a: &x v\n  k: *x\n", "f.yaml:6: the value comes through the alias *x"},
		{"anchor", head + "data:\n  k: &x v\n  a: *x\n", "f.yaml:5: the value is shared as the anchor &x"},
		{"merge key", head + "binaryData: &x\n  k: djE=\ndata:\n  <<: *x\n  a: v\n", "f.yaml:7: k comes through a merge key"},
		{"tag", head + "data:\n  k: !!str 1\n", "f.yaml:5: the value has a tag"},
		{"line ends", head + "data:\n  k: v\r  a: b\n", "line ends other than"},
	} {
		out, err := func() (string, error) {
			want, _, err := edit.Get("f.yaml", []byte(tt.text), id)
			if err != nil {
				return "", err
			}
			want.(tree)["data"].(tree)["k"] = "changed"
			out, err := edit.Set("f.yaml", []byte(tt.text), id, want)
			return string(out), err
		}()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q; out:\n%s", tt.name, err, tt.want, out)
		}
	}
	if _, _, err := edit.Get("f.yaml", []byte(head+"---\n"+head), id); err == nil || !strings.Contains(err.Error(), "more than once") {
		t.Errorf("two of a name: %v", err)
	}
	if _, _, err := edit.Get("f.yaml", []byte(head), webID); err == nil || !strings.Contains(err.Error(), "does not declare Deployment web") {
		t.Errorf("none of the name: %v", err)
	}
}

func TestRemove(t *testing.T) {
	cm := func(name string) string {
		return "# " + name + "\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n"
	}
	for _, tt := range []struct {
		name, text, remove, want string
		empty                    bool
	}{
		{"alone", cm("a"), "a", "", true},
		{"first", cm("a") + "---\n" + cm("b"), "a", cm("b"), false},
		{"first with a marker", "---\n" + cm("a") + "---\n" + cm("b"), "a", cm("b"), false},
		{"last", cm("a") + "---\n" + cm("b"), "b", cm("a"), false},
		{"between", cm("a") + "---\n" + cm("b") + "---\n" + cm("c"), "b", cm("a") + "---\n" + cm("c"), false},
		{
			"item", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n", "a",
			"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n", false,
		},
		{"only item", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n", "a", "", true},
	} {
		got, empty, err := edit.Remove("f.yaml", []byte(tt.text), edit.ID{APIVersion: "v1", Kind: "ConfigMap", Name: tt.remove})
		if err != nil || empty != tt.empty {
			t.Errorf("%s: empty %t, error %v", tt.name, empty, err)
		}
		if d := cmp.Diff(tt.want, string(got)); d != "" {
			t.Errorf("%s: (-want +got):\n%s", tt.name, d)
		}
	}
}
