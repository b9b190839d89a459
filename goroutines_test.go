package headway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayPanic are the folders and files whose goroutines need no guard, and why.
// "AfterFunc" after a file is for the functions it hands to one, and no others.
var mayPanic = map[string]string{
	"manifests/yaml/load/kustomize/child.go":            "ends a child process, of which its parent tells",
	"engine/store/replay.go":                            "file.Guard makes an error of a panic and of a fault of the file's map",
	"nodes/agent.go":                                    "the first of its goroutines starts the others, each of which is guarded, and waits",
	"cmd/headway/main.go AfterFunc":                     "ends the watch for signals",
	"engine/api/inprocess.go AfterFunc":                 "sends to a channel with room, and closes a pipe",
	"engine/api/serve.go AfterFunc":                     "ends a context",
	"manifests/yaml/load/kustomize/parent.go AfterFunc": "receives from a channel, once, and kills a child",
	"nodes/slot/slot.go AfterFunc":                      "receives from a channel, once",
	"nodes/streams.go AfterFunc":                        "closes a server",
	"syncer/git/remote/ssh.go AfterFunc":                "closes a connection",
	"nodes/worker/stop.go":                              "guards the hook and the stop apart, as the second must not miss for the first",
	"examples":                                          "programs of their own",
	"cmd/headway/e2e":                                   "ends a test",
	"cmd/headway/crash":                                 "ends a test",
	"cmd/headway/up/uptest":                             "ends a test",
	"engine/api/apitest":                                "ends a test",
	"syncer/internal/gitserver":                         "ends a test",
	"nodes/nodetest":                                    "ends a test",
}

// TestGoroutinesAreGuarded: a panic that nobody recovers ends the process, and
// nobody but its own function can recover a goroutine's. So whatever starts
// one, a go statement, a Go method or an AfterFunc, hands its work to manifests/guard.
func TestGoroutinesAreGuarded(t *testing.T) {
	var found int
	used := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != "." && strings.HasPrefix(name, ".") || name == "testdata" || name == "build" || name == "tools" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		file = filepath.ToSlash(file)
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		eachGoroutine(parsed, func(start ast.Node, work ast.Expr) {
			found++
			if call, ok := start.(*ast.CallExpr); ok && isMethod(call, "AfterFunc") && mayPanic[file+" AfterFunc"] != "" {
				used[file+" AfterFunc"] = true
				return
			}
			for dir := file; dir != "."; dir = path.Dir(dir) {
				if mayPanic[dir] != "" {
					used[dir] = true
					return
				}
			}
			if !guarded(work) {
				t.Errorf("%s: a panic in this goroutine would end the process: let guard.Do, guard.Call or guard.Loop do its work", fset.Position(start.Pos()))
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 30 {
		t.Fatalf("found %d goroutines: the test does not see them", found)
	}
	for allowed := range mayPanic {
		if !used[allowed] {
			t.Errorf("no goroutine is started in %s: take it off the list", allowed)
		}
	}
}

// eachGoroutine visits what starts goroutines, with the function that runs in
// them.
func eachGoroutine(file *ast.File, visit func(start ast.Node, work ast.Expr)) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if !isGuard(n.Call) {
				visit(n, n.Call.Fun)
			}
		case *ast.CallExpr:
			// (*sync.WaitGroup).Go, (*errgroup.Group).Go
			if isMethod(n, "Go") && len(n.Args) == 1 {
				visit(n, n.Args[0])
			}
			// time.AfterFunc, context.AfterFunc
			if isMethod(n, "AfterFunc") && len(n.Args) == 2 {
				visit(n, n.Args[1])
			}
		}
		return true
	})
}

// isMethod reports whether a call is one of x.name.
func isMethod(call *ast.CallExpr, name string) bool {
	method, ok := call.Fun.(*ast.SelectorExpr)
	return ok && method.Sel.Name == name
}

// guarded reports whether a function does nothing outside of a guard, but for
// deferred calls.
func guarded(work ast.Expr) bool {
	function, ok := work.(*ast.FuncLit)
	if !ok {
		return false
	}
	return !slices.ContainsFunc(function.Body.List, func(statement ast.Stmt) bool {
		switch s := statement.(type) {
		case *ast.DeferStmt:
			return false
		case *ast.ReturnStmt:
			// return nil, after it
			return slices.ContainsFunc(s.Results, func(e ast.Expr) bool { _, plain := e.(*ast.Ident); return !plain && !isGuard(e) })
		case *ast.SendStmt:
			return !isGuard(s.Value)
		case *ast.AssignStmt:
			return slices.ContainsFunc(s.Rhs, func(e ast.Expr) bool { return !isGuard(e) })
		case *ast.ExprStmt:
			return !isGuard(s.X)
		}
		return true
	})
}

// isGuard reports whether an expression is a call of manifests/guard.
func isGuard(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	function, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := function.X.(*ast.Ident)
	return ok && of.Name == "guard" && slices.Contains([]string{"Do", "Call", "Loop"}, function.Sel.Name)
}
