package sops

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var errYAML = errors.New("the encrypted file is not valid YAML")

// openYAML opens a stream of documents. SOPS encrypts a stream as one, with
// the same metadata in each document; but streams are also put together of
// files that were encrypted one by one, or of some that are not.
func openYAML(data []byte, dataKey func(*metadata) ([]byte, error)) (File, error) {
	var plain, placeholders []*yaml.Node
	var run *opened // of the documents with the same metadata
	end := func() error {
		if run == nil {
			return nil
		}
		err := run.finish()
		run = nil
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		doc := &yaml.Node{}
		err := dec.Decode(doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(doc.Content) != 1 {
			return File{}, errYAML
		}
		root := doc.Content[0]
		meta, err := takeMetadata(root)
		if err != nil {
			return File{}, err
		}
		if meta == nil || run != nil && run.meta.MAC != meta.MAC {
			if err := end(); err != nil {
				return File{}, err
			}
		}
		if meta == nil {
			plain, placeholders = append(plain, doc), append(placeholders, doc)
			continue
		}
		if run == nil {
			if run, err = begin(meta, dataKey); err != nil {
				return File{}, err
			}
		}
		a, b, err := run.node(root, nil, 0)
		if err != nil {
			return File{}, err
		}
		plain, placeholders = append(plain, a), append(placeholders, b)
	}
	if err := end(); err != nil {
		return File{}, err
	}
	var f File
	var err error
	if f.Placeholder, err = emitYAML(placeholders); err == nil && dataKey != nil {
		f.Plain, err = emitYAML(plain)
	}
	return f, err
}

// emitYAML writes the documents as SOPS does.
func emitYAML(docs []*yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(4)
	for _, d := range docs {
		if err := enc.Encode(d); err != nil {
			return nil, errYAML
		}
	}
	if err := enc.Close(); err != nil {
		return nil, errYAML
	}
	return out.Bytes(), nil
}

// takeMetadata removes the metadata from a document; nil if it has none.
func takeMetadata(root *yaml.Node) (*metadata, error) {
	if root.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "sops" || root.Content[i+1].Kind != yaml.MappingNode {
			continue
		}
		meta := &metadata{}
		if err := root.Content[i+1].Decode(meta); err != nil {
			return nil, errors.New("sops: the metadata cannot be read")
		}
		root.Content = append(root.Content[:i:i], root.Content[i+2:]...)
		return meta, nil
	}
	return nil, nil
}

// maxDepth bounds how deep an encrypted document is nested.
const maxDepth = 1000

// node opens a node: as it is decrypted, and with placeholders.
func (o *opened) node(n *yaml.Node, path []string, depth int) (plain, placeholder *yaml.Node, err error) {
	if depth > maxDepth {
		return nil, nil, errors.New("the encrypted file is nested too deeply")
	}
	a, b := *n, *n
	o.comments(&a, &b, path)
	switch n.Kind {
	case yaml.ScalarNode:
		v, err := valueOf(n)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", where(path), err)
		}
		x, y, err := o.leaf(path, v)
		if err != nil {
			return nil, nil, err
		}
		if !utf8.ValidString(x.text) {
			return nil, nil, fmt.Errorf("%s: the decrypted value is not UTF-8", where(path))
		}
		if x != v {
			set(&a, x)
		}
		if y != v {
			set(&b, y)
		}
		return &a, &b, nil
	case yaml.MappingNode, yaml.SequenceNode:
		a.Content, b.Content = nil, nil
		for i, c := range n.Content {
			at := path
			if n.Kind == yaml.MappingNode {
				if i%2 == 0 {
					k, l := *c, *c
					o.comments(&k, &l, path)
					a.Content, b.Content = append(a.Content, &k), append(b.Content, &l)
					continue
				}
				at = append(slices.Clip(path), n.Content[i-1].Value)
			}
			x, y, err := o.node(c, at, depth+1)
			if err != nil {
				return nil, nil, err
			}
			a.Content, b.Content = append(a.Content, x), append(b.Content, y)
		}
		return &a, &b, nil
	case yaml.AliasNode, yaml.DocumentNode:
	}
	// A DocumentNode is never below another node. SOPS writes no aliases, and
	// what one stands for would be sealed twice.
	return nil, nil, fmt.Errorf("%s: an encrypted document cannot have aliases", where(path))
}

// comments opens the comments of a node. They are not sealed; one that cannot
// be decrypted is left out, as one that was never encrypted stays.
func (o *opened) comments(plain, placeholder *yaml.Node, path []string) {
	for _, c := range []struct{ in, out *string }{
		{&plain.HeadComment, &placeholder.HeadComment}, {&plain.LineComment, &placeholder.LineComment}, {&plain.FootComment, &placeholder.FootComment},
	} {
		if !strings.Contains(*c.in, "ENC[") {
			continue
		}
		var lines []string
		for line := range strings.Lines(*c.in) {
			line = strings.TrimRight(line, "\n")
			text := strings.TrimPrefix(line, "#")
			enc, err := parseCipher(strings.TrimSpace(text))
			if err != nil {
				lines = append(lines, line)
				continue
			}
			if o.key == nil {
				continue
			}
			if v, err := enc.open(o.key, aad(path)); err == nil && !strings.Contains(v.text, "\n") {
				lines = append(lines, "#"+v.text)
			}
		}
		*c.in, *c.out = strings.Join(lines, "\n"), ""
	}
}

// valueOf is a scalar as SOPS understands it.
func valueOf(n *yaml.Node) (value, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return value{}, errors.New("the value is not valid")
	}
	switch v := v.(type) {
	case nil:
		return value{kind: kindNull}, nil
	case string:
		return value{text: v}, nil
	case int:
		return value{kind: kindInt, text: strconv.Itoa(v)}, nil
	case float64:
		return value{kind: kindFloat, text: strconv.FormatFloat(v, 'f', -1, 64)}, nil
	case bool:
		x, _ := value{kind: kindBool, text: strconv.FormatBool(v)}.normal()
		return x, nil
	case time.Time:
		return value{kind: kindTime, text: v.Format(time.RFC3339Nano)}, nil
	}
	return value{}, errors.New("the value is of a type that SOPS does not know")
}

// set puts a decrypted value into a scalar.
func set(n *yaml.Node, v value) {
	n.Style, n.Value = 0, v.text
	n.Tag = map[kind]string{kindString: "!!str", kindInt: "!!int", kindFloat: "!!float", kindBool: "!!bool", kindTime: "!!timestamp", kindNull: "!!null", kindComment: "!!null"}[v.kind]
	switch v.kind {
	case kindBool:
		n.Value = strings.ToLower(v.text)
	case kindComment: // of a list, where SOPS keeps it as an item
		n.Value = ""
	case kindFloat: // or it would be read again as an integer
		if !strings.ContainsAny(v.text, ".eEnN") {
			n.Value += ".0"
		}
	case kindString, kindInt, kindTime, kindNull:
	}
}
