package writeback

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/kustomize/api/konfig"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/yaml/edit"
	"headway.dev/manifests/yaml/load"
	"headway.dev/manifests/yaml/origin"
	"headway.dev/syncer/render"
	"headway.dev/syncer/tree"
)

// mapping turns changes of an object's fields into edits of the files that
// they come from.
type mapping struct {
	tree  tree.Tree
	ks    *kustomizev1.Kustomization
	item  load.Item
	trace *origin.Trace
	// edits are the contents of the files that change; nil is one that goes.
	edits map[string][]byte
}

func newMapping(ks *kustomizev1.Kustomization, t tree.Tree, item load.Item) (*mapping, error) {
	trace, err := origin.Of(t, render.CleanDir(ks.Spec.Path), &ks.Spec, item)
	if err != nil {
		return nil, err
	}
	return &mapping{tree: t, ks: ks, item: item, trace: trace, edits: map[string][]byte{}}, nil
}

// spot is a value in one of the files.
type spot struct {
	origin.Origin
	path string // in the document, or in the text at Field if it is Inline
}

// apply maps the changes, those that remove last and from the end on, so that
// the indexes of lists stay right.
func (m *mapping) apply(changes []fieldChange) error {
	for _, c := range changes {
		if !c.removed {
			if err := m.set(c); err != nil {
				return err
			}
		}
	}
	for _, c := range slices.Backward(changes) {
		if c.removed {
			if err := m.set(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *mapping) set(c fieldChange) error {
	at, there, err := m.spot(c.path)
	if err != nil {
		return err
	}
	if there && at.How == origin.Images {
		return m.image(at, c)
	}
	value := c.value
	if strings.HasPrefix(at.path, "stringData") && value != nil {
		text, ok := c.value.(string)
		raw, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || !utf8.Valid(raw) {
			return fmt.Errorf("%s: the value is no text; edit the file", at.Source)
		}
		value = string(raw)
	}
	return m.document(at.Origin, func(doc any) (any, error) {
		if c.removed {
			doc, _ = edit.Drop(doc, at.path)
			return doc, nil
		}
		doc, err := edit.Put(doc, at.path, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at.Source, err)
		}
		return doc, nil
	})
}

// spot finds where a field is written, or is to be written if nothing sets it:
// then there is false.
func (m *mapping) spot(field string) (at spot, there bool, err error) {
	if o, ok := m.trace.Field(field); ok {
		at = spot{o, o.Field}
		if o.Inline != "" {
			at.path = o.Inline
		}
		return at, true, m.writable(at.Origin, field)
	}
	// A new field of an item of a list goes where the item is named, any other
	// into the manifest.
	prefix, rest := "", field
	base := "kind"
	segments := fieldpath.Parse(field)
	for i := len(segments) - 1; i > 0; i-- {
		key, _, named := strings.Cut(segments[i].Text, "=")
		if !segments[i].Bracket || !named {
			continue
		}
		outer := join(segments[:i+1])
		if _, ok := m.trace.Field(outer + "." + key); ok {
			base, rest = outer+"."+key, strings.TrimPrefix(strings.TrimPrefix(field, outer), ".")
			prefix = key
			break
		}
	}
	o, ok := m.trace.Field(base)
	if !ok || o.Source.File == "" {
		return at, false, fmt.Errorf("%s: no file declares the object", field)
	}
	inner := o.Field
	if o.Inline != "" {
		inner = o.Inline
	}
	if prefix == "" {
		prefix = "kind"
	}
	inner = strings.TrimSuffix(strings.TrimSuffix(inner, prefix), ".")
	at = spot{o, inner}
	if rest != "" && inner != "" && rest[0] != '[' {
		at.path += "."
	}
	at.path += rest
	return at, false, m.writable(o, field)
}

// join is the path of segments, as fieldpath.Parse took it apart.
func join(segments []fieldpath.Segment) string {
	out := ""
	for _, s := range segments {
		switch {
		case s.Bracket:
			out += "[" + s.Text + "]"
		default:
			out = fieldpath.Join(out, s.Text)
		}
	}
	return out
}

// writable says why a value cannot be changed where it comes from.
func (m *mapping) writable(o origin.Origin, field string) error {
	if o.Source.File == "" {
		return fmt.Errorf("%s comes from %s of the Kustomization %s/%s: change it there", field, o.Field, m.ks.Namespace, m.ks.Name)
	}
	switch o.How {
	case origin.Manifest, origin.Patch, origin.JSONPatch, origin.Images, origin.Replicas:
	default:
		return fmt.Errorf("%s is made by %s in %s, which may concern other objects, too: edit the file", field, o.How, o.Source)
	}
	if !o.Exact && o.How != origin.Images {
		return fmt.Errorf("%s is computed from %s: edit the file", field, o.Source)
	}
	doc, err := m.read(o)
	if err != nil {
		return err
	}
	if top, ok := doc.(map[string]any); ok && top["sops"] != nil {
		return fmt.Errorf("%s is encrypted with SOPS: edit it with sops", o.Source.File)
	}
	if v, ok := edit.Lookup(doc, o.Field); ok && m.ks.Spec.PostBuild != nil && o.Inline == "" {
		if text, ok := v.(string); ok && strings.Contains(text, "${") {
			return fmt.Errorf("%s is substituted by spec.postBuild in %s: edit the file", field, o.Source)
		}
	}
	return nil
}

// file is the content of a file as edited so far.
func (m *mapping) file(name string) ([]byte, error) {
	if data, ok := m.edits[name]; ok {
		return data, nil
	}
	return m.tree.ReadFile(name)
}

func (m *mapping) read(o origin.Origin) (any, error) {
	data, err := m.file(o.Source.File)
	if err != nil {
		return nil, err
	}
	doc, _, err := edit.Get(o.Source.File, data, edit.Document(o.Document))
	return doc, err
}

// document changes the document that an origin names, or the text in it.
func (m *mapping) document(o origin.Origin, change func(any) (any, error)) error {
	data, err := m.file(o.Source.File)
	if err != nil {
		return err
	}
	doc, _, err := edit.Get(o.Source.File, data, edit.Document(o.Document))
	if err != nil {
		return err
	}
	if o.Inline != "" {
		change = inText(o, change)
	}
	if doc, err = change(doc); err != nil {
		return err
	}
	out, err := edit.Set(o.Source.File, data, edit.Document(o.Document), doc)
	if err != nil {
		return err
	}
	m.edits[o.Source.File] = out
	return nil
}

// inText makes a change of a document one of the text that holds it.
func inText(o origin.Origin, change func(any) (any, error)) func(any) (any, error) {
	return func(doc any) (any, error) {
		value, _ := edit.Lookup(doc, o.Field)
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("%s: the patch is no text; edit the file", o.Source)
		}
		inner, _, err := edit.Get(o.Source.File, []byte(text), edit.ID{})
		if err != nil {
			return nil, err
		}
		if inner, err = change(inner); err != nil {
			return nil, err
		}
		out, err := edit.Set(o.Source.File, []byte(text), edit.ID{}, inner)
		if err != nil {
			return nil, err
		}
		return edit.Put(doc, o.Field, string(out))
	}
}

// image changes an entry of images: its tag or digest, and its name if that is
// another.
func (m *mapping) image(at spot, c fieldChange) error {
	next, ok := c.value.(string)
	old, _ := m.rendered(c.path)
	entry := at.path[:strings.LastIndexByte(at.path, '.')]
	name, tag, digest := origin.SplitImage(next)
	oldName, _, _ := origin.SplitImage(old)
	if !ok || tag == "" && digest == "" && name == oldName {
		return fmt.Errorf("%s comes from images in %s: edit the file", c.path, at.Source)
	}
	return m.document(at.Origin, func(doc any) (any, error) {
		put := func(key, value string) (err error) {
			if value == "" {
				doc, _ = edit.Drop(doc, entry+"."+key)
				return nil
			}
			doc, err = edit.Put(doc, entry+"."+key, value)
			return err
		}
		var err error
		if name != oldName {
			err = put("newName", name)
		}
		return doc, errors.Join(err, put("newTag", tag), put("digest", digest))
	})
}

// rendered is a text that the item has at a path.
func (m *mapping) rendered(field string) (string, bool) {
	for _, f := range fieldChanges(nil, m.item.Object) {
		if f.path == field {
			text, ok := f.value.(string)
			return text, ok
		}
	}
	return "", false
}

// remove takes the object out of its file, and a file that is empty then out of
// the kustomizations that list it.
func (m *mapping) remove() error {
	o, ok := m.trace.Field("kind")
	if !ok || o.How != origin.Manifest {
		return errors.New("no file declares the object: it is generated; edit the kustomization")
	}
	data, err := m.file(o.Source.File)
	if err != nil {
		return err
	}
	doc, err := m.read(o)
	if err != nil {
		return err
	}
	prefix := strings.TrimSuffix(o.Field, "kind")
	text := func(field string) string {
		v, _ := edit.Lookup(doc, prefix+field)
		s, _ := v.(string)
		return s
	}
	id := edit.ID{APIVersion: text("apiVersion"), Kind: text("kind"), Namespace: text("metadata.namespace"), Name: text("metadata.name")}
	rest, empty, err := edit.Remove(o.Source.File, data, id)
	if err != nil {
		return err
	}
	if !empty {
		m.edits[o.Source.File] = rest
		return nil
	}
	m.edits[o.Source.File] = nil
	return m.unlist(o.Source.File)
}

// unlist takes a file out of the resources of the kustomizations that the
// object was made from.
func (m *mapping) unlist(file string) error {
	for _, name := range m.trace.Files() {
		if !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name)) {
			continue
		}
		data, err := m.file(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		doc, _, err := edit.Get(name, data, edit.ID{})
		if err != nil {
			return err
		}
		top, _ := doc.(map[string]any)
		list, _ := top["resources"].([]any)
		left := slices.DeleteFunc(slices.Clone(list), func(v any) bool {
			entry, _ := v.(string)
			return path.Join(path.Dir(name), entry) == file
		})
		if len(left) == len(list) {
			continue
		}
		top["resources"] = left
		if m.edits[name], err = edit.Set(name, data, edit.ID{}, top); err != nil {
			return err
		}
	}
	return nil
}
