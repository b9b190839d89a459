package edit

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// slot is where a value stands: behind what, and how it is indented.
type slot struct {
	// key is the offset behind the colon or the dash in front of the value, or
	// -1 if there is none.
	key int
	// indent is the column of the mapping or sequence around, -1 around the
	// document; flow says that it is one in brackets.
	indent int
	flow   bool
}

// change makes the node, which says have, say want.
func (e *editor) change(n *yaml.Node, have, want any, at slot) error {
	if reflect.DeepEqual(have, want) {
		return nil
	}
	switch {
	case n.Kind == yaml.AliasNode:
		return e.fail(n, "the value comes through the alias *%s, which other fields may share; edit the file", n.Value)
	case n.Anchor != "":
		return e.fail(n, "the value is shared as the anchor &%s; edit the file", n.Anchor)
	}
	switch w := want.(type) {
	case map[string]any:
		if h, ok := have.(map[string]any); ok && n.Kind == yaml.MappingNode && len(w) > 0 && len(n.Content) > 0 {
			return e.mapping(n, h, w, at)
		}
	case []any:
		if h, ok := have.([]any); ok && n.Kind == yaml.SequenceNode && len(w) > 0 && len(h) == len(n.Content) && len(h) > 0 {
			return e.sequence(n, h, w, at)
		}
	default:
		if n.Kind == yaml.ScalarNode && !implicitNull(n) {
			return e.scalar(n, have, want, at)
		}
	}
	return e.replace(n, want, at)
}

// scalar keeps the quotes that there are.
func (e *editor) scalar(n *yaml.Node, have, want any, at slot) error {
	if n.Style&yaml.TaggedStyle != 0 {
		return e.fail(n, "the value has a tag; edit the file")
	}
	text, isString := want.(string)
	old, wasString := have.(string)
	if isString && wasString && e.setBlock(n, old, text) {
		return nil
	}
	written := e.style.scalar(want, at.flow)
	if isString {
		single, ok := singleQuoted(text)
		switch {
		case n.Style&yaml.SingleQuotedStyle != 0 && ok:
			written = single
		case n.Style&yaml.DoubleQuotedStyle != 0:
			written = doubleQuoted(text)
		case !at.flow && strings.Contains(text, "\n") && literal(text) && at.key >= 0:
			written = e.style.literal(at.indent+e.style.step, text, e.eol(at.key))
		}
	}
	start, end, err := e.extent(n)
	if err != nil {
		return err
	}
	e.splice(start, end, written)
	return nil
}

func (e *editor) extent(n *yaml.Node) (start, end int, err error) {
	if end, err = e.end(n); err != nil {
		return 0, 0, e.fail(n, "%v; edit the file", err)
	}
	return e.start(n), end, nil
}

// replace writes a value anew.
func (e *editor) replace(n *yaml.Node, want any, at slot) error {
	if n.Style&yaml.TaggedStyle != 0 {
		return e.fail(n, "the value has a tag; edit the file")
	}
	nothing := implicitNull(n)
	start, end := at.key, at.key
	if !nothing {
		var err error
		if start, end, err = e.extent(n); err != nil {
			return err
		}
	}
	if nothing && at.key < 0 {
		return e.fail(n, "%v; edit the file", errExtent)
	}
	if at.flow || n.Style&yaml.FlowStyle != 0 {
		written := e.style.flow(want)
		if nothing {
			written = " " + written
		}
		e.splice(start, end, written)
		return nil
	}
	eol := e.eol(max(at.key, 0))
	var written string
	switch v := want.(type) {
	case map[string]any, []any:
		if at.key < 0 {
			return e.fail(n, "%v; edit the file", errExtent)
		}
		pad := at.indent + e.style.step
		if _, list := v.([]any); list && e.src[at.key-1] != '-' {
			pad = at.indent + e.style.items
		}
		written = " " + e.style.flow(v)
		if reflect.ValueOf(v).Len() > 0 {
			written = eol + strings.Repeat(" ", pad) + e.style.block(pad, v, eol)
		}
	default:
		written = " " + e.style.scalar(v, false)
	}
	if at.key < 0 {
		e.splice(start, end, strings.TrimPrefix(written, " "))
		return nil
	}
	if nothing || e.line(start) == e.line(at.key) {
		e.splice(at.key, end, written)
		return nil
	}
	// The value begins on a line of its own: a comment behind the key stays.
	if from := e.lineStart(start); strings.HasPrefix(written, eol) {
		e.splice(from, end, strings.TrimPrefix(written, eol))
	} else {
		e.splice(at.key, at.key, written)
		e.splice(from, e.nextLine(end), "")
	}
	return nil
}

