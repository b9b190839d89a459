package sops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

var errJSON = errors.New("the encrypted file is not valid JSON")

// openJSON opens a JSON object; of a binary file, what is in its envelope.
func openJSON(data []byte, binary bool, dataKey func(*metadata) ([]byte, error)) (File, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	root, err := readJSON(dec, 0)
	if err != nil {
		return File{}, errJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return File{}, errJSON
	}
	meta, err := takeMetadata(root)
	if err != nil {
		return File{}, err
	}
	if meta == nil {
		return File{}, errJSON
	}
	o, err := begin(meta, dataKey)
	if err != nil {
		return File{}, err
	}
	if binary {
		return o.envelope(root)
	}
	plain, placeholder, err := o.node(root, nil, 0)
	if err == nil {
		err = o.finish()
	}
	if err != nil {
		return File{}, err
	}
	f := File{}
	if f.Placeholder, err = emitJSON(placeholder); err == nil && o.key != nil {
		f.Plain, err = emitJSON(plain)
	}
	return f, err
}

// envelope takes the file out of a binary file's envelope.
func (o *opened) envelope(root *yaml.Node) (File, error) {
	if len(root.Content) != 2 || root.Content[0].Value != "data" || root.Content[1].Kind != yaml.ScalarNode {
		return File{}, errJSON
	}
	plain, placeholder, err := o.leaf([]string{"data"}, value{text: root.Content[1].Value})
	if err == nil {
		err = o.finish()
	}
	if err != nil {
		return File{}, err
	}
	f := File{Placeholder: []byte(placeholder.text)}
	if o.key != nil {
		f.Plain = []byte(plain.text)
	}
	return f, nil
}

// readJSON reads a value with the order of its keys, as nodes of YAML, so that
// there is one walk for both.
func readJSON(dec *json.Decoder, depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, errJSON
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	scalar := func(tag, text string) (*yaml.Node, error) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}, nil
	}
	switch t := token.(type) {
	case nil:
		return scalar("!!null", "null")
	case bool:
		return scalar("!!bool", fmt.Sprint(t))
	case string:
		return scalar("!!str", t)
	case json.Number:
		if strings.ContainsAny(t.String(), ".eE") {
			return scalar("!!float", t.String())
		}
		return scalar("!!int", t.String())
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	if token == json.Delim('{') {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for dec.More() {
		c, err := readJSON(dec, depth+1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, c)
	}
	_, err = dec.Token() // the end of the object or list
	return n, err
}

// emitJSON writes nodes as SOPS does, indented by tabs.
func emitJSON(n *yaml.Node) ([]byte, error) {
	var compact, out bytes.Buffer
	if err := writeJSON(&compact, n); err != nil {
		return nil, err
	}
	if err := json.Indent(&out, compact.Bytes(), "", "\t"); err != nil {
		return nil, errJSON
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func writeJSON(w *bytes.Buffer, n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		text := n.Value
		switch n.Tag {
		case "!!str", "!!timestamp":
			quoted, err := json.Marshal(text)
			if err != nil {
				return errJSON
			}
			text = string(quoted)
		case "!!null":
			text = "null"
		}
		w.WriteString(text)
		return nil
	}
	brackets := "[]"
	if n.Kind == yaml.MappingNode {
		brackets = "{}"
	}
	w.WriteByte(brackets[0])
	for i, c := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 1:
			w.WriteByte(':')
		case i > 0:
			w.WriteByte(',')
		}
		if err := writeJSON(w, c); err != nil {
			return err
		}
	}
	w.WriteByte(brackets[1])
	return nil
}
