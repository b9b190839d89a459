package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// published writes what Kubernetes publishes of its API, taken from the module
// k8s.io/kubernetes, whose licence is Apache-2.0: the documents of all stable
// versions, without the documentation in them.
func published(version, path string) error {
	dir, err := module("k8s.io/kubernetes@" + version)
	if err != nil {
		return err
	}
	out := struct {
		Source string         `json:"source"`
		V2     map[string]any `json:"v2"`
		V3     map[string]any `json:"v3"`
	}{Source: "k8s.io/kubernetes " + version + ", api/openapi-spec, Apache-2.0", V3: map[string]any{}}
	if out.V2, err = document(filepath.Join(dir, "api/openapi-spec/swagger.json")); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "api/openapi-spec/v3/*_openapi.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		name := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), "_openapi.json"), "__", "/")
		if unstable.MatchString(name) {
			continue
		}
		if out.V3[name], err = document(file); err != nil {
			return err
		}
	}
	return write(path, out)
}

// module returns the directory of a module, outside of which go.mod has nothing
// of it.
func module(name string) (string, error) {
	dir, err := os.MkdirTemp("", "published")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(context.Background(), "go", "mod", "download", "-json", name)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	answer, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %w", name, err)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(answer, &m); err != nil {
		return "", fmt.Errorf("download %s: %w", name, err)
	}
	return m.Dir, nil
}

// unstable are paths and definitions of alpha and beta versions.
var unstable = regexp.MustCompile(`[/.]v\d+(alpha|beta)\d+([/.]|$)`)

func document(file string) (map[string]any, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	doc := map[string]any{}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, list := range []any{doc["paths"], doc["definitions"]} {
		entries, _ := list.(map[string]any)
		for name := range entries {
			if unstable.MatchString(name) {
				delete(entries, name)
			}
		}
	}
	silence(doc)
	return doc, nil
}

// silence removes the documentation. A property of that name is no string.
func silence(value any) {
	switch v := value.(type) {
	case map[string]any:
		if _, ok := v["description"].(string); ok {
			delete(v, "description")
		}
		for _, inner := range v {
			silence(inner)
		}
	case []any:
		for _, inner := range v {
			silence(inner)
		}
	}
}
