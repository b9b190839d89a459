package origin

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"go.yaml.in/yaml/v3"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/yaml/load"
)

const (
	// maxFile bounds one file, in bytes, as a load does.
	maxFile = 5 << 20
	// maxRead bounds how many files are read for one object.
	maxRead = 10_000
)

// files reads the files of a tree, each once.
type files struct {
	tree  fs.FS
	known map[string][]*document
	order []string
	data  map[string][]byte
}

func newFiles(tree fs.FS) *files {
	return &files{tree: tree, known: map[string][]*document{}, data: map[string][]byte{}}
}

// document is one document of a file, or of a text in a file.
type document struct {
	file  string
	lines [][]byte // of the file
	shift int      // what to add to the nodes' lines
	index int      // among the file's documents
	root  *yaml.Node
	// field and inner are set for a document that stands as text in another.
	field string
	inner bool
	spec  bool // of the Flux Kustomization, which is in no file
	files *files
}

func (f *files) read(name string) ([]byte, error) {
	if data, ok := f.data[name]; ok {
		return data, nil
	}
	if len(f.data) >= maxRead {
		return nil, fmt.Errorf("%s: more than %d files take part", name, maxRead)
	}
	file, err := f.tree.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("larger than %d bytes", maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	f.data[name] = data
	f.order = append(f.order, name)
	return data, nil
}

// documents parses a file; what comes after a fault is left out.
func (f *files) documents(name string) ([]*document, error) {
	if docs, ok := f.known[name]; ok {
		return docs, nil
	}
	data, err := f.read(name)
	if err != nil {
		return nil, err
	}
	docs := parse(name, data)
	for _, d := range docs {
		d.files = f
	}
	f.known[name] = docs
	return docs, nil
}

func parse(name string, data []byte) []*document {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		// JSON is YAML but for tabs, which JSON has between tokens only.
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	var docs []*document
	lines := bytes.Split(data, []byte("\n"))
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for index := 0; ; {
		var node yaml.Node
		err := dec.Decode(&node)
		if err != nil { // the end, or a fault that the load would have reported
			return docs
		}
		if len(node.Content) == 0 || node.Content[0].Tag == "!!null" {
			continue // blank
		}
		docs = append(docs, &document{file: name, lines: lines, index: index, root: node.Content[0]})
		index++
	}
}

// text parses the documents that stand as text at a value, such as an inline
// patch.
func (d *document) text(value *yaml.Node, field string) []*document {
	docs := parse(d.file, []byte(value.Value))
	for _, doc := range docs {
		doc.shift = d.shift + value.Line - 1
		if value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			doc.shift++ // below the line of the key
		}
		doc.lines, doc.index, doc.field, doc.inner, doc.spec, doc.files = d.lines, d.index, field, true, d.spec, d.files
	}
	return docs
}

// origin is the place of a value in the document.
func (d *document) origin(how How, key, value *yaml.Node, field string) Origin {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	o := Origin{How: how, Document: d.index, Field: field, Exact: true}
	if d.inner {
		o.Field, o.Inline = d.field, field
	}
	if d.spec {
		return o
	}
	o.Source = load.Source{File: d.file, Line: key.Line + d.shift}
	o.End = max(o.Source.Line, d.end(key, value))
	return o
}

// origin prefixes the path of an item of a list.
func (p *place) origin(how How, key, value *yaml.Node, field string) Origin {
	o := p.document.origin(how, key, value, field)
	switch p.prefix {
	case "":
	default:
		o.Field = p.prefix + "." + o.Field
	}
	return o
}

// end is the last line of a value: that of its last part, and of a text that
// spans lines the last that is indented below the key.
func (d *document) end(key, value *yaml.Node) int {
	last := value
	for last.Kind != yaml.AliasNode && len(last.Content) > 0 {
		last = last.Content[len(last.Content)-1]
	}
	line := max(key.Line, last.Line) + d.shift
	if last.Kind != yaml.ScalarNode || last.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && !strings.Contains(last.Value, " ") {
		return line
	}
	indent := key.Column
	if last != value {
		indent = max(last.Column-1, key.Column)
	}
	end := line
	for i := line; i < len(d.lines); i++ { // the line after, counted from 0
		text := bytes.TrimRight(d.lines[i], " \t\r")
		if len(text) == 0 {
			continue
		}
		if len(text)-len(bytes.TrimLeft(text, " ")) < indent {
			break
		}
		end = i + 1
	}
	return end
}

// objects lists the objects of a file, also those in lists.
func (f *files) objects(name string) ([]*place, error) {
	docs, err := f.documents(name)
	if err != nil {
		return nil, err
	}
	var out []*place
	for _, d := range docs {
		out = append(out, objectsOf(&place{document: d, node: d.root}, 0)...)
	}
	return out, nil
}

func objectsOf(p *place, depth int) []*place {
	items := fieldpath.Child(p.node, "items")
	if items == nil || depth > 8 || !strings.HasSuffix(scalar(p.node, "kind"), "List") {
		return []*place{p}
	}
	var out []*place
	for i, item := range items.Content {
		at := fmt.Sprintf("items[%d]", i)
		if p.prefix != "" {
			at = p.prefix + "." + at
		}
		out = append(out, objectsOf(&place{document: p.document, prefix: at, node: item}, depth+1)...)
	}
	return out
}

// scalar is the text at a path, or empty.
func scalar(n *yaml.Node, field string) string {
	_, v := fieldpath.Lookup(n, field)
	if v != nil && v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	if v == nil || v.Kind != yaml.ScalarNode {
		return ""
	}
	return v.Value
}
