package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	model "headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/sops"
)

// maxListDepth bounds lists within lists.
const maxListDepth = 8

// file decodes every document of one file.
func (l *loader) file(name string, data []byte) {
	if _, ok := sops.Detect(name, data); ok && l.tree.opts.Decrypt != nil {
		l.encryptedFile(name, data)
		return
	}
	for _, doc := range split(name, data) {
		l.document(doc, &position{doc: doc})
	}
}

func (l *loader) document(doc *document, at *position) {
	raw, ok := l.toJSON(doc)
	if !ok || string(raw) == "null" {
		return
	}
	l.value(raw, at, typeMeta{}, 0)
}

// toJSON is the document as JSON, without duplicate keys if it was YAML.
func (l *loader) toJSON(doc *document) ([]byte, bool) {
	if doc.json {
		if err := checkJSON(doc); err != nil {
			l.errs = append(l.errs, err)
			return nil, false
		}
		return doc.data, true
	}
	if err := checkAliases(doc); err != nil {
		l.fail(doc.source(), "%v", err)
		return nil, false
	}
	raw, err := yaml.YAMLToJSONStrict(doc.data)
	if err == nil {
		return raw, true
	}
	if dups := duplicateKeys(doc); len(dups) > 0 {
		l.errs = append(l.errs, dups...)
	} else {
		l.errs = append(l.errs, yamlError(doc, err))
	}
	return nil, false
}

func checkJSON(doc *document) *Error {
	var any json.RawMessage
	err := json.Unmarshal(doc.data, &any)
	if err == nil {
		return nil
	}
	at := doc.source()
	if isSyntax, offset := strictjson.SyntaxErrorOffset(err); isSyntax {
		at.Line = doc.line + strings.Count(string(doc.data[:min(int(offset), len(doc.data))]), "\n")
	}
	return &Error{Source: at, Reason: "parse JSON: " + err.Error()}
}

var (
	yamlLine      = regexp.MustCompile(`line (\d+): `)
	unknownAnchor = regexp.MustCompile(`(?s)unknown anchor '.*' referenced`)
)

// indentedByTab reports whether there is a tab in the indentation of a line.
func indentedByTab(data []byte, number int) bool {
	for line := range bytes.Lines(data) {
		if number--; number == 0 {
			return bytes.ContainsRune(line[:len(line)-len(bytes.TrimLeft(line, " \t"))], '\t')
		}
	}
	return false
}

// yamlError moves the line that the parser counted within the document to the
// file, and out of the message.
func yamlError(doc *document, err error) *Error {
	msg := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	msg = strings.TrimSpace(strings.TrimPrefix(msg, "yaml: "))
	at := doc.source()
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			at.Line = doc.line + n - 1
			msg = strings.Replace(msg, m[0], "", 1)
			if indentedByTab(doc.data, n) {
				msg += ": the line begins with a tab, indent with spaces"
			}
		}
	}
	// It may be a password that begins with an asterisk and is not quoted.
	msg = unknownAnchor.ReplaceAllString(msg, "unknown anchor; quote values that begin with *")
	return &Error{Source: at, Reason: "parse YAML: " + msg}
}

type typeMeta struct{ APIVersion, Kind string }

func (t typeMeta) gvk() schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(t.APIVersion, t.Kind)
}

// identity is what a document says that it is.
type identity struct {
	typeMeta
	top    map[string]json.RawMessage
	object string // for errors
}

func (id identity) naming() naming {
	var meta struct{ Name, Namespace string }
	_ = json.Unmarshal(id.top["metadata"], &meta) // what is wrong with it is found later
	return naming{id.Kind, meta.Namespace, meta.Name}
}

// identify reads the type of an object. A list's item may leave out the one
// that its list gives.
func (l *loader) identify(raw []byte, at *position, implied typeMeta) (identity, bool) {
	id := identity{typeMeta: implied}
	fail := func(field, format string, args ...any) (identity, bool) {
		l.errs = append(l.errs, &Error{Source: at.source(field), Object: id.object, Field: field, Reason: fmt.Sprintf(format, args...)})
		return id, false
	}
	if err := json.Unmarshal(raw, &id.top); err != nil || id.top == nil {
		return fail("", "not an API object: expected fields such as apiVersion, kind and metadata")
	}
	for field, to := range map[string]*string{"apiVersion": &id.APIVersion, "kind": &id.Kind} {
		if v, ok := id.top[field]; ok {
			if err := json.Unmarshal(v, to); err != nil {
				return fail(field, "expected a string")
			}
		}
	}
	id.object = describe(id.Kind, nameOf(id.top["metadata"]))
	if id.Kind == "" {
		return fail("kind", "Required value: the document has no kind")
	}
	if id.APIVersion == "" {
		return fail("apiVersion", "Required value: the document has no apiVersion")
	}
	if _, err := schema.ParseGroupVersion(id.APIVersion); err != nil {
		return fail("apiVersion", "%v", err)
	}
	return id, true
}

// value decodes one object, or the items of a list.
func (l *loader) value(raw []byte, at *position, implied typeMeta, depth int) {
	id, ok := l.identify(raw, at, implied)
	if !ok {
		return
	}
	if items, of, ok := listOf(id.typeMeta, id.top); ok {
		l.list(id.top, items, of, at, id.object, depth)
		return
	}
	l.object(raw, at, id)
}

