package load

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"headway.dev/manifests/fieldpath"
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
	for _, segment := range fieldpath.Parse(p.prefix) {
		if _, next := step(node, segment, nil); next != nil {
			node = next
		}
	}
	line := 0
	if p.prefix != "" {
		line = node.Line
	}
	for rest := fieldpath.Parse(field); len(rest) > 0; {
		at, next, used := find(node, rest)
		if next == nil {
			break
		}
		line, node, rest = at, next, rest[used:]
	}
	if line == 0 {
		return otherwise
	}
	return p.doc.line + line - 1
}

// find takes the first step of path from n. A map's key may itself have dots,
// which some paths do not put in brackets, so that it spans several segments.
func find(n *yaml.Node, path []fieldpath.Segment) (line int, next *yaml.Node, used int) {
	dotted := 1
	for dotted < len(path) && !path[dotted-1].Bracket && !path[dotted].Bracket {
		dotted++
	}
	for used = dotted; used > 0; used-- {
		if line, next = step(n, path[0], path[1:used]); next != nil {
			return line, next, used
		}
	}
	return 0, nil, 0
}

func step(n *yaml.Node, first fieldpath.Segment, more []fieldpath.Segment) (line int, next *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		texts := []string{first.Text}
		for _, m := range more {
			texts = append(texts, m.Text)
		}
		name := strings.Join(texts, ".")
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i].Line, n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if !first.Bracket || len(more) > 0 {
			return 0, nil
		}
		if i, err := strconv.Atoi(first.Text); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i].Line, n.Content[i]
		}
		for _, c := range n.Content {
			if matchesKey(c, first.Text) {
				return c.Line, c
			}
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return 0, nil
}

// matchesKey reports whether the list item has the merge keys of
// "name=web" or "port=80,protocol=TCP". A key that the item leaves out has its
// default, which cannot be known here, and so does not count.
func matchesKey(item *yaml.Node, keys string) bool {
	if !strings.Contains(keys, "=") {
		return item.Kind == yaml.ScalarNode && item.Value == keys
	}
	found := false
	for pair := range strings.SplitSeq(keys, ",") {
		k, v, _ := strings.Cut(pair, "=")
		c := child(item, k)
		if c == nil {
			continue
		}
		if c.Value != v {
			return false
		}
		found = true
	}
	return found
}

func child(n *yaml.Node, key string) *yaml.Node {
	_, c := step(n, fieldpath.Segment{Text: key}, nil)
	return c
}
