package syncer

import (
	"bytes"
	"cmp"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"go.yaml.in/yaml/v3"

	"headway.dev/manifests/object"
)

const (
	// maxReferenceFile and maxReferenceFiles bound what is read of a Kustomization
	// that cannot be rendered.
	maxReferenceFile  = 1 << 20
	maxReferenceFiles = 2000
)

// reference is an object that a file declares, as far as can be told without
// rendering it.
type reference struct {
	kind, name, namespace string
	// generated says that the name ends in a hash when it is rendered.
	generated bool
	around    *affixes
}

// affixes are what the kustomizations of a directory put around names, and the
// namespaces that they set.
type affixes struct{ prefixes, suffixes, namespaces []string }

// fits says whether the reference is to the object, whatever of it can only be
// told by rendering.
func (r reference) fits(ks *kustomizev1.Kustomization, key object.Key) bool {
	if r.kind != key.Kind {
		return false
	}
	set := append([]string{ks.Spec.TargetNamespace}, r.around.namespaces...)
	switch {
	case key.Namespace == "" || variable(r.namespace) || slices.ContainsFunc(set, func(ns string) bool { return ns != "" && (ns == key.Namespace || variable(ns)) }):
	case r.namespace == "" && key.Namespace == "default":
	case r.namespace != key.Namespace:
		return false
	}
	names := []string{key.Name}
	cut := func(by []string, trim func(string, string) string) {
		for _, affix := range by {
			for _, name := range slices.Clone(names) {
				if short := trim(name, affix); affix != "" && short != name {
					names = append(names, short)
				}
			}
		}
	}
	cut(append([]string{ks.Spec.NamePrefix}, r.around.prefixes...), strings.TrimPrefix)
	if r.generated {
		for _, name := range slices.Clone(names) {
			if m := hashedName.FindStringSubmatch(name); m != nil {
				names = append(names, m[1])
			}
		}
	}
	cut(append([]string{ks.Spec.NameSuffix}, r.around.suffixes...), strings.TrimSuffix)
	if !variable(r.name) {
		return slices.Contains(names, r.name)
	}
	// The parts around variables have to be the same.
	parts := expression.Split(r.name, -1)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	pattern, err := regexp.Compile("^" + strings.Join(parts, ".*") + "$")
	return err == nil && slices.ContainsFunc(names, pattern.MatchString)
}

var (
	hashedName = regexp.MustCompile(`^(.+)-[2456789bcdfghkmt]{10}$`)
	expression = regexp.MustCompile(`\$\{[^}]*\}`)
	document   = regexp.MustCompile(`(?m)^---.*$`)
	kindLine   = regexp.MustCompile(`(?m)^\s*["']?kind["']?:\s*["']?([A-Za-z]+)["']?,?\s*(?:#.*)?$`)
	nameLine   = regexp.MustCompile(`(?m)^\s*["']?name["']?:\s*["']?([^\s"',#]+)["']?,?\s*(?:#.*)?$`)
	flowName   = regexp.MustCompile(`(?m)\{[^}\n]*\bname:\s*["']?([^\s"',}]+)`)
)

func variable(text string) bool { return strings.Contains(text, "${") }

// referencesIn are the objects that the manifests below a directory name, and
// those that its kustomizations refer to.
func referencesIn(files tree, dir string) []reference {
	l := &lister{files: files, seen: map[string]bool{}, around: &affixes{}}
	l.dir(cmp.Or(dir, "."))
	return l.found
}

// lister reads the files of what cannot be rendered.
type lister struct {
	files  tree
	seen   map[string]bool
	around *affixes
	found  []reference
}

func (l *lister) dir(dir string) {
	// What cannot be read names nothing, and nothing is returned.
	_ = fs.WalkDir(l.files, dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			l.file(p)
		}
		if len(l.seen) > maxReferenceFiles {
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
	f, err := l.files.Open(p)
	if err != nil {
		return
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxReferenceFile))
	if err != nil {
		return
	}
	for _, text := range document.Split(string(data), -1) {
		var doc yaml.Node
		if err := yaml.NewDecoder(bytes.NewReader([]byte(text))).Decode(&doc); err != nil || len(doc.Content) == 0 {
			l.broken(text)
			continue
		}
		l.object(path.Dir(p), doc.Content[0])
	}
}

// broken finds what a document that is no YAML names line by line.
func (l *lister) broken(text string) {
	for _, kind := range kindLine.FindAllStringSubmatch(text, -1) {
		for _, pattern := range []*regexp.Regexp{nameLine, flowName} {
			for _, name := range pattern.FindAllStringSubmatch(text, -1) {
				l.found = append(l.found, reference{kind: kind[1], name: name[1], namespace: "${unknown}", around: l.around})
			}
		}
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
		l.found = append(l.found, reference{kind: kind.Value, name: value(meta, "name"), namespace: value(meta, "namespace"), around: l.around})
	}
}

func (l *lister) kustomization(dir string, n *yaml.Node) {
	note := func(list *[]string, field string) {
		if v := value(n, field); v != "" && !slices.Contains(*list, v) {
			*list = append(*list, v)
		}
	}
	note(&l.around.prefixes, "namePrefix")
	note(&l.around.suffixes, "nameSuffix")
	note(&l.around.namespaces, "namespace")
	for field, kind := range map[string]string{"configMapGenerator": "ConfigMap", "secretGenerator": "Secret"} {
		for _, g := range entries(n, field) {
			l.found = append(l.found, reference{kind: kind, name: value(g, "name"), namespace: value(g, "namespace"), generated: true, around: l.around})
		}
	}
	for _, field := range []string{"resources", "bases", "components"} {
		for _, e := range entries(n, field) {
			p := path.Join(dir, e.Value)
			info, err := fs.Stat(l.files, p)
			switch {
			case err != nil || len(l.seen) > maxReferenceFiles || l.seen["dir "+p]:
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
