package load

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/sops"
	"headway.dev/manifests/yaml/substitute"
)

// What is made with secret values, of encrypted files or variables, is made
// twice: as it is, and with placeholders in their place. What differs between
// the two is secret, whatever it went through on the way (patches,
// replacements, ${var:0:3}); and the faults of the one with placeholders can be
// shown.

// errSecret stands for a fault that would show a secret value.
var errSecret = errors.New("a value that comes from a Secret or an encrypted file does not fit where it is used")

// pair loads both and keeps the items of the first.
func (l *loader) pair(at *position, real, standIn func(*loader)) {
	a := &loader{ctx: l.ctx, tree: l.tree, paired: true}
	b := &loader{ctx: l.ctx, tree: l.tree, paired: true, standIn: true, renamed: l.renamed}
	real(a)
	standIn(b)
	l.varies = true
	switch {
	case len(a.errs) == 0:
		for i, it := range a.items {
			var other object.Object
			if len(b.errs) == 0 && len(b.items) == len(a.items) {
				other = b.items[i].Object
			}
			if field := exposed(nameOfObject(it.Object), b.seen, i, l.renamed); field != "" && !l.named {
				l.fail(it.at.source(field), "%s: would show a value that comes from a Secret or an encrypted file", field)
				continue
			}
			if l.tree.opts.Blind { // a name that depends on a secret is one, too
				if it = hide(it, other, nil); it.hidden != nil {
					it.left = leftOut
				}
				l.add(it)
				continue
			}
			l.add(hide(it, other, l.renamed))
		}
	case len(b.errs) > 0:
		l.errs = append(l.errs, b.errs...)
	default:
		l.fail(at.source(""), "%v", errSecret)
	}
}

// naming is what all may know of an object: it is in plans, statuses and logs.
type naming struct{ kind, namespace, name string }

func nameOfObject(obj object.Object) naming {
	return naming{obj.GetObjectKind().GroupVersionKind().Kind, obj.GetNamespace(), obj.GetName()}
}

// exposed is the field, if any, by which an object would show a secret in its
// naming. seen are those with placeholders. That a name ends in a hash of the
// content, as those of generators do, is no fault.
func exposed(is naming, seen []naming, i int, renamed map[string]string) string {
	if i >= len(seen) {
		return "metadata.name"
	}
	switch other := seen[i]; {
	case is.kind != other.kind:
		return "kind"
	case is.namespace != other.namespace:
		return "metadata.namespace"
	case is.name != other.name && renamed[is.name] != other.name:
		return "metadata.name"
	}
	return ""
}

// hashed is the form of names that end in kustomize's hash of the content.
var hashed = regexp.MustCompile(`^(.*)-[2456789bcdfghkmt]{10}$`)

// SameButHash reports whether two names differ only in the hash that
// kustomize's generators append, which depends on the content.
func SameButHash(a, b string) bool { return sameButHash(a, b) }

// sameButHash reports whether two names differ in the hash alone.
func sameButHash(a, b string) bool {
	x, y := hashed.FindStringSubmatch(a), hashed.FindStringSubmatch(b)
	return x != nil && y != nil && x[1] == y[1]
}

// hide marks what differs from the object with placeholders; nil if there is
// none to compare with.
func hide(it Item, standIn object.Object, renamed map[string]string) Item {
	if standIn == nil {
		it.hidden = &hidden{all: true}
		diff.Hide(it.Object, nil)
		return it
	}
	_, isSecret := it.Object.(*corev1.Secret)
	h := &hidden{}
	var paths []string
	for _, f := range diff.WithSecrets(it.Object, standIn) {
		name, isName := f.Old.(string)
		switch {
		case f.Path == "metadata.name" || f.Path == "metadata.namespace":
			continue // a hash, or it would be refused
		case isName && renamed[name] != "" && renamed[name] == f.New:
			continue // another object's name, which ends in a hash of its content
		case f.Old == nil || f.New == nil:
			h.all = h.all || f.New == nil
		}
		h.add(f.Old)
		if !isSecret || !strings.HasPrefix(f.Path, "data") && !strings.HasPrefix(f.Path, "stringData") {
			paths = append(paths, f.Path)
		}
	}
	switch {
	case h.all: // even a key may be secret
		diff.Hide(it.Object, nil)
	case len(paths) > 0:
		diff.Hide(it.Object, paths)
	}
	if h.all || len(h.values) > 0 {
		it.hidden = h
	}
	return it
}

