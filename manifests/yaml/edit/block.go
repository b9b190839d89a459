package edit

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// blockScalar is where a literal or folded scalar stands.
type blockScalar struct {
	header int // of its | or >
	body   int // its first line
	end    int // behind its last line that is not blank, before the line break
	indent int // of its lines
}

// block finds the lines of the block scalar whose header is at offset.
func (t *text) block(offset int) (blockScalar, error) {
	b := blockScalar{header: offset, body: t.nextLine(offset), end: t.lineEnd(offset), indent: -1}
	if offset >= len(t.src) || t.src[offset] != '|' && t.src[offset] != '>' {
		return b, errExtent
	}
	header := string(t.src[offset:t.lineEnd(offset)])
	header, _, _ = strings.Cut(header, "#")
	if i := strings.IndexAny(header, "123456789"); i >= 0 {
		b.indent = t.indentAround(offset) + int(header[i]-'0')
	}
	for i := b.body; i < len(t.src); i = t.nextLine(i) {
		line := string(t.src[i:t.lineEnd(i)])
		content := strings.TrimLeft(line, " ")
		if content == "" {
			continue
		}
		indent := len(line) - len(content)
		if b.indent < 0 {
			b.indent = indent
		}
		if indent < b.indent || b.indent == 0 {
			break
		}
		b.end = t.lineEnd(i)
	}
	// Whether there is a line at all cannot be told from the next key's line
	// without knowing the indentation around.
	if b.indent <= t.indentAround(offset) {
		return blockScalar{header: offset, body: b.body, end: t.lineEnd(offset), indent: -1}, nil
	}
	return b, nil
}

// indentAround is the indentation of the mapping or sequence whose entry begins
// on the offset's line.
func (t *text) indentAround(offset int) int {
	start := t.lineStart(offset)
	i := start
	for i < offset && (t.src[i] == ' ' || t.src[i] == '-' && i+1 < len(t.src) && t.src[i+1] == ' ') {
		i++
	}
	if i == offset { // directly behind dashes
		i = offset - 1
		for i > start && t.src[i] != '-' {
			i--
		}
	}
	return i - start
}

// setBlock gives a literal scalar another value, line by line; false if it
// cannot be a literal with that value.
func (e *editor) setBlock(n *yaml.Node, old, value string) bool {
	if n.Style&yaml.LiteralStyle == 0 || !literal(value) || !literal(old) || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return false
	}
	b, err := e.block(e.start(n))
	if err != nil || b.indent < 0 {
		return false
	}
	eol := e.eol(b.header)
	before, after := strings.Split(strings.TrimRight(old, "\n"), "\n"), strings.Split(strings.TrimRight(value, "\n"), "\n")
	starts := []int{b.body}
	for range before {
		starts = append(starts, e.nextLine(starts[len(starts)-1]))
	}
	same := 0
	for same < min(len(before), len(after)) && before[same] == after[same] {
		same++
	}
	tail := 0
	for tail < min(len(before), len(after))-same && before[len(before)-1-tail] == after[len(after)-1-tail] {
		tail++
	}
	var lines strings.Builder
	for _, l := range after[same : len(after)-tail] {
		if l != "" {
			lines.WriteString(strings.Repeat(" ", b.indent) + l)
		}
		lines.WriteString(eol)
	}
	from, to := starts[same], starts[len(before)-tail]
	added := lines.String()
	if to == len(e.src) && !strings.HasSuffix(string(e.src), "\n") {
		// The document's last line has no line break, and shall have none.
		if added = strings.TrimSuffix(added, eol); from == to {
			added = eol + added
		}
	}
	e.splice(from, to, added)
	if strings.HasSuffix(old, "\n") != strings.HasSuffix(value, "\n") {
		header := string(e.src[b.header:e.lineEnd(b.header)])
		indicators := len(header) - len(strings.TrimLeft(header, "|+-"))
		e.splice(b.header, b.header+indicators, "|"+chomping(value))
	}
	return true
}

// literal reports whether a literal scalar can hold the value, without an
// indentation indicator, and with at most the last line's break at its end.
func literal(s string) bool {
	if strings.HasSuffix(s, "\n\n") || strings.TrimRight(s, "\n") == "" {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" && strings.TrimLeft(line, " ") == "" {
			return false // spaces alone could be taken for indentation
		}
	}
	return s[0] != ' ' && s[0] != '\t' && s[0] != '\n' && printable(s, true)
}

// chomping is the indicator of a literal's header.
func chomping(s string) string {
	if strings.HasSuffix(s, "\n") {
		return ""
	}
	return "-"
}

func printable(s string, multiline bool) bool {
	for _, r := range s {
		switch {
		case r == '\n':
			if !multiline {
				return false
			}
		case r == '\t':
		case r < ' ', r == 0x7f, r >= 0x80 && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffd, r >= 0xd800 && r < 0xe000, r == 0xfffe, r == 0xffff:
			return false
		}
	}
	return true
}
