package edit

import (
	"bytes"
	"errors"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// text is a document's bytes with what is needed to find a parser's positions
// in them.
type text struct {
	src   []byte
	lines []int // offsets of the lines' first bytes
}

// errBreaks says that lines end in a way that parsers count differently.
var errBreaks = errors.New("has line ends other than LF and CRLF")

func newText(data []byte) (*text, error) {
	t := &text{src: data, lines: []int{0}}
	for i, b := range data {
		if b == '\n' {
			t.lines = append(t.lines, i+1)
		}
		if b == '\r' && (i+1 == len(data) || data[i+1] != '\n') {
			return nil, errBreaks
		}
	}
	for _, r := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(data, []byte(r)) {
			return nil, errBreaks
		}
	}
	return t, nil
}

// at is the offset of a position as the parser gives it: both count from 1,
// columns in characters.
func (t *text) at(line, column int) int {
	if line > len(t.lines) {
		return len(t.src)
	}
	i := t.lines[line-1]
	for range column - 1 {
		if i >= len(t.src) {
			break
		}
		_, size := utf8.DecodeRune(t.src[i:])
		i += size
	}
	return i
}

func (t *text) start(n *yaml.Node) int { return t.at(n.Line, n.Column) }

// line is the number of the line that holds the offset, from 1.
func (t *text) line(offset int) int {
	return sort.Search(len(t.lines), func(i int) bool { return t.lines[i] > offset })
}

func (t *text) lineStart(offset int) int { return t.lines[t.line(offset)-1] }

// lineEnd is the offset of the line's end, before the line break.
func (t *text) lineEnd(offset int) int {
	i := bytes.IndexByte(t.src[offset:], '\n')
	if i < 0 {
		return len(t.src)
	}
	if i > 0 && t.src[offset+i-1] == '\r' {
		i--
	}
	return offset + i
}

// nextLine is the offset of the following line's first byte.
func (t *text) nextLine(offset int) int {
	i := bytes.IndexByte(t.src[offset:], '\n')
	if i < 0 {
		return len(t.src)
	}
	return offset + i + 1
}

// first reports whether there is only white space before the offset on its line.
func (t *text) first(offset int) bool {
	return strings.Trim(string(t.src[t.lineStart(offset):offset]), " ") == ""
}

