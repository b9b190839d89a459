package load_test

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
)

var update = flag.Bool("update", false, "write the results as the new expectations")

// Each testdata/*.txtar is a tree. Its comment says what it shows; a file
// "dir" names the directory to load, "build" holds the fields of a Flux
// Kustomization, and "want" the objects or the errors.
func TestDir(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tree, dir, opts, want := fstest.MapFS{}, ".", load.Options{}, 0
			for i, f := range archive.Files {
				switch f.Name {
				case "dir":
					dir = strings.TrimSpace(string(f.Data))
				case "build":
					opts.Build = &kustomizev1.KustomizationSpec{}
					if err := yaml.UnmarshalStrict(f.Data, opts.Build); err != nil {
						t.Fatal(err)
					}
				case "want":
					want = i
				default:
					data := f.Data
					if target, ok := strings.CutPrefix(string(data), "-> "); ok {
						tree[f.Name] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(strings.TrimSpace(target))}
						continue
					}
					tree[f.Name] = &fstest.MapFile{Data: data}
				}
			}
			got := render(t, tree, dir, opts)
			opts.Cache = &load.Cache{}
			for range 3 { // the second and third time from the cache
				if diff := cmp.Diff(got, render(t, tree, dir, opts)); diff != "" {
					t.Fatalf("with a cache (-without +with):\n%s", diff)
				}
			}
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[want].Data), got); diff != "" {
				t.Errorf("Dir(%s) (-want +got):\n%s", dir, diff)
			}
		})
	}
}

// render prints what a load returns: the errors, or each object after the line
// that says where it is from.
func render(t *testing.T, tree fs.FS, dir string, opts load.Options) string {
	t.Helper()
	items, err := load.Dir(t.Context(), tree, dir, opts)
	if err != nil {
		if len(items) > 0 {
			t.Errorf("Dir returned %d items with an error", len(items))
		}
		if len(load.Errors(err)) != strings.Count(err.Error(), "\n")+1 && !strings.Contains(err.Error(), "kustomize build") {
			t.Errorf("Errors(err) = %v, want those of %v", load.Errors(err), err)
		}
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, it := range items {
		out, err := yaml.Marshal(it.Object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", it.Source)
		for line := range strings.Lines(string(out)) {
			switch strings.TrimSpace(line) {
			case "status: {}", "creationTimestamp: null", "resources: {}", "strategy: {}", "loadBalancer: {}", "status:":
			default:
				b.WriteString("  " + line)
			}
		}
	}
	return b.String()
}

func TestLine(t *testing.T) {
	const file = `# the web server
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
    example.com/some.key: x
spec:
  template:
    spec:
      containers:
      - name: first
        image: a
      - name: second
        ports:
        - {containerPort: 80}
        -
          containerPort: 81
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: one}
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: two
  data:
    a.conf: x
`
	items, err := load.Bytes("web.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 3 {
		t.Fatalf("got %d items, want 3", len(items))
	}
	for _, test := range []struct {
		item int
		path string
		want int
	}{
		{0, "", 2},
		{0, "metadata.name", 5},
		{0, "metadata.annotations[example.com/some.key]", 7},
		{0, "metadata.annotations.example.com/some.key", 7},
		{0, "spec.template.spec.containers[1].ports[1].containerPort", 18},
		{0, "spec.template.spec.containers[name=second].ports[0].hostPort", 16},
		{0, "spec.template.spec.containers[0].resources", 12},
		{0, "spec.replicas", 8},
		{0, "nonsense", 2},
		{1, "metadata.name", 25},
		{2, "", 26},
		{2, "data[a.conf]", 31},
		{2, "immutable", 26},
	} {
		if got := items[test.item].Line(test.path); got != test.want {
			t.Errorf("item %d: Line(%q) = %d, want %d", test.item, test.path, got, test.want)
		}
	}
	if got, want := items[0].Fault("spec.replicas", "must be greater than or equal to 0").Error(),
		"web.yaml:8: Deployment/web: spec.replicas: must be greater than or equal to 0"; got != want {
		t.Errorf("Fault = %q, want %q", got, want)
	}
}

func TestLimits(t *testing.T) {
	configMap := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n", name)}
	}
	tree := fstest.MapFS{"a.yaml": configMap("a"), "b.yaml": configMap("b"), "c/c.yaml": configMap("c")}
	for name, test := range map[string]struct {
		opts load.Options
		want string
	}{
		"files":   {load.Options{MaxFiles: 2}, "more than 2 files"},
		"size":    {load.Options{MaxFileBytes: 10}, "larger than 10 bytes"},
		"total":   {load.Options{MaxTotalBytes: 100}, "more than 100 bytes"},
		"objects": {load.Options{MaxObjects: 2}, "more than 2 objects"},
	} {
		items, err := load.Dir(t.Context(), tree, ".", test.opts)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Dir = %d items, error %v, want %q", name, len(items), err, test.want)
		}
	}
	if items, err := load.Dir(t.Context(), tree, ".", load.Options{}); err != nil || len(items) != 3 {
		t.Errorf("Dir = %d items, %v, want 3", len(items), err)
	}
}

