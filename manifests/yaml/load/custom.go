package load

import (
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	strictjson "sigs.k8s.io/json"

	"headway.dev/manifests/model/scheme"
)

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

// custom decodes an object of a kind that has no Go type.
func (l *loader) custom(raw []byte, at *position, id identity) {
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
