package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"headway.dev/manifests/model/fieldpath"
)

// maxExpanded bounds the nodes of a YAML document once its aliases are
// replaced by what they stand for.
const maxExpanded = 200_000

// document is one document of a file.
type document struct {
	file string
	line int // of the first byte of data
	data []byte
	json bool

	nodes func() (*yaml.Node, error)
}

func newDocument(file string, line int, data []byte, isJSON bool) *document {
	d := &document{file: file, line: line, data: data, json: isJSON}
	// Positions are needed for faults only, so they are found on first use.
	d.nodes = sync.OnceValues(func() (*yaml.Node, error) {
		data := d.data
		if d.json {
			// JSON is YAML but for tabs, which JSON has between tokens only.
			data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
		}
		var root yaml.Node
		if err := yaml.Unmarshal(data, &root); err != nil {
			return nil, err
		}
		if len(root.Content) == 0 {
			return nil, errors.New("empty document")
		}
		return root.Content[0], nil
	})
	return d
}

// source is where the document's first key is.
func (d *document) source() Source {
	line := d.line
	for text := range bytes.Lines(d.data) {
		if t := bytes.TrimSpace(text); len(t) > 0 && t[0] != '#' {
			return Source{File: d.file, Line: line}
		}
		line++
	}
	return Source{File: d.file, Line: d.line}
}

// split cuts a file into its documents, leaving out empty ones.
func split(file string, data []byte) []*document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if docs, ok := splitJSON(file, data); ok {
		return docs
	}
	var docs []*document
	start, startLine, line, offset := 0, 1, 1, 0
	flush := func(end int) {
		if d := data[start:end]; !blank(d) {
			docs = append(docs, newDocument(file, startLine, d, false))
		}
	}
	for text := range bytes.Lines(data) {
		if mark := marker(text); mark != "" {
			flush(offset)
			start, startLine = offset+len(text), line+1
			if rest := bytes.TrimSpace(text[3:]); mark == "---" && len(rest) > 0 && rest[0] != '#' {
				// "--- {a: 1}": the document begins on the marker's line.
				start, startLine = offset+3, line
			}
		}
		offset += len(text)
		line++
	}
	flush(len(data))
	return docs
}

// marker is "---" or "..." if the line begins or ends a document.
func marker(line []byte) string {
	for _, m := range []string{"---", "..."} {
		if rest, ok := bytes.CutPrefix(line, []byte(m)); ok && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0) {
			return m
		}
	}
	return ""
}

// blank reports whether there are only comments and directives.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		if t := bytes.TrimSpace(line); len(t) > 0 && t[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// splitJSON cuts a file of one or more JSON objects. A file that is not JSON
// from end to end is left to the YAML parser, unless its name says JSON.
func splitJSON(file string, data []byte) ([]*document, bool) {
	if !strings.HasPrefix(strings.TrimSpace(string(data[:min(len(data), 512)])), "{") {
		return nil, false
	}
	var docs []*document
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		start := dec.InputOffset()
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return docs, true
		}
		end := dec.InputOffset()
		if err != nil {
			if !strings.HasSuffix(file, ".json") {
				return nil, false
			}
			end = int64(len(data))
		}
		for start < end && strings.IndexByte(" \t\r\n", data[start]) >= 0 {
			start++
		}
		docs = append(docs, newDocument(file, 1+bytes.Count(data[:start], []byte("\n")), data[start:end], true))
		if err != nil {
			return docs, true
		}
	}
}

// checkAliases refuses documents whose aliases contain themselves or make a
// small file a large object.
func checkAliases(doc *document) error {
	if !bytes.ContainsRune(doc.data, '*') || !bytes.ContainsRune(doc.data, '&') {
		return nil
	}
	root, err := doc.nodes()
	if err != nil {
		return nil //nolint:nilerr // the decoder reports it, in its own words
	}
	sizes := map[*yaml.Node]int{}
	if size := expandedSize(root, sizes); size < 0 {
		return errors.New("an alias contains itself")
	} else if size > maxExpanded {
		return fmt.Errorf("aliases expand the document to more than %d nodes; write it out", maxExpanded)
	}
	return nil
}

// expandedSize counts the nodes below n with aliases expanded, at most
// maxExpanded+1; -1 if an alias contains itself.
func expandedSize(n *yaml.Node, sizes map[*yaml.Node]int) int {
	if n.Kind == yaml.AliasNode {
		return expandedSize(n.Alias, sizes)
	}
	if size, ok := sizes[n]; ok {
		return size
	}
	sizes[n] = -1 // while it is being counted: reached again means a cycle
	size := 1
	for _, c := range n.Content {
		s := expandedSize(c, sizes)
		if s < 0 {
			return -1
		}
		size = min(size+s, maxExpanded+1)
	}
	sizes[n] = size
	return size
}

// duplicateKeys finds the keys that a mapping has twice.
func duplicateKeys(doc *document) []*Error {
	root, err := doc.nodes()
	if err != nil {
		return nil
	}
	var found []*Error
	var walk func(n *yaml.Node, at string)
	walk = func(n *yaml.Node, at string) {
		switch n.Kind {
		case yaml.MappingNode:
			first := map[string]int{}
			for i := 0; i+1 < len(n.Content); i += 2 {
				key, value := n.Content[i], n.Content[i+1]
				field := fieldpath.Join(at, key.Value)
				if line, ok := first[key.Value]; ok && key.Kind == yaml.ScalarNode {
					found = append(found, &Error{
						Source: Source{File: doc.file, Line: doc.line + key.Line - 1},
						Object: describe(scalarAt(root, "kind"), scalarAt(root, "metadata", "name")),
						Field:  field,
						Reason: fmt.Sprintf("duplicate field, first on line %d", doc.line+line-1),
					})
				} else {
					first[key.Value] = key.Line
				}
				walk(value, field)
			}
		case yaml.SequenceNode:
			for i, c := range n.Content {
				walk(c, at+"["+strconv.Itoa(i)+"]")
			}
		case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
		}
	}
	walk(root, "")
	return found
}

// scalarAt is the scalar below n at a path of keys, "" if there is none.
func scalarAt(n *yaml.Node, keys ...string) string {
	for _, k := range keys {
		if n = fieldpath.Child(n, k); n == nil {
			return ""
		}
	}
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}