// hidden are the secret values in an object.
type hidden struct {
	all    bool
	values []string
}

func (h *hidden) add(value any) {
	switch v := value.(type) {
	case nil:
	case map[string]any:
		for _, child := range v {
			h.add(child)
		}
	case []any:
		for _, child := range v {
			h.add(child)
		}
	default:
		text := fmt.Sprint(v)
		if text == "" {
			return
		}
		h.values = append(h.values, text)
		if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) > 0 {
			h.values = append(h.values, string(raw))
		}
	}
}

// HasSecrets reports whether the object contains secret values.
func (i Item) HasSecrets() bool { return i.hidden != nil }

// Redact returns a message about the item, or a replacement for it if it
// contains a secret value of the item.
func (i Item) Redact(message string) string {
	if i.hidden == nil {
		return message
	}
	if i.hidden.all || slices.ContainsFunc(i.hidden.values, func(v string) bool { return strings.Contains(message, v) }) {
		return errSecret.Error()
	}
	return message
}

// encryptedFile decodes the documents of a file of SOPS, with the places that
// they have in the file.
func (l *loader) encryptedFile(name string, data []byte) {
	l.varies = true
	f, err := l.tree.opts.Decrypt(name, data)
	if err != nil {
		l.fail(Source{File: name}, "decryption failed: %v", err)
		return
	}
	docs, plain, standIn := split(name, data), split(name, f.Plain), split(name, f.Placeholder)
	for i, doc := range plain {
		at := &position{doc: newDocument(name, 1, data, false)}
		if len(docs) == len(plain) {
			at.doc = docs[i]
		}
		if len(standIn) != len(plain) || bytes.Equal(doc.data, standIn[i].data) {
			l.document(doc, at)
			continue
		}
		l.pair(at, func(l *loader) { l.document(doc, at) }, func(l *loader) { l.document(standIn[i], at) })
	}
}

// version is an object as JSON on its way to be decoded, or what went wrong.
type version struct {
	raw []byte
	err error
}

// object decrypts what a Secret holds that is a file of SOPS by itself,
// substitutes variables, and decodes what came out.
func (l *loader) object(raw []byte, at *position, id identity) {
	plain, standIn, secret := version{raw: raw}, version{raw: raw}, false
	if id.Kind == "Secret" || substitute.Contains(raw) {
		l.varies = true
		if l.unknown(raw, id) {
			l.leave(at, id)
			return
		}
		secret = l.decryptData(&plain, &standIn, id)
		if l.substitutes(id) {
			secret = l.substitute(&plain, &standIn, secret) || secret
		}
	}
	decode := func(v version) func(*loader) {
		return func(l *loader) {
			if v.err != nil {
				l.errs = append(l.errs, &Error{Source: at.source(""), Object: id.object, Reason: v.err.Error()})
				return
			}
			l.decode(v.raw, at, id.typeMeta)
		}
	}
	switch {
	case secret && !l.paired:
		l.pair(at, decode(plain), decode(standIn))
	case l.standIn:
		decode(standIn)(l)
	default:
		decode(plain)(l)
	}
}

// substituteKey is the label or annotation that keeps an object from it.
const substituteKey = "kustomize.toolkit.fluxcd.io/substitute"

// substitutes reports whether variables are substituted in an object.
func (l *loader) substitutes(id identity) bool {
	if l.tree.opts.Substitute == nil {
		return false
	}
	var meta struct{ Labels, Annotations map[string]any }
	if json.Unmarshal(id.top["metadata"], &meta) != nil {
		return true
	}
	return meta.Labels[substituteKey] != "disabled" && meta.Annotations[substituteKey] != "disabled"
}

// unknown reports whether an object has variables whose values are not known.
func (l *loader) unknown(raw []byte, id identity) bool {
	if !l.tree.opts.Blind || !l.substitutes(id) || !substitute.Contains(raw) {
		return false
	}
	text, err := yaml.JSONToYAML(raw)
	return err == nil && l.tree.opts.Substitute.Unknown(string(text))
}

