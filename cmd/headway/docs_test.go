package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/gitops"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/report"
	"headway.dev/cmd/headway/review"
	"headway.dev/syncer/wire"
)

// jsonOutputs are what commands print with -o json.
var jsonOutputs = []struct {
	command string
	value   any
	stream  bool
}{
	{command: "status", value: wire.Status{}},
	{command: "sync", value: wire.Event{}, stream: true},
	{command: "plan", value: wire.Plans{}},
	{command: "diff", value: wire.Plans{}},
	{command: "validate", value: review.Validated{}},
	{command: "rollback", value: gitops.RollbackOutcome{}},
	{command: "suspend", value: gitops.Suspension{}},
	{command: "resume", value: gitops.Suspension{}},
	{command: "log", value: []wire.LogEntry{}},
	{command: "log --verify", value: wire.Verification{}},
	{command: "blame", value: wire.Blame{}},
	{command: "why", value: wire.Why{}},
	{command: "get", value: wire.PastObject{}},
	{command: "image import", value: []importedImage{}},
	{command: "secrets rotate", value: rotated{}},
	{command: "version", value: versionInfo{}},
}

// What the pages of workloads show is valid.
func TestWorkloadPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/workloads/*.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, examples := t.TempDir(), 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "\n```yaml\n")[1:] {
			manifest, _, closed := strings.Cut(part, "\n```\n")
			if !closed {
				t.Fatalf("%s: an example has no end", page)
			}
			name := fmt.Sprintf("%s-%d.yaml", strings.TrimSuffix(filepath.Base(page), ".md"), i)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(manifest+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			examples++
		}
	}
	if examples < 10 {
		t.Errorf("%d pages have %d examples", len(pages), examples)
	}
	if code, out, errOut := headway(t, "validate", dir); code != cli.ExitOK || strings.Contains(errOut, "warning") {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
}

// docs/commands.md lists all commands with their flags; -update writes it.
func TestCommandsPage(t *testing.T) {
	root := newRoot(strings.NewReader(""), io.Discard, io.Discard)
	root.InitDefaultCompletionCmd()
	var page strings.Builder
	page.WriteString("# Commands\n\nAll commands and their flags. A test keeps this page equal to `--help`.\n\nEvery command takes these flags:\n\n")
	fmt.Fprintf(&page, "```\n%s```\n", root.PersistentFlags().FlagUsages())
	described := map[*cobra.Command]bool{}
	var describe func(*cobra.Command)
	describe = func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() && cmd.Name() != "man" || cmd.Name() == "help" || described[cmd] {
			return
		}
		described[cmd] = true
		if cmd.Runnable() && cmd != root {
			fmt.Fprintf(&page, "\n## %s\n\n", cmd.CommandPath())
			fmt.Fprintf(&page, "%s\n\n```\n%s\n```\n", strings.ReplaceAll(cmp.Or(cmd.Long, cmd.Short), "\n\t", "\n    "), cmd.UseLine())
			if flags := cmd.LocalNonPersistentFlags().FlagUsages(); flags != "" {
				fmt.Fprintf(&page, "\n```\n%s```\n", flags)
			}
			if cmd.HasExample() {
				fmt.Fprintf(&page, "\nExamples:\n\n```sh\n%s\n```\n", cmd.Example)
			}
		}
		for _, child := range cmd.Commands() {
			describe(child)
		}
	}
	describe(root)
	headwaytest.Golden(t, "../../docs/commands.md", page.String())
}

// docs/json.md says what -o json prints, from the types and their comments;
// -update writes it.
func TestJSONPage(t *testing.T) {
	comments := typeComments(t, "../../syncer/wire", ".", "gitops", "review")
	page := &strings.Builder{}
	fmt.Fprintf(page, `# The JSON of -o json

Every object that a command prints with `+"`-o json`"+`, each element of a list and each
line of a stream has the field `+"`apiVersion`"+`, which is `+"`%s`"+`. Within a
version, fields may be added, but none is removed or changes its meaning. An optional
field is omitted if it has no value. Times are RFC 3339. A test keeps this page equal
to the program.

`, report.JsonVersion)
	var queue []reflect.Type
	for _, o := range jsonOutputs {
		typ := reflect.TypeOf(o.value)
		what := "an object"
		if typ.Kind() == reflect.Slice {
			typ, what = typ.Elem(), "a list of objects"
		}
		if o.stream {
			what = "an object a line"
		}
		fmt.Fprintf(page, "- `%s` prints %s: [%s](#%s)\n", o.command, what, typ.Name(), strings.ToLower(typ.Name()))
		queue = append(queue, typ)
	}
	var done []reflect.Type
	for len(queue) > 0 {
		typ := queue[0]
		queue = queue[1:]
		if slices.Contains(done, typ) {
			continue
		}
		done = append(done, typ)
		fmt.Fprintf(page, "\n## %s\n\n", typ.Name())
		if c := comments[typ.Name()]; c != "" {
			fmt.Fprintf(page, "%s\n\n", c)
		}
		page.WriteString("| field | type | |\n|---|---|---|\n")
		queue = append(queue, jsonFields(page, typ, comments)...)
	}
	headwaytest.Golden(t, "../../docs/json.md", page.String())
}

// jsonFields writes the rows of a type, and returns the types of its fields.
func jsonFields(page *strings.Builder, typ reflect.Type, comments map[string]string) (more []reflect.Type) {
	for f := range typ.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			more = append(more, jsonFields(page, f.Type, comments)...)
			continue
		}
		inner, kind := f.Type, ""
		for again := true; again; {
			switch again = true; {
			case inner.Kind() == reflect.Pointer:
				inner = inner.Elem()
			case inner.Kind() == reflect.Slice:
				inner, kind = inner.Elem(), kind+"list of "
			case inner.Kind() == reflect.Map:
				inner, kind = inner.Elem(), kind+"map of "
			default:
				again = false
			}
		}
		switch {
		case inner.String() == "time.Time":
			kind += "time"
		case inner.Kind() == reflect.Interface:
			kind += "any"
		case inner.Kind() == reflect.Struct:
			kind += fmt.Sprintf("[%s](#%s)", inner.Name(), strings.ToLower(inner.Name()))
			more = append(more, inner)
		case inner.Kind() == reflect.Bool, inner.Kind() == reflect.String:
			kind += inner.Kind().String()
		default:
			kind += "number"
		}
		if strings.Contains(opts, "omit") {
			kind += ", optional"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s |\n", name, kind, strings.ReplaceAll(comments[typ.Name()+"."+f.Name], "|", "\\|"))
	}
	return more
}

// typeComments are the comments of the types, and of their fields, of packages.
func typeComments(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	comments := map[string]string{}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no Go files in %s: %v", dir, err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				decl, ok := n.(*ast.GenDecl)
				if !ok {
					return true
				}
				for _, spec := range decl.Specs {
					typ, ok := spec.(*ast.TypeSpec)
					if !ok {
						continue
					}
					comments[typ.Name.Name] = strings.TrimSpace(decl.Doc.Text())
					if s, ok := typ.Type.(*ast.StructType); ok {
						for _, f := range s.Fields.List {
							for _, name := range f.Names {
								comments[typ.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
							}
						}
					}
				}
				return true
			})
		}
	}
	return comments
}

// The manual has a page of each command.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if code, out, errOut := headway(t, "man", dir); code != cli.ExitOK || !strings.Contains(out, "pages in "+dir) {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	for name, words := range map[string][]string{
		"headway.1":              {".TH \"HEADWAY\" \"1\"", "data-dir"},
		"headway-plan.1":         {"headway-plan - Show what a commit", "merge-requests/12"},
		"headway-image-import.1": {"docker save"},
	} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		headwaytest.Shows(t, name, string(page), words...)
	}
}

// A shell completes kinds, and the names of what the cluster has.
func TestCompletion(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": coloured("red")}, nil)
	head := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	s.deployed(head)
	for _, c := range []struct{ typed, want string }{
		{"blame dep", "deployment/\n"},
		{"blame configmap/se", "configmap/settings\n"},
		{"log cm/", "cm/settings\n"},
		{"get cm/ -n default", "cm/settings\n"},
		{"rollback ", report.ShortSHA(head) + "\tchange\n"},
		{"sync --source ", "headway-system/cluster\n"},
		{"diff --kustomization ", "headway-system/cluster\n"},
		{"st", "status\t"},
	} {
		args := strings.Split(c.typed, " ")
		if len(args) == 4 { // a flag behind what is completed
			args = []string{args[0], args[2], args[3], args[1]}
		}
		if out := s.must(cli.ExitOK, append([]string{"__complete"}, args...)...); !strings.Contains(out, c.want) {
			t.Errorf("%q completes to %q, want %q", c.typed, out, c.want)
		}
	}
	if code, out, _ := headway(t, "completion", "bash"); code != cli.ExitOK || !strings.Contains(out, "__start_headway") {
		t.Errorf("completion bash: exit code %d\n%.200s", code, out)
	}
}
