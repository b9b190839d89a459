package headway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWalkOfOneCommit holds "Follow one commit" of ARCHITECTURE.md to the code: each
// room and each function that it names is there, and no room is entered twice.
func TestWalkOfOneCommit(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, walk, _ := strings.Cut(string(text), "\n## Follow one commit\n")
	walk, _, _ = strings.Cut(walk, "\n## ")
	quoted := regexp.MustCompile("`([^`]+)`")
	entered := map[string]bool{}
	rows, functions := 0, 0
	for line := range strings.Lines(walk) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 2 || strings.Contains(cells[0], "---") || strings.TrimSpace(cells[1]) == "where" {
			continue
		}
		rows++
		room := ""
		for _, name := range quoted.FindAllStringSubmatch(cells[1], -1) {
			if strings.Contains(name[1], "/") {
				if room = name[1]; entered[room] {
					t.Errorf("%s is entered twice", room)
				}
				entered[room] = true
				if info, err := os.Stat(room); err != nil || !info.IsDir() {
					t.Errorf("there is no %s: %v", room, err)
				}
				continue
			}
			functions++
			if !declares(t, room, name[1]) {
				t.Errorf("%s does not declare %s", room, name[1])
			}
		}
	}
	if rows < 10 || functions < 10 {
		t.Errorf("%d rows with %d functions: the table is not read", rows, functions)
	}
}

// declares reports whether the package in a folder declares a function, a type, or
// "Type.Method".
func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == name || d.Recv != nil && receiver(d)+"."+d.Name.Name == name {
					return true
				}
				if d.Recv != nil && d.Name.Name == name {
					return true
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok && s.Name.Name == name {
						return true
					}
				}
			}
		}
	}
	return false
}
