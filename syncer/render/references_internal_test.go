package render

import (
	"context"
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/tree"
)

// What is read of files that cannot be rendered, and kept of it, is bounded,
// however they are made; beyond the bounds they may name any object.
func TestReferencesAreBounded(t *testing.T) {
	lines := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(line, "#", fmt.Sprint(i)))
		}
		return b.String()
	}
	copies := func(n int, text string) map[string]string {
		files := map[string]string{}
		for i := range n {
			files[fmt.Sprintf("%d.yaml", i)] = text
		}
		return files
	}
	const broken = "a: b: c\n"
	gone := object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: "gone"}
	for name, tc := range map[string]struct {
		files map[string]string
		all   bool // whether they may name any object
		named bool // whether they may name gone
	}{
		"the same lines of what is no YAML":        {copies(1, broken+strings.Repeat("kind: A\nname: b\n", 60_000)), false, false},
		"few, and gone":                            {copies(1, broken+"kind: ConfigMap\nname: gone\n"), false, true},
		"a kind and a name of different documents": {copies(1, broken+"kind: ConfigMap\n---\n"+broken+"name: gone\n"), false, false},
		"different lines of what is no YAML":       {copies(1, broken+lines(40_000, "kind: A\nname: n#\n")+lines(20_000, "name: m#\n")), true, true},
		"the same object many times":               {copies(2, "kind: AList\nitems:\n"+strings.Repeat("- {kind: A, metadata: {}}\n", 10_000)), false, false},
		"an object in many files":                  {copies(1500, "kind: ConfigMap\nmetadata: {name: gone, namespace: default}\n"), false, true},
		"many objects, of several files":           {copies(2, "kind: AList\nitems:\n"+lines(5_000, "- {kind: A, metadata: {name: a#}}\n")), false, false},
		"countless different objects":              {map[string]string{"a.yaml": "kind: AList\nitems:\n" + lines(26_000, "- {kind: A, metadata: {name: a#}}\n"), "b.yaml": "kind: AList\nitems:\n" + lines(26_000, "- {kind: A, metadata: {name: b#}}\n")}, true, true},
		"empty documents":                          {copies(1, strings.Repeat("---\n", 200_000)), false, false},
		"countless documents":                      {copies(1, strings.Repeat("---\na\n", 100_000)), true, true},
		"countless bytes":                          {copies(17, strings.Repeat("# nothing\n", 100_000)), true, true},
		"a large file":                             {copies(1, strings.Repeat("# nothing\n", 110_000)), true, true},
		"countless files":                          {copies(2100, "a: b\n"), true, true},
		"countless resources":                      {copies(1, "resources:\n"+lines(60_000, "- a#\n")), true, true},
		"countless prefixes":                       {copies(1, lines(200, "---\nkind: Kustomization\nnamePrefix: p#\n")), true, true},
	} {
		tree, err := tree.NewFiles(tc.files)
		if err != nil {
			t.Fatal(err)
		}
		refs := ReferencesIn(t.Context(), tree, ".")
		kept := len(refs.broken)
		for _, list := range refs.byKind {
			kept += len(list)
		}
		if refs.all != tc.all || kept > maxReferences {
			t.Errorf("%s: %d are kept, may be to any object: %t, want %t", name, kept, refs.all, tc.all)
		}
		if got := refs.Fit(&kustomizev1.Kustomization{}, gone); got != tc.named {
			t.Errorf("%s: may name the object: %t, want %t", name, got, tc.named)
		}
	}

	// Each prefix may or may not be in front of what another leaves.
	long := object.Key{GroupKind: gone.GroupKind, Namespace: "default", Name: strings.Repeat("a", 250)}
	text := "kind: ConfigMap\nmetadata: {name: b, namespace: default}\n"
	for i := range 90 {
		text += "---\nkind: Kustomization\nnamePrefix: " + strings.Repeat("a", i+1) + "\nnameSuffix: " + strings.Repeat("a", i+1) + "\n"
	}
	tree, err := tree.NewFiles(copies(1, text))
	if err != nil {
		t.Fatal(err)
	}
	if refs := ReferencesIn(t.Context(), tree, "."); refs.all || !refs.Fit(&kustomizev1.Kustomization{}, long) || refs.Fit(&kustomizev1.Kustomization{}, gone) {
		t.Errorf("90 prefixes and suffixes that may all be there: %t", refs.all)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if refs := ReferencesIn(ctx, tree, "."); !refs.all {
		t.Error("the files were read although nobody waits for it")
	}
}
