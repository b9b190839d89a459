package history

import (
	"go.yaml.in/yaml/v3"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
)

// maskHidden decodes an object's JSON, without the values of the fields that
// are marked as secret. If one of them cannot be found, nothing is shown but
// what the object is.
func maskHidden(obj object.Object, raw []byte) (map[string]any, error) {
	var doc yaml.Node // of which JSON is a part
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	paths, all := diff.Hidden(obj)
	for _, path := range paths {
		if _, value := fieldpath.Lookup(doc.Content[0], path); value != nil {
			*value = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: hiddenValue}
		} else {
			all = true
		}
	}
	if all {
		gvk := obj.GetObjectKind().GroupVersionKind()
		meta := map[string]any{"name": obj.GetName(), "annotations": map[string]any{diff.HiddenFields: diff.HideAll}}
		if ns := obj.GetNamespace(); ns != "" {
			meta["namespace"] = ns
		}
		return map[string]any{"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind, "metadata": meta}, nil
	}
	var m map[string]any
	if err := doc.Decode(&m); err != nil {
		return nil, err
	}
	return m, nil
}
