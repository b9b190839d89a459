package edit

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// entryNode is one entry of a mapping.
type entryNode struct {
	key, value *yaml.Node
	gone       bool
}

// mapping changes the values of keys that stay, takes out those that go, and
// puts new ones behind the last.
func (e *editor) mapping(n *yaml.Node, have, want map[string]any, at slot) error {
	if n.Style&yaml.TaggedStyle != 0 {
		return e.fail(n, "the value has a tag; edit the file")
	}
	var entries []entryNode
	written := map[string]bool{}
	left := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		entry := entryNode{key: n.Content[i], value: n.Content[i+1]}
		if entry.key.Tag != "!!merge" {
			if entry.key.Kind != yaml.ScalarNode {
				return e.fail(entry.key, "has a key that is no text; edit the file")
			}
			written[entry.key.Value] = true
			_, stays := want[entry.key.Value]
			entry.gone = !stays
		}
		left = left || !entry.gone
		entries = append(entries, entry)
	}
	var added []string
	for _, key := range keys(want) {
		if _, merged := have[key]; merged && !written[key] && !reflect.DeepEqual(have[key], want[key]) {
			return e.fail(n, "%s comes through a merge key (<<), which other fields may share; edit the file", key)
		} else if !merged && !written[key] {
			added = append(added, key)
		}
	}
	for key := range have {
		if _, stays := want[key]; !stays && !written[key] {
			return e.fail(n, "%s comes through a merge key (<<), which other fields may share; edit the file", key)
		}
	}
	if !left {
		return e.replace(n, want, at)
	}
	if n.Style&yaml.FlowStyle != 0 {
		return e.flowMapping(entries, have, want, added)
	}
	return e.blockMapping(entries, have, want, added)
}

func (e *editor) blockMapping(entries []entryNode, have, want map[string]any, added []string) error {
	first := e.start(entries[0].key)
	indent := first - e.lineStart(first)
	if !e.first(first) {
		// Behind a dash, or dashes: columns are counted in bytes of ASCII.
		indent = entries[0].key.Column - 1
	}
	end := 0
	for i, entry := range entries {
		start := e.start(entry.key)
		colon, err := e.colon(entry.key)
		if err != nil {
			return e.fail(entry.key, "%v; edit the file", err)
		}
		end = colon
		if !implicitNull(entry.value) {
			if _, end, err = e.extent(entry.value); err != nil {
				return err
			}
		}
		if !entry.gone {
			if err := e.change(entry.value, have[entry.key.Value], want[entry.key.Value], slot{key: colon, indent: indent}); err != nil {
				return err
			}
			continue
		}
		if e.first(start) {
			e.splice(e.lineStart(start), e.nextLine(end), "")
			continue
		}
		// Behind a dash: the next entry that stays takes its place.
		next := slices.IndexFunc(entries[i:], func(other entryNode) bool { return !other.gone })
		if next < 0 {
			return e.fail(entry.key, "%v; edit the file", errExtent)
		}
		e.splice(start, e.start(entries[i+next].key), "")
	}
	for _, key := range added {
		e.after(end, strings.Repeat(" ", indent)+e.style.entry(indent, key, want[key], e.eol(first)))
	}
	return nil
}

func (e *editor) flowMapping(entries []entryNode, have, want map[string]any, added []string) error {
	var parts []flowPart
	quoted := true
	for _, entry := range entries {
		quoted = quoted && entry.key.Style&yaml.DoubleQuotedStyle != 0
		start := e.start(entry.key)
		end, err := e.flowEntryEnd(entry)
		if err != nil {
			return e.fail(entry.key, "%v; edit the file", err)
		}
		parts = append(parts, flowPart{start: start, end: end, gone: entry.gone})
		if entry.gone {
			continue
		}
		key := entry.key.Value
		colon, err := e.colon(entry.key)
		if err != nil && !reflect.DeepEqual(have[key], want[key]) {
			return e.fail(entry.key, "%v; edit the file", err)
		}
		if err := e.change(entry.value, have[key], want[key], slot{key: colon, flow: true}); err != nil {
			return err
		}
	}
	s := e.style
	s.json = s.json || quoted
	var lines []string
	for _, key := range added {
		lines = append(lines, s.scalar(key, true)+": "+s.flow(want[key]))
	}
	e.flowParts(parts, lines)
	return nil
}

// flowEntryEnd is the end of an entry, which may lack its value and colon.
func (e *editor) flowEntryEnd(entry entryNode) (int, error) {
	if !implicitNull(entry.value) {
		return e.end(entry.value)
	}
	if colon, err := e.colon(entry.key); err == nil {
		return colon, nil
	}
	return e.end(entry.key)
}

func (e *editor) flowSequence(n *yaml.Node, have, want []any, partner []int) error {
	if n.Content == nil {
		return e.fail(n, "%v; edit the file", errExtent)
	}
	// Items in between are put in only by writing the list anew.
	for i, last := 0, -1; i < len(partner); i++ {
		if partner[i] < 0 {
			continue
		}
		if partner[i] != last+1 {
			return e.replace(n, want, slot{key: -1, flow: true})
		}
		last = partner[i]
	}
	var parts []flowPart
	kept := 0
	for i, item := range n.Content {
		start, end, err := e.extent(item)
		if err != nil {
			return err
		}
		parts = append(parts, flowPart{start: start, end: end, gone: partner[i] < 0})
		if partner[i] < 0 {
			continue
		}
		kept++
		if err := e.change(item, have[i], want[partner[i]], slot{key: -1, flow: true}); err != nil {
			return err
		}
	}
	if kept == 0 {
		return e.replace(n, want, slot{key: -1, flow: true})
	}
	var added []string
	for _, v := range want[kept:] {
		added = append(added, e.style.flow(v))
	}
	e.flowParts(parts, added)
	return nil
}

// flowPart is an item of a flow collection.
type flowPart struct {
	start, end int
	gone       bool
}

// flowParts takes out the items that go, with a comma each, and puts the added
// ones behind the last, each on a line of its own if the others are.
func (e *editor) flowParts(parts []flowPart, added []string) {
	lastKept := -1
	for i, p := range parts {
		switch {
		case !p.gone:
			lastKept = i
		case lastKept >= 0:
			// From behind the item before, which stays or went.
			e.splice(parts[i-1].end, p.end, "")
		case i+1 < len(parts):
			e.splice(p.start, parts[i+1].start, "")
		}
	}
	if len(added) == 0 || lastKept < 0 {
		return
	}
	separator := ", "
	if at := parts[lastKept].start; lastKept > 0 && e.first(at) || e.first(at) {
		separator = "," + e.eol(at) + strings.Repeat(" ", at-e.lineStart(at))
	}
	end := parts[len(parts)-1].end
	e.splice(end, end, separator+strings.Join(added, separator))
}