// eol is the line break of the line that holds the offset, or of the document.
func (t *text) eol(offset int) string {
	end := t.lineEnd(offset)
	if end == len(t.src) && len(t.lines) > 1 {
		end = t.lineEnd(t.lines[0])
	}
	if bytes.HasPrefix(t.src[end:], []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// errExtent says that the end of a value could not be found.
var errExtent = errors.New("is written in a way that cannot be edited")

// end is the offset behind a node's last byte.
func (t *text) end(n *yaml.Node) (int, error) {
	start := t.start(n)
	switch {
	case n.Kind == yaml.AliasNode:
		return start + 1 + len(n.Value), nil
	case n.Anchor != "" || n.Style&yaml.TaggedStyle != 0:
		return t.decoratedEnd(n, start)
	case n.Kind == yaml.ScalarNode:
		return t.scalarEnd(n, start)
	case n.Style&yaml.FlowStyle != 0:
		return t.flowEnd(start)
	case len(n.Content) == 0:
		return 0, errExtent
	}
	last := n.Content[len(n.Content)-1]
	if n.Kind == yaml.MappingNode && implicitNull(last) {
		return t.colon(n.Content[len(n.Content)-2])
	}
	if implicitNull(last) {
		dash, err := t.dash(n, len(n.Content)-1)
		return dash + 1, err
	}
	return t.end(last)
}

// decoratedEnd is end for what has an anchor or a tag in front.
func (t *text) decoratedEnd(n *yaml.Node, start int) (int, error) {
	if n.Kind != yaml.ScalarNode && n.Style&yaml.FlowStyle == 0 {
		if len(n.Content) == 0 {
			return 0, errExtent
		}
		bare := *n
		bare.Anchor, bare.Style = "", bare.Style&^yaml.TaggedStyle
		return t.end(&bare)
	}
	for start < len(t.src) && (t.src[start] == '&' || t.src[start] == '!') {
		for start < len(t.src) && strings.IndexByte(" \t\r\n", t.src[start]) < 0 {
			start++
		}
		for start < len(t.src) && (t.src[start] == ' ' || t.src[start] == '\t') {
			start++
		}
	}
	if n.Kind != yaml.ScalarNode {
		return t.flowEnd(start)
	}
	return t.scalarEnd(n, start)
}

// implicitNull is a value that is not written at all.
func implicitNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Tag == "!!null" && n.Style == 0 && n.Anchor == ""
}

func (t *text) scalarEnd(n *yaml.Node, start int) (int, error) {
	switch {
	case start >= len(t.src) && n.Value != "":
		return 0, errExtent
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return t.quotedEnd(start, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		return t.quotedEnd(start, '\'')
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		b, err := t.block(start)
		return b.end, err
	}
	return t.plainEnd(n.Value, start)
}

func (t *text) quotedEnd(i int, quote byte) (int, error) {
	if i >= len(t.src) || t.src[i] != quote {
		return 0, errExtent
	}
	for i++; i < len(t.src); i++ {
		switch c := t.src[i]; {
		case c == '\\' && quote == '"':
			i++
		case c == quote && quote == '\'' && i+1 < len(t.src) && t.src[i+1] == quote:
			i++
		case c == quote:
			return i + 1, nil
		}
	}
	return 0, errExtent
}

// plainEnd follows a plain scalar, in whose value a line break and the
// indentation after it became a space, or further breaks.
func (t *text) plainEnd(value string, i int) (int, error) {
	for v := 0; v < len(value); {
		j, breaks := i, 0
		for j < len(t.src) && strings.IndexByte(" \t\r\n", t.src[j]) >= 0 {
			if t.src[j] == '\n' {
				breaks++
			}
			j++
		}
		folded := " "
		if breaks > 1 {
			folded = strings.Repeat("\n", breaks-1)
		}
		switch {
		case breaks > 0 && strings.HasPrefix(value[v:], folded):
			v, i = v+len(folded), j
		case i < len(t.src) && t.src[i] == value[v]:
			v, i = v+1, i+1
		default:
			return 0, errExtent
		}
	}
	return i, nil
}

// flowEnd is the end of a flow collection that begins at i.
func (t *text) flowEnd(i int) (int, error) {
	depth := 0
	for ; i < len(t.src); i++ {
		switch c := t.src[i]; c {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		case '"', '\'':
			// Within a plain scalar a quote is only a character.
			if before := t.src[i-1]; strings.IndexByte(" \t\r\n,[{:", before) < 0 {
				continue
			}
			end, err := t.quotedEnd(i, c)
			if err != nil {
				return 0, err
			}
			i = end - 1
		case '#':
			if strings.IndexByte(" \t\n", t.src[i-1]) >= 0 {
				i = t.lineEnd(i)
			}
		}
		if depth == 0 {
			break
		}
	}
	return 0, errExtent
}

// colon is the offset behind a key's colon.
func (t *text) colon(key *yaml.Node) (int, error) {
	i, err := t.end(key)
	if err != nil {
		return 0, err
	}
	for i < len(t.src) && (t.src[i] == ' ' || t.src[i] == '\t') {
		i++
	}
	if i >= len(t.src) || t.src[i] != ':' {
		return 0, errExtent
	}
	return i + 1, nil
}

// dash is the offset of the dash of a block sequence's item.
func (t *text) dash(seq *yaml.Node, i int) (int, error) {
	column := t.start(seq) - t.lineStart(t.start(seq))
	if seq.Anchor != "" || seq.Style&yaml.TaggedStyle != 0 {
		return 0, errExtent
	}
	item := seq.Content[i]
	for line := item.Line; line >= seq.Line; line-- {
		at := t.lines[min(line, len(t.lines))-1] + column
		if at < len(t.src) && t.src[at] == '-' && (at+1 == len(t.src) || strings.IndexByte(" \t\r\n", t.src[at+1]) >= 0) && at <= t.start(item) {
			return at, nil
		}
	}
	return 0, errExtent
}
