package edit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	kjson "k8s.io/apimachinery/pkg/util/json"
	syaml "sigs.k8s.io/yaml"

	"headway.dev/manifests/yaml/load"
)

// ID identifies an object of a file by what the file itself says about it. An
// empty Namespace matches an object without one, or of any. The zero ID is the
// only document of the file, such as a kustomization; see also Document.
type ID struct {
	APIVersion, Kind, Namespace, Name string

	document int // from 1
}

// Document selects a whole document of the file; documents count from 0.
func Document(index int) ID { return ID{document: index + 1} }

func (id ID) String() string {
	if id.document > 0 {
		return fmt.Sprintf("a document %d", id.document)
	}
	return id.Kind + " " + id.Name
}

// Error is the reason why a file cannot be edited.
type Error struct {
	File   string
	Line   int // 0 if it is about the whole file
	Reason string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Reason
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// Get returns what the file says about an object, in the types of JSON (numbers
// are int64 or float64), and the line on which it begins.
func Get(file string, data []byte, id ID) (value any, line int, err error) {
	p, err := find(file, data, id)
	if err != nil {
		return nil, 0, err
	}
	return p.value, p.doc.Line + p.node.Line - 1, nil
}

// Set makes the file declare want for an object, and changes nothing else.
func Set(file string, data []byte, id ID, want any) ([]byte, error) {
	p, err := find(file, data, id)
	if err != nil {
		return nil, err
	}
	wanted := normal(want)
	if wanted == nil {
		return nil, p.fail(p.node, "cannot be written as YAML")
	}
	return p.set(wanted, func(e *editor) error {
		return e.change(p.node, p.value, wanted, slot{key: -1})
	})
}

// Remove removes an object from the file. If empty is true, what is left
// contains no object: then the file is to be removed.
func Remove(file string, data []byte, id ID) (rest []byte, empty bool, err error) {
	p, err := find(file, data, id)
	if err != nil {
		return nil, false, err
	}
	if p.list != nil {
		return p.removeItem()
	}
	docs := load.Documents(file, data)
	if len(docs) == 1 {
		return nil, true, nil
	}
	if p.doc.JSON {
		return nil, false, p.fail(p.node, "stands among other JSON objects; edit the file")
	}
	// With the marker in front of it, or that behind it for the first one.
	start, end := p.doc.Start, p.doc.End
	if p.index > 0 {
		start = bytes.LastIndex(data[:start], []byte("---"))
	} else {
		start, end = 0, bytes.Index(data[end:], []byte("---"))+end
		end += bytes.IndexByte(data[end:], '\n') + 1
	}
	rest = slices.Concat(data[:start], data[end:])
	if got := load.Documents(file, rest); len(got) != len(docs)-1 {
		return nil, false, p.fail(p.node, "cannot be taken out of the file; edit the file")
	}
	return rest, false, nil
}

// place is where an object stands.
type place struct {
	file  string
	data  []byte
	doc   load.Document
	index int // of the document
	text  *text
	root  *yaml.Node
	node  *yaml.Node // the object
	value any
	list  *yaml.Node // of the items if the object is one of a List
	item  int
	whole any // value of the document
}

func (p *place) fail(n *yaml.Node, format string, args ...any) error {
	return &Error{File: p.file, Line: p.doc.Line + n.Line - 1, Reason: fmt.Sprintf(format, args...)}
}

// find looks for the object in every document, and in those that are lists.
func find(file string, data []byte, id ID) (*place, error) {
	docs := load.Documents(file, data)
	if id == (ID{}) {
		if len(docs) != 1 {
			return nil, &Error{File: file, Reason: fmt.Sprintf("has %d documents, not one", len(docs))}
		}
	}
	var found []*place
	for i, d := range docs {
		base := place{file: file, data: data, doc: d, index: i}
		if err := base.parse(); err != nil {
			return nil, err
		}
		if id == (ID{}) || id.document == i+1 || id.document == 0 && base.is(id) {
			found = append(found, &base)
			continue
		}
		if id.document == 0 {
			found = append(found, base.items(id)...)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if exact := slices.DeleteFunc(slices.Clone(found), func(p *place) bool { return text1(p.value, "metadata", "namespace") != id.Namespace }); len(exact) == 1 {
		found = exact
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, &Error{File: file, Reason: "does not declare " + id.String()}
	}
	return nil, &Error{File: file, Reason: "declares " + id.String() + " more than once"}
}

func (p *place) parse() error {
	raw := p.data[p.doc.Start:p.doc.End]
	fail := func(reason string) error { return &Error{File: p.file, Line: p.doc.Line, Reason: reason} }
	var err error
	if p.text, err = newText(raw); err != nil {
		return fail(err.Error())
	}
	source := raw
	if p.doc.JSON {
		source = bytes.ReplaceAll(raw, []byte("\t"), []byte(" "))
	}
	var root yaml.Node
	if err := yaml.Unmarshal(source, &root); err != nil || len(root.Content) != 1 {
		return fail("cannot be parsed")
	}
	if p.whole, err = decode(raw, p.doc.JSON); err != nil {
		return fail("cannot be parsed")
	}
	p.root = root.Content[0]
	p.node, p.value = p.root, p.whole
	return nil
}

// decode reads a document as the loader does.
func decode(raw []byte, isJSON bool) (any, error) {
	if !isJSON {
		var err error
		if raw, err = syaml.YAMLToJSONStrict(raw); err != nil {
			return nil, err
		}
	}
	var v any
	if err := kjson.Unmarshal(raw, &v); err != nil || v == nil {
		return nil, errors.Join(err, errors.New("an empty document"))
	}
	return v, nil
}

// normal is a value in the types that decode gives.
func normal(v any) any {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	if err := kjson.Unmarshal(raw, &out); err != nil {
		return nil
	}
	return out
}

func (p *place) is(id ID) bool {
	ns := text1(p.value, "metadata", "namespace")
	return text1(p.value, "apiVersion") == id.APIVersion && text1(p.value, "kind") == id.Kind && text1(p.value, "metadata", "name") == id.Name &&
		(ns == "" || id.Namespace == "" || ns == id.Namespace)
}

// items looks into a List.
func (p *place) items(id ID) []*place {
	doc, _ := p.value.(map[string]any)
	values, ok := doc["items"].([]any)
	if !ok || !strings.HasSuffix(text1(p.value, "kind"), "List") || p.node.Kind != yaml.MappingNode {
		return nil
	}
	var found []*place
	for i := 0; i+1 < len(p.node.Content); i += 2 {
		list := p.node.Content[i+1]
		if p.node.Content[i].Value != "items" || list.Kind != yaml.SequenceNode || len(list.Content) != len(values) {
			continue
		}
		for j, n := range list.Content {
			item := *p
			item.node, item.list, item.item = n, list, j
			if item.value = values[j]; item.is(id) {
				found = append(found, &item)
			}
		}
	}
	return found
}

func text1(v any, path ...string) string {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	s, _ := v.(string)
	return s
}

// set runs a change, applies what it found and reads the result again.
func (p *place) set(wanted any, change func(*editor) error) ([]byte, error) {
	e := newEditor(p)
	if err := change(e); err != nil {
		return nil, err
	}
	out := slices.Concat(p.data[:p.doc.Start], e.apply(), p.data[p.doc.End:])
	before, after := load.Documents(p.file, p.data), load.Documents(p.file, out)
	lost := p.fail(p.node, "cannot be edited so that it says what was asked; edit the file")
	if len(before) != len(after) {
		return nil, lost
	}
	for i := range before {
		if i != p.index && !bytes.Equal(p.data[before[i].Start:before[i].End], out[after[i].Start:after[i].End]) {
			return nil, lost
		}
	}
	got, err := decode(out[after[p.index].Start:after[p.index].End], p.doc.JSON)
	if err != nil {
		return nil, lost
	}
	want := wanted
	if p.list != nil {
		doc, _ := normal(p.whole).(map[string]any)
		items, _ := doc["items"].([]any)
		if wanted != nil {
			items[p.item] = wanted
		} else {
			doc["items"] = slices.Delete(items, p.item, p.item+1)
		}
		want = doc
	}
	if !reflect.DeepEqual(normal(got), want) {
		return nil, lost
	}
	return out, nil
}

func (p *place) removeItem() ([]byte, bool, error) {
	doc, _ := p.whole.(map[string]any)
	values, _ := doc["items"].([]any)
	rest := slices.Delete(slices.Clone(values), p.item, p.item+1)
	if len(rest) == 0 {
		return nil, true, nil
	}
	out, err := p.set(nil, func(e *editor) error {
		return e.change(p.list, values, rest, slot{key: -1})
	})
	return out, false, err
}

// editor gathers the changes to one document.
type editor struct {
	*text
	*place
	style   style
	splices []splice
}

// splice replaces the bytes from start to end.
type splice struct {
	start, end int
	text       string
}

func newEditor(p *place) *editor {
	return &editor{text: p.text, place: p, style: styleOf(p.root, p.doc.JSON)}
}

func (e *editor) splice(start, end int, text string) {
	e.splices = append(e.splices, splice{start, end, text})
}

// apply makes the new document. Changes at one place stand in the order in
// which they were made.
func (e *editor) apply() []byte {
	slices.SortStableFunc(e.splices, func(a, b splice) int { return cmp.Compare(a.start, b.start) })
	var out []byte
	done := 0
	for _, s := range e.splices {
		out = append(out, e.src[done:max(done, s.start)]...)
		out = append(out, s.text...)
		done = max(done, s.end)
	}
	return append(out, e.src[done:]...)
}

// styleOf looks at how the document indents: the first example of each counts.
func styleOf(root *yaml.Node, isJSON bool) style {
	s := style{step: -1, items: -1, json: isJSON}
	var walk func(n *yaml.Node, column int)
	walk = func(n *yaml.Node, column int) {
		if n.Kind != yaml.MappingNode && n.Kind != yaml.SequenceNode || n.Style&yaml.FlowStyle != 0 {
			return
		}
		for i, c := range n.Content {
			if n.Kind == yaml.SequenceNode || i%2 == 1 {
				own := c.Column
				if c.Kind == yaml.MappingNode && c.Style&yaml.FlowStyle == 0 && len(c.Content) > 0 {
					own = c.Content[0].Column
				}
				inMapping := n.Kind == yaml.MappingNode && c.Style&yaml.FlowStyle == 0 && c.Anchor == ""
				if inMapping && c.Kind == yaml.MappingNode && s.step < 0 && own > column {
					s.step = own - column
				}
				if inMapping && c.Kind == yaml.SequenceNode && s.items < 0 && own >= column {
					s.items = own - column
				}
				walk(c, own)
			}
		}
	}
	walk(root, 1)
	if s.step < 0 {
		s.step = 2
	}
	if s.items < 0 {
		s.items = s.step
	}
	return s
}