// decode decodes one object strictly.
func (l *loader) decode(raw []byte, at *position, implied typeMeta) {
	id, ok := l.identify(raw, at, implied)
	if !ok {
		return
	}
	fault := func(field, format string, args ...any) {
		l.errs = append(l.errs, &Error{Source: at.source(field), Object: id.object, Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if l.standIn {
		l.seen = append(l.seen, id.naming())
	}
	kind, ok := scheme.ForKind(id.gvk().GroupKind())
	if !ok && mayBeCustom(id.gvk()) {
		decodeCustom(l, raw, at, id)
		return
	}
	older := olderVersion(id.gvk())
	if !ok || kind.Version != id.gvk().Version && older == nil {
		fault("kind", "no matches for kind %q in version %q", id.Kind, id.APIVersion)
		return
	}
	obj := kind.New()
	if older != nil {
		obj = older.New()
	}
	strict, err := strictjson.UnmarshalStrict(raw, obj)
	if err != nil || len(strict) > 0 {
		for _, f := range explain(raw, obj, strict, err) {
			if f.field == "sops" {
				f.reason = "the manifest is encrypted with SOPS: set spec.decryption on the Kustomization"
			}
			fault(f.field, "%s", f.reason)
		}
		return
	}
	item := obj
	if older != nil {
		item = kind.New()
		if err := scheme.Scheme.Convert(obj, item, nil); err != nil {
			fault("", "%v", err)
			return
		}
	}
	item.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	l.add(Item{Object: item, Source: at.source(""), at: at})
}

// olderVersion finds a kind that is served in an older version, too: what is loaded is
// its own.
func olderVersion(gvk schema.GroupVersionKind) *model.Older {
	for _, o := range scheme.Older() {
		if o.GroupVersionKind == gvk {
			return o
		}
	}
	return nil
}

// listOf recognizes v1 List, and the list types of served kinds; of is the
// type of the items where the list gives it.
func listOf(tm typeMeta, top map[string]json.RawMessage) (items json.RawMessage, of typeMeta, ok bool) {
	items, ok = top["items"]
	element, isList := strings.CutSuffix(tm.Kind, "List")
	if !isList {
		return nil, typeMeta{}, false
	}
	if tm == (typeMeta{APIVersion: "v1", Kind: "List"}) {
		return items, typeMeta{}, true
	}
	of = typeMeta{APIVersion: tm.APIVersion, Kind: element}
	if _, served := scheme.ForKind(of.gvk().GroupKind()); served {
		return items, of, ok
	}
	_, single := top["spec"]
	return items, of, ok && !single && mayBeCustom(of.gvk())
}

func (l *loader) list(top map[string]json.RawMessage, items json.RawMessage, of typeMeta, at *position, object string, depth int) {
	fault := func(field, reason string) {
		l.errs = append(l.errs, &Error{Source: at.source(field), Object: object, Field: field, Reason: reason})
	}
	for field := range top {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "items"}, field) {
			fault(field, "unknown field")
		}
	}
	if depth == maxListDepth {
		fault("", fmt.Sprintf("lists nested more than %d deep", maxListDepth))
		return
	}
	var elements []json.RawMessage
	if len(items) > 0 {
		if err := json.Unmarshal(items, &elements); err != nil {
			fault("items", "expected a list of objects")
			return
		}
	}
	for i, raw := range elements {
		l.value(raw, at.item(i), of, depth+1)
	}
}

// isManifestJSON tells API objects from the many other files named *.json.
// What does not parse may be a broken manifest, if it mentions both fields.
func isManifestJSON(data []byte) bool {
	var top struct{ APIVersion, Kind any }
	if err := json.Unmarshal(data, &top); err != nil {
		return strings.Contains(string(data), `"apiVersion"`) && strings.Contains(string(data), `"kind"`)
	}
	return top.APIVersion != nil && top.Kind != nil
}

func nameOf(metadata json.RawMessage) string {
	var m struct {
		Name json.RawMessage `json:"name"`
	}
	var name string
	if json.Unmarshal(metadata, &m) != nil || json.Unmarshal(m.Name, &name) != nil {
		return ""
	}
	return name
}

// A custom resource is loaded without its definition, which may stand in another
// file, in another Kustomization, or in the cluster alone: whether there is one, and
// whether the resource is as it says, is for who applies it. Only what all objects
// have in common is checked.

// mayBeCustom reports whether a definition may define a kind: one in a group that is
// a domain, of which Headway serves nothing in that version.
func mayBeCustom(gvk schema.GroupVersionKind) bool {
	if _, own := scheme.ForKind(gvk.GroupKind()); own || !strings.Contains(gvk.Group, ".") {
		return false
	}
	return !scheme.Scheme.IsVersionRegistered(gvk.GroupVersion())
}

// decodeCustom decodes an object of a kind that has no Go type.
func decodeCustom(l *loader, raw []byte, at *position, id identity) {
	var faults []fault
	if meta, ok := id.top["metadata"]; ok {
		only, err := json.Marshal(map[string]json.RawMessage{"metadata": meta})
		if err != nil {
			only = []byte("{}")
		}
		is := &metav1.PartialObjectMetadata{}
		if strict, err := strictjson.UnmarshalStrict(only, is); err != nil || len(strict) > 0 {
			faults = explain(only, is, strict, err)
		}
	}
	if _, ok := id.top["sops"]; ok {
		faults = append(faults, fault{"sops", "the manifest is encrypted with SOPS: set spec.decryption on the Kustomization"})
	}
	var content map[string]any
	if err := utiljson.Unmarshal(raw, &content); err != nil && len(faults) == 0 {
		faults = append(faults, fault{reason: err.Error()})
	}
	for _, f := range faults {
		l.errs = append(l.errs, &Error{Source: at.source(f.field), Object: id.object, Field: f.field, Reason: f.reason})
	}
	if len(faults) > 0 {
		return
	}
	if meta, ok := content["metadata"].(map[string]any); ok {
		for name, value := range meta {
			if value == nil { // creationTimestamp: null, as generators write it
				delete(meta, name)
			}
		}
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(id.gvk())
	l.add(Item{Object: u, Source: at.source(""), at: at})
}
