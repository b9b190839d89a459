package origin

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/fieldpath"
)

// patches: path or patch, with a target or without.
func (l *layer) patches(c claim) (Origin, bool) { return l.patchList("patches", c) }

// jsonPatches is the older field for JSON 6902 patches.
func (l *layer) jsonPatches(c claim) (Origin, bool) { return l.patchList("patchesJson6902", c) }

func (l *layer) patchList(field string, c claim) (Origin, bool) {
	entries := l.each(field)
	for i, entrie := range slices.Backward(entries) {
		target := fieldpath.Child(entrie, "target")
		if target != nil && !c.trace.selected(target) {
			continue
		}
		docs := l.contents(scalar(entrie, "path"), fieldpath.Child(entrie, "patch"), item(field, i, ".patch"))
		if o, ok := patched(docs, target != nil, c); ok {
			return o, true
		}
	}
	return Origin{}, false
}

// mergePatches is the older field for strategic merge patches: paths or texts.
func (l *layer) mergePatches(c claim) (Origin, bool) {
	const field = "patchesStrategicMerge"
	entries := l.each(field)
	for i, entrie := range slices.Backward(entries) {
		file, inline := entrie.Value, (*yaml.Node)(nil)
		if strings.ContainsAny(file, "\n{") {
			file, inline = "", entrie
		}
		if o, ok := patched(l.contents(file, inline, item(field, i, "")), false, c); ok {
			return o, true
		}
	}
	return Origin{}, false
}

// contents are the documents of a patch: of a file, or of a text at field.
func (l *layer) contents(file string, inline *yaml.Node, field string) []*document {
	if file != "" {
		// A file that cannot be read any more claims nothing.
		docs, _ := l.files.documents(path.Join(l.dir, file))
		return docs
	}
	if inline == nil {
		return nil
	}
	if l.spec {
		field = "spec." + field
	}
	return l.text(inline, field)
}

// patched is the origin of a field that one of the documents sets.
func patched(docs []*document, targeted bool, c claim) (Origin, bool) {
	for _, d := range slices.Backward(docs) {

		if d.root.Kind == yaml.SequenceNode {
			if o, ok := operations(d, c); ok {
				return o, true
			}
			continue
		}
		if !targeted && (scalar(d.root, "kind") != c.trace.kind || !c.trace.named(scalar(d.root, "metadata.name"))) {
			continue
		}
		if c.field == "metadata.name" && (!targeted || c.trace.declares(c)) {
			continue // only says which object is meant
		}
		key, value := fieldpath.Lookup(d.root, c.field)
		if value != nil && same(c.value, value) {
			return d.origin(Patch, key, value, c.field), true
		}
	}
	return Origin{}, false
}

// operations is the origin of a field that the last fitting operation of a
// JSON 6902 patch sets.
func operations(d *document, c claim) (Origin, bool) {
	pointers := c.trace.pointer(c.field)
	for i, op := range slices.Backward(d.root.Content) {

		if kind := scalar(op, "op"); kind != "add" && kind != "replace" {
			continue
		}
		key, value := fieldpath.Lookup(op, "value")
		if value == nil {
			continue
		}
		steps := strings.Split(strings.TrimPrefix(scalar(op, "path"), "/"), "/")
		rest, ok := below(steps, pointers)
		if !ok {
			continue
		}
		var at strings.Builder
		at.WriteString(item("", i, ".value"))
		for _, step := range rest {
			if key, value, _ = fieldpath.Step(value, []fieldpath.Segment{{Text: step, Bracket: true}}); value == nil {
				break
			}
			at.WriteString("[" + step + "]")
		}
		if value != nil && same(c.value, value) {
			return d.origin(JSONPatch, key, value, at.String()), true
		}
	}
	return Origin{}, false
}

// below reports whether a pointer is at or below the path of an operation, and
// what of it is left. "-" is the item that was appended to a list.
func below(op, pointer []string) ([]string, bool) {
	if len(op) > len(pointer) {
		return nil, false
	}
	for i, step := range op {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if step == "-" {
			if _, err := strconv.Atoi(pointer[i]); err != nil {
				return nil, false
			}
		} else if step != pointer[i] {
			return nil, false
		}
	}
	return pointer[len(op):], true
}

// pointer is a field's path in steps of a JSON pointer: list items by index.
func (t *Trace) pointer(field string) []string {
	var out []string
	n := t.rendered
	for rest := fieldpath.Parse(field); len(rest) > 0; {
		key, next, used := fieldpath.Step(n, rest)
		if next == nil {
			return nil
		}
		if n.Kind == yaml.SequenceNode {
			for i, c := range n.Content {
				if c == key {
					out = append(out, strconv.Itoa(i))
				}
			}
		} else {
			out = append(out, key.Value)
		}
		n, rest = next, rest[used:]
	}
	return out
}

// selected reports whether a patch's target means the object.
func (t *Trace) selected(target *yaml.Node) bool {
	gv, err := schema.ParseGroupVersion(scalar(t.rendered, "apiVersion"))
	if err != nil {
		return false
	}
	for field, have := range map[string][]string{
		"group": {gv.Group}, "version": {gv.Version}, "kind": {t.kind}, "name": t.names,
		"namespace": t.namespaces(),
	} {
		if want := scalar(target, field); want != "" && !anyMatches(want, have) {
			return false
		}
	}
	for field, in := range map[string]string{"labelSelector": "metadata.labels", "annotationSelector": "metadata.annotations"} {
		want := scalar(target, field)
		if want == "" {
			continue
		}
		sel, err := apilabels.Parse(want)
		if err != nil || !sel.Matches(t.pairs(in)) {
			return false
		}
	}
	return true
}

// anyMatches reports whether the whole of a text fits the expression.
func anyMatches(expr string, texts []string) bool {
	re, err := regexp.Compile("^(?:" + expr + ")$")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(texts, re.MatchString)
}

// namespaces are those that the object may have had on its way.
func (t *Trace) namespaces() []string {
	out := []string{scalar(t.rendered, "metadata.namespace")}
	if t.declared != nil {
		out = append(out, scalar(t.declared.node, "metadata.namespace"))
	}
	for _, l := range t.layers {
		out = append(out, scalar(l.node, "namespace"))
	}
	return append(out, "default")
}

func (t *Trace) pairs(field string) apilabels.Set {
	set := apilabels.Set{}
	_, n := fieldpath.Lookup(t.rendered, field)
	if n == nil {
		return set
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		set[n.Content[i].Value] = n.Content[i+1].Value
	}
	return set
}