// A small file must not become a large object, and building must end.
func TestBombs(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx0: &x0 [a, a, a, a, a, a, a, a, a, a]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&laughs, "x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d,", i-1), 10), ","))
	}
	exponential := fstest.MapFS{}
	for i := range 40 {
		for _, side := range []string{"a", "b"} {
			data := "namePrefix: x-\n"
			if i < 39 {
				data += fmt.Sprintf("resources:\n- ../a%d\n- ../b%d\n", i+1, i+1)
			} else {
				data += "resources: []\n"
			}
			exponential[fmt.Sprintf("%s%d/kustomization.yaml", side, i)] = &fstest.MapFile{Data: []byte(data)}
		}
	}
	for name, test := range map[string]struct {
		tree fstest.MapFS
		dir  string
		want string
	}{
		"aliases":            {fstest.MapFS{"a.yaml": {Data: []byte(laughs.String())}}, ".", "aliases expand"},
		"aliases, kustomize": {fstest.MapFS{"k/kustomization.yaml": {Data: []byte("resources: [a.yaml]")}, "k/a.yaml": {Data: []byte(laughs.String())}}, "k", "aliases expand"},
		"alias of itself":    {fstest.MapFS{"a.yaml": {Data: []byte("a: &a [*a]\n")}}, ".", "contains itself"},
		"deep":               {fstest.MapFS{"a.yaml": {Data: []byte("a: " + strings.Repeat("[", 100_000))}}, ".", "depth"},
		"bases":              {exponential, "a0", "more than 2000 files"},
	} {
		_, err := load.Dir(t.Context(), test.tree, test.dir, load.Options{MaxFiles: 2000})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

// On disk, a link out of the tree must not be followed either.
func TestLinksOnDisk(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret.yaml")
	if err := os.WriteFile(secret, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stolen}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"file.yaml": secret, "dir": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	kustomization := []byte("resources:\n- file.yaml\n- dir/secret.yaml\n")
	for _, name := range []string{"", "kustomization.yaml"} {
		if name != "" {
			if err := os.WriteFile(filepath.Join(dir, name), kustomization, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		items, err := load.Dir(t.Context(), os.DirFS(dir), ".", load.Options{})
		if err == nil || strings.Count(err.Error(), "symbolic link") != 2 {
			t.Errorf("with %q: Dir = %d items, error %v, want both links refused", name, len(items), err)
		}
	}
}

// hashedFS knows its files' hashes, as Git's trees do, and counts reads.
type hashedFS struct {
	fstest.MapFS
	reads *int
}

func (h hashedFS) Hash(name string) (string, error) {
	f := h.MapFS[name]
	if f == nil {
		return "", fs.ErrNotExist
	}
	return fmt.Sprintf("%x", sha256.Sum256(f.Data)), nil
}

func (h hashedFS) Open(name string) (fs.File, error) {
	if h.MapFS[name] != nil {
		*h.reads++
	}
	return h.MapFS.Open(name)
}

// Whatever changes, a load with a cache gives what one without gives. What did
// not change is not even read where the tree knows hashes.
func TestCache(t *testing.T) {
	configMap := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {x: z}\n", name)}
	}
	file := func(data string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(data)} }
	tree := fstest.MapFS{
		"a.yaml": configMap("a"), "b.yaml": configMap("b"),
		"k/kustomization.yaml":    file("resources: [../base]\nnamePrefix: k-\n"),
		"base/kustomization.yaml": file("resources: [c.yaml]\nconfigMapGenerator: [{name: gen, files: [data.txt]}]\n"),
		"base/c.yaml":             configMap("c"), "base/data.txt": file("1"),
	}
	cache, byHash := &load.Cache{}, &load.Cache{}
	hashed := hashedFS{tree, new(int)}
	for _, step := range []struct {
		name   string
		change func()
	}{
		{"first", func() {}},
		{"again", func() {}},
		{"plain file", func() { tree["a.yaml"] = configMap("a2") }},
		{"fault", func() { tree["b.yaml"] = file("kind: 1") }},
		{"fault mended", func() { tree["b.yaml"] = configMap("b") }},
		{"resource of a base", func() { tree["base/c.yaml"] = configMap("c2") }},
		{"data of a generator", func() { tree["base/data.txt"] = file("2") }},
		{"overlay", func() { tree["k/kustomization.yaml"] = file("resources: [../base]\nnamePrefix: l-\n") }},
		{"file of the other name", func() { tree["base/kustomization.yml"] = file("resources: [c.yaml]") }},
		{"removed", func() { delete(tree, "base/kustomization.yml"); delete(tree, "base/c.yaml"); delete(tree, "a.yaml") }},
		{"back", func() { tree["base/c.yaml"] = configMap("c") }},
	} {
		step.change()
		want := render(t, tree, ".", load.Options{})
		if diff := cmp.Diff(want, render(t, tree, ".", load.Options{Cache: cache})); diff != "" {
			t.Errorf("%s (-without +with):\n%s", step.name, diff)
		}
		*hashed.reads = 0
		if diff := cmp.Diff(want, render(t, hashed, ".", load.Options{Cache: byHash})); diff != "" {
			t.Errorf("%s (-without +with a cache by hashes):\n%s", step.name, diff)
		}
		if step.name == "again" && *hashed.reads > 0 {
			t.Errorf("again: %d files were read although none changed", *hashed.reads)
		}
	}
	// What did not change are the same objects, also to a clone of the cache;
	// metadata that is set on all does not end up in them.
	before := cache.Clone()
	tree["b.yaml"] = configMap("b2")
	common := &kustomizev1.KustomizationSpec{CommonMetadata: &kustomizev1.CommonMetadata{Labels: map[string]string{"a": "b"}}}
	if _, err := load.Dir(t.Context(), tree, ".", load.Options{Cache: cache, Build: common}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(render(t, tree, ".", load.Options{}), render(t, tree, ".", load.Options{Cache: cache})); diff != "" {
		t.Errorf("after a load with common metadata (-without +with):\n%s", diff)
	}
	objects, n := map[object.Object]bool{}, 0
	for _, c := range []*load.Cache{cache, &before} {
		items, err := load.Dir(t.Context(), tree, ".", load.Options{Cache: c})
		if err != nil {
			t.Fatal(err)
		}
		n = len(items)
		for _, it := range items {
			objects[it.Object] = true
		}
	}
	// b2 was decoded by each, all else once for both.
	if got, want := len(objects), n+1; got != want || cache.Made() != 0 || before.Made() != 1 {
		t.Errorf("%d objects, want %d; made %d and %d, want 0 and 1", got, want, cache.Made(), before.Made())
	}
}

func TestNoSuchDirectory(t *testing.T) {
	_, err := load.Dir(t.Context(), fstest.MapFS{}, "clusters/missing", load.Options{})
	var fault *load.Error
	if !errors.As(err, &fault) || fault.Error() != "clusters/missing: no such directory" {
		t.Errorf("Dir of a missing directory: %v", err)
	}
}

func FuzzBytes(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n---\n{}\n",
		`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"x":1}]}}]}`,
		"a: &a [*a]", "--- {a: b}\n...\n%YAML 1.1\n---\n", "kind: [", "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: x}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		items, err := load.Bytes("f.yaml", data)
		if (err != nil) && len(items) > 0 {
			t.Errorf("%d items with error %v", len(items), err)
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, it := range items {
			if l := it.Line("spec.containers[0].image"); l < 1 || l > lines {
				t.Errorf("line %d of %d", l, lines)
			}
		}
		for _, e := range load.Errors(err) {
			if e.Source.Line < 1 || e.Source.Line > lines+1 {
				t.Errorf("%v: line %d of %d", e, e.Source.Line, lines)
			}
		}
	})
}
