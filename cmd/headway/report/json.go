package report

import (
	"bytes"
	"encoding/json"
	"io"
)

// JsonVersion is the apiVersion of what -o json prints; docs/json.md says what
// that is. Fields may be added to a version, but none changes or goes.
const JsonVersion = "cli.headway.dev/v1"

// PrintJSON prints an object, or a list of them, each with the version.
func PrintJSON(w io.Writer, value any) error {
	raw, err := versioned(value)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		return err
	}
	text.WriteByte('\n')
	_, err = w.Write(text.Bytes())
	return err
}

// PrintJSONLine prints one object of a stream.
func PrintJSONLine(w io.Writer, value any) error {
	raw, err := versioned(value)
	if err != nil {
		return err
	}
	_, err = w.Write(append(raw, '\n'))
	return err
}

// versioned is the JSON of an object, or of a list of objects, each of which
// begins with its apiVersion.
func versioned(value any) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.Equal(raw, []byte("null")):
		return []byte("[]"), nil // a list without elements
	case raw[0] == '[':
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, err
		}
		for i, item := range items {
			items[i] = withVersion(item)
		}
		return json.Marshal(items)
	}
	return withVersion(raw), nil
}

func withVersion(object []byte) []byte {
	head := `{"apiVersion":"` + JsonVersion + `"`
	if bytes.Equal(object, []byte("{}")) {
		return []byte(head + "}")
	}
	return append([]byte(head+","), object[1:]...)
}
