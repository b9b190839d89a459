package headway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// What a room is at most, so that a stranger finds what is in it.
const (
	maxFiles   = 12  // source files of a package
	maxMethods = 30  // methods of a type
	maxLines   = 600 // lines of a source file
)

// larger are the packages and types ("folder.Type") that are larger, each with
// the reason or the record of the decision that says why.
var larger = map[string]string{
	"manifests/model/kinds/core": "docs/adr/0063: a kind has a file",
}

// TestRoomsAreSmall finds packages of too many files and types of too many
// methods, and what is in larger without need.
func TestRoomsAreSmall(t *testing.T) {
	files, methods := map[string]int{}, map[string]int{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (file != "." && strings.HasPrefix(name, ".") || name == "testdata" || name == "build" || name == "tools") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || strings.HasPrefix(d.Name(), "zz_generated") {
			return nil
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(filepath.ToSlash(file))
		files[dir]++
		if lines := set.File(parsed.Pos()).LineCount(); lines > maxLines {
			t.Errorf("%s has %d lines, and may have %d", file, lines, maxLines)
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[dir+"."+receiver(f)]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	check := func(sizes map[string]int, most int, what string) {
		for name, n := range sizes {
			_, excepted := larger[name]
			switch {
			case excepted && n <= most:
				t.Errorf("%s has %d %s: it needs no exception", name, n, what)
			case !excepted && n > most:
				t.Errorf("%s has %d %s, and may have %d", name, n, what, most)
			}
			if excepted {
				known++
			}
		}
	}
	check(files, maxFiles, "source files")
	check(methods, maxMethods, "methods")
	if known != len(larger) {
		t.Errorf("%d of the %d exceptions exist", known, len(larger))
	}
}

// receiver is the name of the type of which f is a method.
func receiver(f *ast.FuncDecl) string {
	expr := f.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}
