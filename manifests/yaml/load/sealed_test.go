package load_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"headway.dev/manifests/yaml/load"
	"headway.dev/manifests/yaml/substitute"
)

// hostile are trees that try to run, fetch or read what they must not. outside
// is a file outside of the tree. Where fine is set the tree is none that has to
// be refused.
func hostile(outside string) map[string]map[string]string {
	const plain = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	kustomization := func(text string, more ...string) map[string]string {
		files := map[string]string{"kustomization.yaml": text, "a.yaml": plain}
		for i := 0; i+1 < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	up := strings.Repeat("../", 20) + strings.TrimPrefix(outside, "/")
	trees := map[string]map[string]string{
		"exec-generator":   kustomization("generators: [g.yaml]\n", "g.yaml", "apiVersion: x/v1\nkind: Evil\nmetadata: {name: e, annotations: {config.kubernetes.io/function: \"exec: {path: /bin/touch}\"}}\n"),
		"exec-inline":      kustomization("transformers:\n- |\n  apiVersion: x/v1\n  kind: Evil\n  metadata: {name: e, annotations: {config.kubernetes.io/function: \"exec: {path: /bin/touch}\"}}\nresources: [a.yaml]\n"),
		"container":        kustomization("generators: [g.yaml]\n", "g.yaml", "apiVersion: x/v1\nkind: Evil\nmetadata: {name: e, annotations: {config.kubernetes.io/function: \"container: {image: evil, network: true}\"}}\n"),
		"starlark":         kustomization("transformers: [g.yaml]\nresources: [a.yaml]\n", "g.yaml", "apiVersion: x/v1\nkind: Evil\nmetadata: {name: e, annotations: {config.kubernetes.io/function: \"starlark: {path: g.star}\"}}\n", "g.star", "x = 1\n"),
		"validator":        kustomization("validators: [g.yaml]\nresources: [a.yaml]\n", "g.yaml", "apiVersion: x/v1\nkind: Evil\nmetadata: {name: e}\n"),
		"helm":             kustomization("helmCharts: [{name: redis, repo: \"https://127.0.0.1:1\"}]\n"),
		"helm-globals":     kustomization("helmGlobals: {chartHome: /}\nhelmCharts: [{name: local}]\n"),
		"helm-generator":   kustomization("generators: [g.yaml]\n", "g.yaml", "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: h}\nname: redis\nrepo: http://127.0.0.1:1\n"),
		"helm-old":         kustomization("helmChartInflationGenerator: [{chartName: redis}]\n"),
		"alias-bomb":       {"a.yaml": bomb()},
		"alias-bomb-built": kustomization("resources: [b.yaml]\n", "b.yaml", bomb()),
		"alias-self":       {"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: &m {name: a, labels: *m}\n"},
		"cycle":            kustomization("resources: [b]\n", "b/kustomization.yaml", "resources: [..]\n"),
		"self":             kustomization("resources: [.]\n"),
		"component-cycle":  {"kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncomponents: [.]\n"},
		"deep-yaml":        {"a.yaml": "a: " + strings.Repeat("[", 200_000)},
		"deep-json":        {"a.json": `{"apiVersion":"v1","kind":"ConfigMap","a":` + strings.Repeat("[", 200_000)},
		"deep-built":       kustomization("resources: [b.yaml]\n", "b.yaml", "a: "+strings.Repeat("{a: ", 100_000)),
		"nul":              {"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"a\x00b\"}\n"},
		"no-utf8":          {"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"a\xff\xfe\"}\n"},
		"twice":            {"a.yaml": plain, "b.yaml": plain},
		"twice-built":      kustomization("resources: [a.yaml, b.yaml]\n", "b.yaml", plain),
		"duplicate-key":    kustomization("resources: [a.yaml]\nresources: [a.yaml]\n"),
		"substitution":     {"a.yaml": strings.Replace(plain, "name: a", "name: a, labels: {a: \""+strings.Repeat("${a:=", 100_000)+"\"}", 1)},
	}
	for i, url := range []string{
		"https://127.0.0.1:1/x.yaml", "http://127.0.0.1:1/x?ref=main", "git::https://127.0.0.1:1/x", "ssh://git@127.0.0.1:1/x", "git@127.0.0.1:x/y.git",
		"github.com/x/y//z?ref=main", "gh:x/y", "file://" + outside, "git::file:///", "https://127.0.0.1:1/x.git//y?submodules=1&timeout=1s",
		outside, up, "/etc/passwd", "link", "linkdir/a.yaml",
	} {
		for field, text := range map[string]string{
			"resources": "resources: [%q]\n", "bases": "bases: [%q]\n", "components": "components: [%q]\n", "crds": "crds: [%q]\nresources: [a.yaml]\n",
			"configurations": "configurations: [%q]\nresources: [a.yaml]\n", "openapi": "openapi: {path: %q}\nresources: [a.yaml]\n",
			"patches": "patches: [{path: %q}]\nresources: [a.yaml]\n", "patchesStrategicMerge": "patchesStrategicMerge: [%q]\nresources: [a.yaml]\n",
			"patchesJson6902": "patchesJson6902: [{path: %q, target: {version: v1, kind: ConfigMap, name: a}}]\nresources: [a.yaml]\n",
			"replacements":    "replacements: [{path: %q}]\nresources: [a.yaml]\n", "files": "configMapGenerator: [{name: g, files: [%q]}]\n",
			"keyed": "configMapGenerator: [{name: g, files: [\"k=%[1]s\"]}]\n", "envs": "secretGenerator: [{name: g, envs: [%q]}]\n", "env": "configMapGenerator: [{name: g, env: %q}]\n",
			"generators": "generators: [%q]\n", "transformers": "transformers: [%q]\nresources: [a.yaml]\n", "validators": "validators: [%q]\nresources: [a.yaml]\n",
			"plugin": "generators:\n- |\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: g}\n  files: [%q]\n",
			"patch":  "transformers:\n- |\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: p}\n  path: %q\nresources: [a.yaml]\n",
		} {
			trees[fmt.Sprintf("%s-%d", field, i)] = kustomization(fmt.Sprintf(text, url), "link", "-> "+outside, "linkdir", "-> "+filepath.Dir(outside))
		}
	}
	return trees
}

func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx0: &x0 [a, a, a, a, a, a, a, a, a, a]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d,", i-1), 10), ","))
	}
	return b.String()
}

