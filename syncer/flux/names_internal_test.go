package flux

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// elsewhere are the names of Headway that are neither annotations nor conditions.
var elsewhere = []string{
	"headway.dev/email", // an extra value of a user
}

// No other room knows what an annotation is called: each is named, read and
// refused in the table of annotations. No other names a condition of its own.
func TestNamesAreHere(t *testing.T) {
	names := constants(t, "annotations.go")
	if !slices.Contains(names, "OnFailure") || slices.Contains(names, "Prune") {
		t.Fatalf("the annotations are %v", names)
	}
	files := 0
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "flux" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		files++
		for _, fault := range namesIn(t, file, nil, names) {
			t.Error(fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Fatalf("found %d files: these are not all rooms", files)
	}
	for _, text := range []string{
		`flux.OnFailure`, `ks.Annotations["headway.dev/on-failure"]`, `"headway.dev/new"`, `"headway.dev/New"`, `meta.ReconcileRequestAnnotation`, `"reconcile.fluxcd.io/resetAt"`,
	} {
		if len(namesIn(t, "example.go", "package example\n\nvar _ = "+text, names)) == 0 {
			t.Errorf("nothing is wrong with %s", text)
		}
	}
}

// constants are the names of the constants in a file that are annotations of
// Kustomizations or sources.
func constants(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if text, ok := spec.Values[i].(*ast.BasicLit); !ok || !strings.HasPrefix(text.Value, `"kustomize.toolkit.fluxcd.io/`) {
				names = append(names, name.Name)
			}
		}
		return true
	})
	return names
}

// namesIn tells where a file names annotations, or conditions of its own.
func namesIn(t *testing.T, file string, src any, names []string) []string {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var faults []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		what := ""
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.SelectorExpr:
			of, ok := n.X.(*ast.Ident)
			if ok && (of.Name == "flux" && slices.Contains(names, n.Sel.Name) || of.Name == "meta" && strings.HasSuffix(n.Sel.Name, "RequestAnnotation")) {
				what = of.Name + "." + n.Sel.Name
			}
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if err != nil || slices.Contains(elsewhere, text) {
				break
			}
			if rest, ok := strings.CutPrefix(text, "headway.dev/"); ok && rest != "" || strings.HasPrefix(text, "reconcile.fluxcd.io/") {
				what = text
			}
		}
		if what != "" {
			faults = append(faults, set.Position(n.Pos()).String()+" names "+what+": conditions are named in package flux, and flux.Of says what annotations say")
		}
		return true
	})
	return faults
}

// Each annotation is told of in the pages about GitOps.
func TestAnnotationsAreDocumented(t *testing.T) {
	pages, err := filepath.Glob("../../docs/gitops/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	var all strings.Builder
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, a := range annotations {
		// The tables shorten Flux's own.
		if !strings.Contains(all.String(), strings.TrimPrefix(a.name, "reconcile.fluxcd.io/")) {
			t.Errorf("no page of docs/gitops tells of %s", a.name)
		}
	}
}