// leave adds an object that is left out.
func (l *loader) leave(at *position, id identity) {
	is := id.naming()
	for field, value := range map[string]string{"kind": is.kind, "metadata.namespace": is.namespace, "metadata.name": is.name} {
		if strings.Contains(value, "$") {
			l.fail(at.source(field), "%s: would show a value that comes from a Secret or an encrypted file", field)
			return
		}
	}
	var obj object.Object
	if kind, ok := scheme.ForKind(id.gvk().GroupKind()); ok && kind.Version == id.gvk().Version {
		obj = kind.New()
	} else if mayBeCustom(id.gvk()) {
		obj = &unstructured.Unstructured{}
	} else {
		l.errs = append(l.errs, &Error{Source: at.source("kind"), Object: id.object, Field: "kind", Reason: fmt.Sprintf("no matches for kind %q in version %q", id.Kind, id.APIVersion)})
		return
	}
	obj.GetObjectKind().SetGroupVersionKind(id.gvk())
	obj.SetNamespace(is.namespace)
	obj.SetName(is.name)
	if l.standIn {
		l.seen = append(l.seen, is)
	}
	l.add(Item{Object: obj, Source: at.source(""), at: at, hidden: &hidden{all: true}, left: leftOut})
}

// substitute substitutes the variables, and reports whether a secret one was.
func (l *loader) substitute(plain, standIn *version, secret bool) bool {
	one := func(v *version, placeholders bool) (used bool) {
		if v.err != nil || !substitute.Contains(v.raw) {
			return false
		}
		text, err := yaml.JSONToYAML(v.raw)
		if err != nil {
			v.err = errors.New("the manifest cannot be written as YAML")
			return false
		}
		out, used, err := l.tree.opts.Substitute.Eval(string(text), placeholders)
		if err != nil {
			v.err = err
			return used
		}
		v.raw, v.err = substituted([]byte(out))
		return used
	}
	used := one(plain, false)
	if used || secret {
		return one(standIn, true) || used
	}
	*standIn = *plain
	return false
}

// substituted reads what a substitution made: values may hold anything.
func substituted(text []byte) ([]byte, error) {
	err := checkAliases(newDocument("", 1, text, false))
	if err == nil {
		var raw []byte
		if raw, err = yaml.YAMLToJSONStrict(text); err == nil {
			return raw, nil
		}
		err = errors.New(yamlError(newDocument("", 1, text, false), err).Reason)
	}
	return nil, fmt.Errorf("variable substitution failed: the manifest with the values is not valid: %w", err)
}

// decryptData decrypts the values of a Secret's data that are files of SOPS,
// and reports whether there are any.
func (l *loader) decryptData(plain, standIn *version, id identity) bool {
	if l.tree.opts.Decrypt == nil || id.Kind != "Secret" || id.APIVersion != "v1" {
		return false
	}
	var data map[string]string
	if json.Unmarshal(id.top["data"], &data) != nil {
		return false
	}
	a, b := map[string]string{}, map[string]string{}
	found := false
	for key, text := range data {
		a[key], b[key] = text, text
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			continue
		}
		if _, ok := sops.Detect(key, raw); !ok {
			continue
		}
		f, err := l.tree.opts.Decrypt(key, raw)
		if err != nil {
			err = fmt.Errorf("decryption of data[%s] failed: %w", key, err)
			plain.err, standIn.err = err, err
			return false
		}
		found = true
		a[key], b[key] = base64.StdEncoding.EncodeToString(f.Plain), base64.StdEncoding.EncodeToString(f.Placeholder)
	}
	if !found {
		return false
	}
	for _, v := range []struct {
		to   *version
		data map[string]string
	}{{plain, a}, {standIn, b}} {
		top := maps.Clone(id.top)
		encoded, err := json.Marshal(v.data)
		top["data"] = encoded
		if err == nil {
			v.to.raw, err = json.Marshal(top)
		}
		if err != nil {
			v.to.err = errors.New("the Secret cannot be written as JSON")
		}
	}
	return true
}
