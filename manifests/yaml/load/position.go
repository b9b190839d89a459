package load

import (
	"strconv"

	"headway.dev/manifests/model/fieldpath"
)

// position is an object's place in a document: the whole document, or one
// item of a list in it.
type position struct {
	doc    *document
	prefix string // path of the object in the document ("items[3]")
}

func (p *position) item(i int) *position {
	prefix := "items[" + strconv.Itoa(i) + "]"
	if p.prefix != "" {
		prefix = p.prefix + "." + prefix
	}
	return &position{doc: p.doc, prefix: prefix}
}

// source is where the field is; of the object itself, where its first key is.
func (p *position) source(field string) Source {
	s := p.doc.source()
	s.Line = p.lineOf(field, s.Line)
	return s
}

// lineOf is the line of a field, or of the nearest one around it that the
// document holds; otherwise is the answer if that is the whole object.
func (p *position) lineOf(field string, otherwise int) int {
	if p == nil || field == "" && p.prefix == "" {
		return otherwise
	}
	node, err := p.doc.nodes()
	if err != nil {
		return otherwise
	}
	_, node, _ = fieldpath.Nearest(node, fieldpath.Parse(p.prefix))
	line := 0
	if p.prefix != "" {
		line = node.Line
	}
	if key, _, _ := fieldpath.Nearest(node, fieldpath.Parse(field)); key != nil {
		line = key.Line
	}
	if line == 0 {
		return otherwise
	}
	return p.doc.line + line - 1
}
