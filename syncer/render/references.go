package render

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
)

// Bounds of how an object may come to its name.
const (
	maxAffixes   = 100
	maxSpellings = 100
)

// References are the objects that files declare, as far as can be determined
// without rendering them.
type References struct {
	byKind map[string][]reference
	known  map[reference]bool
	broken []brokenDoc
	around affixes
	// all says that they may be to any object: there are too many to tell.
	all bool
}

// reference is an object that a file declares.
type reference struct {
	kind, name, namespace string
	// generated says that the name ends in a hash when it is rendered.
	generated bool
}

// brokenDoc is a document that is no YAML: each name in it may be one of each
// kind.
type brokenDoc struct{ kinds, names map[string]bool }

// affixes are what the kustomizations of a directory put around names, and the
// namespaces that they set.
type affixes struct{ prefixes, suffixes, namespaces []string }

// Fit reports whether one of them may refer to the object, leaving open what
// only rendering can determine.
func (rs *References) Fit(ks *kustomizev1.Kustomization, key object.Key) bool {
	if rs.all {
		return true
	}
	set := append([]string{ks.Spec.TargetNamespace}, rs.around.namespaces...)
	anywhere := key.Namespace == "" || slices.ContainsFunc(set, func(ns string) bool { return ns != "" && (ns == key.Namespace || variable(ns)) })
	plain, generated, ok := rs.spellings(ks, key.Name)
	if !ok {
		return true
	}
	for _, r := range rs.byKind[key.Kind] {
		if !anywhere && !variable(r.namespace) && r.namespace != key.Namespace && (r.namespace != "" || key.Namespace != "default") {
			continue
		}
		if r.generated && spelled(r.name, generated) || !r.generated && spelled(r.name, plain) {
			return true
		}
	}
	return slices.ContainsFunc(rs.broken, func(doc brokenDoc) bool {
		if !doc.kinds[key.Kind] {
			return false
		}
		for name := range doc.names {
			if spelled(name, plain) {
				return true
			}
		}
		return false
	})
}

// spellings are the names in files by which an object may come to its name,
// also those of generators; ok is false if they are countless.
func (rs *References) spellings(ks *kustomizev1.Kustomization, name string) (plain, generated map[string]bool, ok bool) {
	ok = true
	add := func(names map[string]bool, name string) {
		if names[name] = true; len(names) > maxSpellings {
			ok = false
		}
	}
	cut := func(names map[string]bool, by []string, trim func(string, string) string) {
		for _, affix := range by {
			for _, name := range slices.Collect(maps.Keys(names)) {
				if short := trim(name, affix); ok && affix != "" {
					add(names, short)
				}
			}
		}
	}
	plain = map[string]bool{name: true}
	cut(plain, append([]string{ks.Spec.NamePrefix}, rs.around.prefixes...), strings.TrimPrefix)
	generated = maps.Clone(plain)
	for name := range plain {
		if m := hashedName.FindStringSubmatch(name); m != nil {
			add(generated, m[1])
		}
	}
	suffixes := append([]string{ks.Spec.NameSuffix}, rs.around.suffixes...)
	cut(plain, suffixes, strings.TrimSuffix)
	cut(generated, suffixes, strings.TrimSuffix)
	return plain, generated, ok
}

// spelled reports whether a name in a file may be one of some: the parts around
// variables have to be the same.
func spelled(written string, names map[string]bool) bool {
	if !variable(written) {
		return names[written]
	}
	parts := expression.Split(written, -1)
	first, last := parts[0], parts[len(parts)-1]
	for name := range names {
		if len(parts) == 1 {
			if name == written {
				return true
			}
			continue
		}
		rest, begins := strings.CutPrefix(name, first)
		rest, ends := strings.CutSuffix(rest, last)
		fits := begins && ends
		for _, part := range parts[1 : len(parts)-1] {
			var found bool
			_, rest, found = strings.Cut(rest, part)
			fits = fits && found
		}
		if fits {
			return true
		}
	}
	return false
}

var (
	hashedName = regexp.MustCompile(`^(.+)-[2456789bcdfghkmt]{10}$`)
	expression = regexp.MustCompile(`\$\{[^}]*\}`)
)

func variable(text string) bool { return strings.Contains(text, "${") }
