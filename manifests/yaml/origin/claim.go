package origin

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/manifests/model/fieldpath"
)

// claims is the origin of a field that the layer sets to its rendered value.
// The order is the reverse of that in which kustomize applies the parts.
func (l *layer) claims(c claim) (Origin, bool) {
	for _, part := range []func(claim) (Origin, bool){
		l.commonMetadata, l.images, l.replicas, l.jsonPatches, l.annotations, l.labels, l.rename1("nameSuffix", NameSuffix),
		l.rename1("namePrefix", NamePrefix), l.namespace, l.patches, l.mergePatches, l.generators,
	} {
		if o, ok := part(c); ok {
			return o, true
		}
	}
	return Origin{}, false
}

// entry is the origin of the value that the layer has at a path, if it is what
// was rendered or is known to make it.
func (l *layer) entry(how How, field string) (Origin, bool) {
	key, value := fieldpath.Lookup(l.node, field)
	if value == nil {
		return Origin{}, false
	}
	return l.origin(how, key, value, field), true
}

// each is the mappings of a list of the layer.
func (l *layer) each(field string) []*yaml.Node {
	n := fieldpath.Child(l.node, field)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

func item(field string, i int, more string) string {
	return field + "[" + strconv.Itoa(i) + "]" + more
}

// images: name, newName, newTag, digest. The last that fits the rendered image
// has set it; the answer is what of it decides most.
func (l *layer) images(c claim) (Origin, bool) {
	if !strings.HasSuffix(c.field, ".image") || c.value.Kind != yaml.ScalarNode {
		return Origin{}, false
	}
	name, tag, digest := SplitImage(c.value.Value)
	entries := l.each("images")
	for i, entrie := range slices.Backward(entries) {
		get := func(f string) string { return scalar(entrie, f) }
		newName := get("newName")
		if newName == "" {
			newName = get("name")
		}
		if newName != name {
			continue
		}
		switch {
		case get("digest") != "":
			if get("digest") == digest {
				return l.entry(Images, item("images", i, ".digest"))
			}
		case get("newTag") != "":
			if tag == get("newTag")+get("tagSuffix") {
				return l.entry(Images, item("images", i, ".newTag"))
			}
		case get("tagSuffix") != "":
			if strings.HasSuffix(tag, get("tagSuffix")) {
				return l.entry(Images, item("images", i, ".tagSuffix"))
			}
		case get("newName") != "":
			return l.entry(Images, item("images", i, ".newName"))
		}
	}
	return Origin{}, false
}

// SplitImage takes apart an image's name, tag and digest, as kustomize does: also
// of one that no registry would take.
func SplitImage(image string) (name, tag, digest string) {
	name, digest, _ = strings.Cut(image, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name, tag = name[:at], name[at+1:]
	}
	return name, tag, digest
}

// replicas: name, count.
func (l *layer) replicas(c claim) (Origin, bool) {
	if c.field != "spec.replicas" {
		return Origin{}, false
	}
	entries := l.each("replicas")
	for i, entrie := range slices.Backward(entries) {
		if c.trace.named(scalar(entrie, "name")) && scalar(entrie, "count") == c.value.Value {
			return l.entry(Replicas, item("replicas", i, ".count"))
		}
	}
	return Origin{}, false
}

// named reports whether the object had a name on its way.
func (t *Trace) named(name string) bool {
	return slices.Contains(t.names, name)
}

func (l *layer) namespace(c claim) (Origin, bool) {
	if c.field != "metadata.namespace" && !strings.HasSuffix(c.field, ".namespace") {
		return Origin{}, false
	}
	field := "namespace"
	if l.spec {
		field = "targetNamespace"
	}
	if v := scalar(l.node, field); v == "" || v != c.value.Value || c.field != "metadata.namespace" && c.trace.declares(c) {
		return Origin{}, false
	}
	return l.entry(Namespace, field)
}

// declares reports whether the manifest itself has the value.
func (t *Trace) declares(c claim) bool {
	if t.declared == nil {
		return false
	}
	_, v := fieldpath.Lookup(t.declared.node, c.field)
	return v != nil && same(c.value, v)
}

// rename1 is for namePrefix and nameSuffix.
func (l *layer) rename1(field string, how How) func(claim) (Origin, bool) {
	return func(c claim) (Origin, bool) {
		affix := scalar(l.node, field)
		if c.field != "metadata.name" || affix == "" || c.trace.declares(c) || !strings.Contains(c.value.Value, affix) {
			return Origin{}, false
		}
		return l.entry(how, field)
	}
}

// parent is a path without its last step, and that step.
func parent(field string) (string, string) {
	segments := fieldpath.Parse(field)
	if len(segments) < 2 {
		return "", field
	}
	last := segments[len(segments)-1].Text
	at := ""
	for _, s := range segments[:len(segments)-1] {
		at = s.Text
	}
	return at, last
}

// labels: labels and commonLabels.
func (l *layer) labels(c claim) (Origin, bool) {
	at, key := parent(c.field)
	if at != "labels" && at != "matchLabels" && at != "selector" {
		return Origin{}, false
	}
	top := strings.HasPrefix(c.field, "metadata.labels")
	entries := l.each("labels")
	for i, entrie := range slices.Backward(entries) {
		reaches := top || scalar(entrie, "includeSelectors") == "true" || fieldpath.Child(entrie, "fields") != nil ||
			at == "labels" && scalar(entrie, "includeTemplates") == "true"
		if o, ok := l.pair(Labels, item("labels", i, ".pairs"), key, c); ok && reaches {
			return o, true
		}
	}
	return l.pair(Labels, "commonLabels", key, c)
}

func (l *layer) annotations(c claim) (Origin, bool) {
	at, key := parent(c.field)
	if at != "annotations" {
		return Origin{}, false
	}
	return l.pair(Annotations, "commonAnnotations", key, c)
}

// commonMetadata is only in a Flux Kustomization, for the object itself.
func (l *layer) commonMetadata(c claim) (Origin, bool) {
	at, key := parent(c.field)
	how := Labels
	if at == "annotations" {
		how = Annotations
	}
	if !l.spec || !strings.HasPrefix(c.field, "metadata."+at) {
		return Origin{}, false
	}
	return l.pair(how, "commonMetadata."+at, key, c)
}

// pair is the origin of an entry of a map, if it has the claimed value.
func (l *layer) pair(how How, field, key string, c claim) (Origin, bool) {
	field += "[" + key + "]"
	if _, v := fieldpath.Lookup(l.node, field); v == nil || !same(c.value, v) {
		return Origin{}, false
	}
	return l.entry(how, field)
}

// variable is what postBuild substitutes.
var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// same reports whether a source's value became the rendered one: equal, but for
// the notation of numbers and quantities, and for what is filled in or
// decrypted after the build.
func same(rendered, source *yaml.Node) bool {
	if source.Kind == yaml.AliasNode {
		source = source.Alias
	}
	if rendered.Kind != source.Kind {
		return false
	}
	switch rendered.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(rendered.Content); i += 2 {
			v := fieldpath.Child(source, rendered.Content[i].Value)
			if v == nil || !same(rendered.Content[i+1], v) {
				return false
			}
		}
		return true
	case yaml.SequenceNode:
		if len(rendered.Content) != len(source.Content) {
			return false
		}
		for i := range rendered.Content {
			if !same(rendered.Content[i], source.Content[i]) {
				return false
			}
		}
		return true
	case yaml.ScalarNode:
		return sameText(rendered.Value, source.Value)
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return false
}

func sameText(rendered, source string) bool {
	if rendered == source || strings.HasPrefix(source, "ENC[") {
		return true
	}
	if variable.MatchString(source) {
		return fits(variable.Split(source, -1), rendered)
	}
	a, err := resource.ParseQuantity(rendered)
	if err != nil {
		return false
	}
	b, err := resource.ParseQuantity(source)
	return err == nil && a.Cmp(b) == 0
}

// fits reports whether a text has the parts in their order, from its beginning to
// its end.
func fits(parts []string, text string) bool {
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, p := range parts[1 : len(parts)-1] {
		if _, rest, ok = strings.Cut(rest, p); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
