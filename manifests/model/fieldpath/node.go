package fieldpath

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Lookup follows a path from a node of YAML. key is the map key of the last
// step, or the list item itself; value is what the path names. Both are nil if
// the node does not contain the whole path. List items are named by index
// ([0]), by merge keys ([name=web], [containerPort=80,protocol=TCP]) or, if
// they are plain values, by themselves.
func Lookup(n *yaml.Node, path string) (key, value *yaml.Node) {
	key, value, rest := Nearest(n, Parse(path))
	if len(rest) > 0 {
		return nil, nil
	}
	return key, value
}

// Nearest follows a path from a node as far as it exists, and returns the
// remaining steps. key is nil if none of the path exists.
func Nearest(n *yaml.Node, path []Segment) (key, value *yaml.Node, rest []Segment) {
	value = n
	for rest = path; len(rest) > 0; {
		k, next, used := Step(value, rest)
		if next == nil {
			return key, value, rest
		}
		key, value, rest = k, next, rest[used:]
	}
	return key, value, nil
}

// Step takes the first step of a path from n, and returns how many segments it
// used: a map's key may itself contain dots, which some paths do not put in
// brackets. value is nil if n does not contain it.
func Step(n *yaml.Node, path []Segment) (key, value *yaml.Node, used int) {
	dotted := 1
	for dotted < len(path) && !path[dotted-1].Bracket && !path[dotted].Bracket {
		dotted++
	}
	for used = dotted; used > 0; used-- {
		if key, value = step(n, path[:used]); value != nil {
			return key, value, used
		}
	}
	return nil, nil, 0
}

// Child is the value of a mapping's key, or nil.
func Child(n *yaml.Node, key string) *yaml.Node {
	_, c := step(n, []Segment{{Text: key}})
	return c
}

// step takes path, which is the name of one entry of n.
func step(n *yaml.Node, path []Segment) (key, value *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		texts := make([]string, len(path))
		for i, s := range path {
			texts[i] = s.Text
		}
		name := strings.Join(texts, ".")
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if !path[0].Bracket || len(path) > 1 {
			return nil, nil
		}
		if i, err := strconv.Atoi(path[0].Text); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
		for _, c := range n.Content {
			if matchesKey(c, path[0].Text) {
				return c, c
			}
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return nil, nil
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
		c := Child(item, k)
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
