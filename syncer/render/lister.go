package render

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"headway.dev/syncer/tree"
)

// Bounds of what is read of a Kustomization that cannot be rendered. Of one that
// has more it is not known what it names.
const (
	maxReferenceFile  = 1 << 20
	maxReferenceFiles = 2000
	maxReferenceBytes = 16 << 20 // of all files together
	// maxReferences bounds the documents, and what they name and refer to.
	maxReferences = 50_000
)

var (
	document = regexp.MustCompile(`(?m)^---.*$`)
	kindLine = regexp.MustCompile(`(?m)^\s*["']?kind["']?:\s*["']?([A-Za-z]+)["']?,?\s*(?:#.*)?$`)
	nameLine = regexp.MustCompile(`(?m)^\s*["']?name["']?:\s*["']?([^\s"',#]+)["']?,?\s*(?:#.*)?$`)
	flowName = regexp.MustCompile(`(?m)\{[^}\n]*\bname:\s*["']?([^\s"',}]+)`)
)

// ReferencesIn returns the objects that the manifests below a directory name,
// and those that its kustomizations refer to.
func ReferencesIn(ctx context.Context, files tree.Tree, dir string) *References {
	l := &lister{ctx: ctx, files: files, seen: map[string]bool{}, refs: &References{byKind: map[string][]reference{}, known: map[reference]bool{}}}
	l.dir(cmp.Or(dir, "."))
	l.refs.known = nil
	return l.refs
}

// lister reads the files of what cannot be rendered.
type lister struct {
	ctx   context.Context //nolint:containedctx // of the one walk
	files tree.Tree
	seen  map[string]bool
	read  int // bytes
	found int // documents, and what they name
	refs  *References
}

// goOn reports whether to read on: not when it is no longer waited for, nor beyond
// the bounds.
func (l *lister) goOn() bool {
	if l.ctx.Err() != nil || len(l.seen) > maxReferenceFiles || l.read > maxReferenceBytes || l.found > maxReferences {
		l.refs.all = true
	}
	return !l.refs.all
}

func (l *lister) dir(dir string) {
	// A file that cannot be read names nothing, and nothing is returned.
	_ = fs.WalkDir(l.files, dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err == nil && d.Type().IsRegular():
			l.file(p)
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid):
			l.refs.all = true // it cannot be listed
		}
		if !l.goOn() {
			return fs.SkipAll
		}
		return nil
	})
}

func (l *lister) file(p string) {
	ext := path.Ext(p)
	if l.seen[p] || ext != ".yaml" && ext != ".yml" && ext != ".json" && path.Base(p) != "Kustomization" {
		return
	}
	l.seen[p] = true
	if !l.goOn() {
		return
	}
	f, err := l.files.Open(p)
	if err != nil {
		return
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxReferenceFile+1))
	if err != nil {
		return
	}
	if l.read += len(data); len(data) > maxReferenceFile {
		l.refs.all = true
	}
	for rest := string(data); rest != "" && l.goOn(); {
		text := rest
		if at := document.FindStringIndex(rest); at != nil {
			text, rest = rest[:at[0]], rest[at[1]:]
		} else {
			rest = ""
		}
		if strings.TrimSpace(text) != "" {
			l.document(path.Dir(p), text)
		}
	}
}

func (l *lister) document(dir, text string) {
	l.found++
	var doc yaml.Node
	if err := yaml.NewDecoder(strings.NewReader(text)).Decode(&doc); err != nil || len(doc.Content) == 0 {
		l.broken(text)
		return
	}
	l.object(dir, doc.Content[0])
}

// add notes a reference.
func (l *lister) add(r reference) {
	if l.refs.known[r] || !l.goOn() {
		return
	}
	l.found++
	l.refs.known[r] = true
	l.refs.byKind[r.kind] = append(l.refs.byKind[r.kind], r)
}

// broken finds what a document that is no YAML names line by line.
func (l *lister) broken(text string) {
	doc := brokenDoc{map[string]bool{}, map[string]bool{}}
	for _, pattern := range []*regexp.Regexp{kindLine, nameLine, flowName} {
		set := doc.names
		if pattern == kindLine {
			set = doc.kinds
		}
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			set[m[1]] = true
		}
	}
	if l.found += len(doc.kinds) + len(doc.names); len(doc.kinds) > 0 && len(doc.names) > 0 {
		l.refs.broken = append(l.refs.broken, doc)
	}
}

// object notes what a document declares, and follows a kustomization.
func (l *lister) object(dir string, n *yaml.Node) {
	kind, meta := child(n, "kind"), child(n, "metadata")
	switch {
	case kind != nil && strings.HasSuffix(kind.Value, "List") && child(n, "items") != nil:
		for _, item := range child(n, "items").Content {
			l.object(dir, item)
		}
	case child(n, "resources") != nil || kind != nil && (kind.Value == "Kustomization" || kind.Value == "Component") && child(n, "spec") == nil:
		l.kustomization(dir, n)
	}
	if kind != nil && meta != nil {
		l.add(reference{kind: kind.Value, name: value(meta, "name"), namespace: value(meta, "namespace")})
	}
}

func (l *lister) kustomization(dir string, n *yaml.Node) {
	note := func(list *[]string, field string) {
		v := value(n, field)
		if v == "" || slices.Contains(*list, v) {
			return
		}
		if *list = append(*list, v); len(*list) > maxAffixes {
			l.refs.all = true
		}
	}
	note(&l.refs.around.prefixes, "namePrefix")
	note(&l.refs.around.suffixes, "nameSuffix")
	note(&l.refs.around.namespaces, "namespace")
	for field, kind := range map[string]string{"configMapGenerator": "ConfigMap", "secretGenerator": "Secret"} {
		for _, g := range entries(n, field) {
			l.add(reference{kind: kind, name: value(g, "name"), namespace: value(g, "namespace"), generated: true})
		}
	}
	for _, field := range []string{"resources", "bases", "components"} {
		for _, e := range entries(n, field) {
			if l.found++; !l.goOn() {
				return
			}
			p := path.Join(dir, e.Value)
			info, err := fs.Stat(l.files, p)
			switch {
			case err != nil || l.seen["dir "+p]:
			case info.IsDir():
				l.seen["dir "+p] = true
				l.dir(p)
			default:
				l.file(p)
			}
		}
	}
}

// child is the value of a mapping's field, or nil.
func child(n *yaml.Node, field string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == field {
			return n.Content[i+1]
		}
	}
	return nil
}

func value(n *yaml.Node, field string) string {
	if c := child(n, field); c != nil {
		return c.Value
	}
	return ""
}

func entries(n *yaml.Node, field string) []*yaml.Node {
	if c := child(n, field); c != nil && c.Kind == yaml.SequenceNode {
		return c.Content
	}
	return nil
}
