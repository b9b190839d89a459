package origin

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/yaml/load"
)

// hashSuffix is what kustomize appends to the names of what it generates.
var hashSuffix = regexp.MustCompile(`-[a-z0-9]{10}$`)

// generators: configMapGenerator and secretGenerator, also those that merge
// into or replace what a base generates.
func (l *layer) generators(c claim) (Origin, bool) {
	field := map[string]string{"ConfigMap": "configMapGenerator", "Secret": "secretGenerator"}[c.trace.kind]
	if field == "" {
		return Origin{}, false
	}
	entries := l.each(field)
	for i, entrie := range slices.Backward(entries) {
		if !c.trace.generated(scalar(entrie, "name")) {
			continue
		}
		if o, ok := l.generator(entrie, item(field, i, ""), c); ok {
			return o, true
		}
	}
	return Origin{}, false
}

// generated reports whether the object's name may be that of a generator.
func (t *Trace) generated(name string) bool {
	if name == "" {
		return false
	}
	for _, have := range t.names {
		without := hashSuffix.ReplaceAllString(have, "")
		for _, n := range []string{have, without} {
			if n == name || strings.HasSuffix(n, name) || strings.HasPrefix(n, name) {
				return true
			}
		}
	}
	return false
}

func (l *layer) generator(gen *yaml.Node, field string, c claim) (Origin, bool) {
	at, key := parent(c.field)
	switch at {
	case "data", "binaryData", "stringData":
		return l.generatedKey(gen, field, key)
	case "labels", "annotations":
		for _, n := range []string{field + ".options." + at, "generatorOptions." + at} {
			if o, ok := l.pair(Generator, n, key, c); ok {
				return o, true
			}
		}
		return Origin{}, false
	}
	switch c.field {
	case "metadata.name":
		if c.trace.declared != nil {
			return Origin{}, false
		}
		return l.entry(Generator, field+".name")
	case "metadata.namespace":
		return l.entry(Generator, field+".namespace")
	case "type", "immutable":
		for _, n := range []string{field + ".type", field + ".options.immutable", "generatorOptions.immutable"} {
			if strings.HasSuffix(n, c.field) {
				if o, ok := l.entry(Generator, n); ok {
					return o, true
				}
			}
		}
	}
	return Origin{}, false
}

// generatedKey is where a key of the data comes from: a literal, a file, or a
// line of an env file.
func (l *layer) generatedKey(gen *yaml.Node, field, key string) (Origin, bool) {
	for i, n := range sequence(gen, "literals") {
		if k, _, _ := strings.Cut(n.Value, "="); k == key {
			return l.entry(Generator, item(field+".literals", i, ""))
		}
	}
	for _, n := range sequence(gen, "files") {
		k, file, named := strings.Cut(n.Value, "=")
		if !named {
			k, file = path.Base(n.Value), n.Value
		}
		if k != key {
			continue
		}
		file = path.Join(l.dir, file)
		data, err := l.files.read(file)
		if err != nil {
			return Origin{}, false
		}
		lines := max(1, bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))+1)
		return Origin{How: Generator, Source: load.Source{File: file, Line: 1}, End: lines, Exact: true}, true
	}
	envs := sequence(gen, "envs")
	if env := fieldpath.Child(gen, "env"); env != nil {
		envs = append(envs, env)
	}
	for _, n := range envs {
		if line := l.envLine(path.Join(l.dir, n.Value), key); line > 0 {
			return Origin{How: Generator, Source: load.Source{File: path.Join(l.dir, n.Value), Line: line}, End: line, Exact: true}, true
		}
	}
	return Origin{}, false
}

// envLine is the line of a variable in an env file, or 0.
func (l *layer) envLine(file, key string) int {
	data, err := l.files.read(file)
	if err != nil {
		return 0
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if k, _, _ := strings.Cut(strings.TrimSpace(string(line)), "="); k == key {
			return n
		}
	}
	return 0
}

func sequence(n *yaml.Node, field string) []*yaml.Node {
	c := fieldpath.Child(n, field)
	if c == nil || c.Kind != yaml.SequenceNode {
		return nil
	}
	return c.Content
}
