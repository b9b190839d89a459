package load

// Document is one document of a file.
type Document struct {
	// Start and End are the byte offsets of the document in the file, without
	// the markers around it; Line is the number of its first line.
	Start, End, Line int
	JSON             bool
}

// Documents finds the documents of a file of YAML or JSON, without empty ones.
func Documents(file string, data []byte) []Document {
	found := split(file, data)
	out := make([]Document, len(found))
	for i, d := range found {
		// A document is a part of the file's bytes up to their end.
		start := cap(data) - cap(d.data)
		out[i] = Document{Start: start, End: start + len(d.data), Line: d.line, JSON: d.json}
	}
	return out
}