// Files that are opened around what a child does, to find it in its trace.
const (
	beginMark = "/headway-render-begins"
	endMark   = "/headway-render-ends"
)

// TestRenderChild renders the hostile trees, in a process of its own whose
// system calls are looked at; by itself it renders one of them.
func TestRenderChild(t *testing.T) {
	outside := os.Getenv("HEADWAY_OUTSIDE")
	trees := hostile(outside)
	if outside == "" {
		trees = map[string]map[string]string{"self": trees["self"]}
	}
	out := &bytes.Buffer{}
	vars := substitute.New()
	_, _ = os.Open(beginMark)
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		tree := fstest.MapFS{}
		for file, data := range trees[name] {
			if target, ok := strings.CutPrefix(data, "-> "); ok {
				tree[file] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(target)}
				continue
			}
			tree[file] = &fstest.MapFile{Data: []byte(data)}
		}
		items, err := load.Dir(t.Context(), tree, ".", load.Options{Substitute: vars, MaxFiles: 2000})
		for _, it := range items {
			raw, _ := json.Marshal(it.Object)
			fmt.Fprintf(out, "%s: %s\n", name, raw)
		}
		if err == nil {
			fmt.Fprintf(out, "RENDERED %s\n", name)
		} else {
			fmt.Fprintf(out, "REFUSED %s: %v\n", name, err)
		}
	}
	if os.Getenv("HEADWAY_BREACH") != "" {
		if data, err := os.ReadFile(outside); err == nil {
			fmt.Fprintf(out, "%s\n", data)
		}
	}
	_, _ = os.Open(endMark)
	if outside == "" {
		if !strings.HasPrefix(out.String(), "REFUSED self") {
			t.Errorf("got %s", out)
		}
		return
	}
	fmt.Println(out)
}

// Rendering runs no program, opens no file and no connection, and nothing of a
// file outside of the tree comes out of it: seen by its system calls.
func TestRenderingIsSealed(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside.yaml")
	secret := "outside-canary-93b1"
	if err := os.WriteFile(outside, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+secret+"}\ndata: {"+secret+": "+secret+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, calls := renderTraced(t, outside)
	if strings.Contains(out, secret) {
		t.Error("the file outside of the tree is in the output")
	}
	for line := range strings.SplitSeq(out, "\n") {
		if name, ok := strings.CutPrefix(line, "RENDERED "); ok {
			t.Errorf("%s was rendered", name)
		}
	}
	if refused := strings.Count(out, "REFUSED "); refused != len(hostile(outside)) {
		t.Errorf("%d trees were refused, want all %d", refused, len(hostile(outside)))
	}
	for _, call := range calls {
		t.Errorf("rendering made a system call that it must not: %s", call)
	}
	// The same with a read of the file: that it would be seen.
	out, calls = renderTraced(t, outside, "HEADWAY_BREACH=1")
	if !strings.Contains(out, secret) || !slices.ContainsFunc(calls, func(c string) bool { return strings.Contains(c, outside) }) {
		t.Errorf("a file that is read on purpose is not noticed: system calls %q", calls)
	}
}

// renderTraced runs TestRenderChild, and returns what it printed and the system
// calls between its marks that rendering has no need of.
func renderTraced(t *testing.T, outside string, env ...string) (out string, calls []string) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-qq", "-s", "256", "-o", trace, "-e", "signal=none", "-e", "trace=process,network,open,openat,openat2,creat,unlink,unlinkat,rename,mkdir,mkdirat,io_uring_setup",
		self, "-test.run=^TestRenderChild$", "-test.timeout=5m")
	// Without the signals by which the runtime preempts goroutines.
	cmd.Env = append(append(os.Environ(), "HEADWAY_OUTSIDE="+outside, "GODEBUG=asyncpreemptoff=1"), env...)
	printed, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the child: %v\n%.4000s", err, printed)
	}
	raw, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	_, during, began := strings.Cut(string(raw), beginMark)
	during, _, ended := strings.Cut(during, endMark)
	if !began || !ended {
		t.Fatalf("the trace does not show when rendering began and ended:\n%.2000s", raw)
	}
	lines := strings.Split(during, "\n")
	for _, line := range lines[1 : len(lines)-1] { // without the ends of the marks' lines
		_, call, _ := strings.Cut(line, " ")
		call = strings.TrimSpace(call)
		// A call during which another thread made one stands on two lines: the
		// first has its arguments (and may be the mark's own), this its result.
		if strings.HasPrefix(call, "<... ") {
			continue
		}
		// The threads of the runtime come and go.
		thread := strings.HasPrefix(call, "clone") && strings.Contains(call, "CLONE_THREAD") ||
			strings.HasPrefix(call, "exit(0)") || strings.HasPrefix(call, "+++ exited")
		if !thread {
			calls = append(calls, call)
		}
	}
	return string(printed), calls
}