// sequence pairs the items of both lists, changes those in pairs, takes the
// others out and puts the new ones in.
func (e *editor) sequence(n *yaml.Node, have, want []any, at slot) error {
	if n.Style&yaml.TaggedStyle != 0 {
		return e.fail(n, "the value has a tag; edit the file")
	}
	partner := align(have, want)
	if n.Style&yaml.FlowStyle != 0 {
		return e.flowSequence(n, have, want, partner)
	}
	dashes := make([]int, len(n.Content))
	for i := range n.Content {
		var err error
		if dashes[i], err = e.dash(n, i); err != nil {
			return e.fail(n.Content[i], "%v; edit the file", err)
		}
	}
	column := dashes[0] - e.lineStart(dashes[0])
	taken := slices.Contains(partner, -1)
	grows := len(want) > len(have)-count(partner, -1)
	if (taken || grows) && !e.first(dashes[0]) {
		return e.replace(n, want, at)
	}
	next := 0 // of want
	for i, item := range n.Content {
		if partner[i] < 0 {
			end, err := e.itemEnd(item, dashes[i])
			if err != nil {
				return err
			}
			e.splice(e.lineStart(dashes[i]), e.nextLine(end), "")
			continue
		}
		for ; next < partner[i]; next++ {
			eol := e.eol(dashes[i])
			e.splice(e.lineStart(dashes[i]), e.lineStart(dashes[i]), strings.Repeat(" ", column)+e.style.item(column, want[next], eol)+eol)
		}
		next = partner[i] + 1
		if err := e.change(item, have[i], want[partner[i]], slot{key: dashes[i] + 1, indent: column}); err != nil {
			return err
		}
	}
	last := len(n.Content) - 1
	end, err := e.itemEnd(n.Content[last], dashes[last])
	if err != nil {
		return err
	}
	for ; next < len(want); next++ {
		e.after(end, strings.Repeat(" ", column)+e.style.item(column, want[next], e.eol(dashes[last])))
	}
	return nil
}

func count(list []int, v int) int {
	n := 0
	for _, x := range list {
		if x == v {
			n++
		}
	}
	return n
}

func (e *editor) itemEnd(item *yaml.Node, dash int) (int, error) {
	if implicitNull(item) {
		return dash + 1, nil
	}
	_, end, err := e.extent(item)
	return end, err
}

// after puts a line behind the one that holds the offset.
func (e *editor) after(offset int, line string) {
	eol := e.eol(offset)
	next := e.nextLine(offset)
	if next == len(e.src) && !strings.HasSuffix(string(e.src), "\n") {
		e.splice(next, next, eol+line)
		return
	}
	e.splice(next, next, line+eol)
}

// align says for each old item which new one it becomes, in rising order; -1
// for those that go. Equal items stay; between them, items of the same name
// belong together, then those in the same place.
func align(have, want []any) []int {
	partner := make([]int, len(have))
	common := lcs(have, want)
	i, j := 0, 0
	for _, pair := range append(common, [2]int{len(have), len(want)}) {
		gap(have, want, partner, i, pair[0], j, pair[1])
		if pair[0] < len(have) {
			partner[pair[0]] = pair[1]
		}
		i, j = pair[0]+1, pair[1]+1
	}
	return partner
}

// gap pairs the items between two that stay.
func gap(have, want []any, partner []int, i, iEnd, j, jEnd int) {
	named := false
	for k := i; k < iEnd; k++ {
		partner[k] = -1
		named = named || nameOf(have[k]) != ""
	}
	for k := i; k < iEnd; k++ {
		if !named {
			if j < jEnd {
				partner[k] = j
				j++
			}
			continue
		}
		name := nameOf(have[k])
		for l := j; l < jEnd; l++ {
			if name != "" && nameOf(want[l]) == name {
				partner[k], j = l, l+1
				break
			}
		}
	}
}

// nameOf is what tells an item of a list from the others, or empty.
func nameOf(item any) string {
	m, _ := item.(map[string]any)
	for _, key := range []string{"name", "mountPath", "containerPort", "port", "key", "path", "ip", "topologyKey", "op"} {
		if v, ok := m[key]; ok {
			return key + "=" + (style{}).flow(v)
		}
	}
	return ""
}

// lcs is the longest common subsequence, as pairs of indexes. What both begin
// and end with is part of it: an item that became like its neighbour is not
// taken for it.
func lcs(a, b []any) [][2]int {
	var head, tail [][2]int
	for len(head) < min(len(a), len(b)) && reflect.DeepEqual(a[len(head)], b[len(head)]) {
		head = append(head, [2]int{len(head), len(head)})
	}
	x, y := len(a), len(b)
	for x > len(head) && y > len(head) && reflect.DeepEqual(a[x-1], b[y-1]) {
		x, y = x-1, y-1
		tail = append([][2]int{{x, y}}, tail...)
	}
	pairs := head
	for _, p := range middle(a[len(head):x], b[len(head):y]) {
		pairs = append(pairs, [2]int{p[0] + len(head), p[1] + len(head)})
	}
	return append(pairs, tail...)
}

func middle(a, b []any) [][2]int {
	const most = 1000 // the work grows with the square
	if len(a) > most || len(b) > most {
		return nil
	}
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i, item := range slices.Backward(a) {
		for j := len(b) - 1; j >= 0; j-- {
			if reflect.DeepEqual(item, b[j]) {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var pairs [][2]int
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case reflect.DeepEqual(a[i], b[j]):
			pairs = append(pairs, [2]int{i, j})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return pairs
}
