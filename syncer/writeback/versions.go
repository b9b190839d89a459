package writeback

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/plan"
)

// A write is reviewed in the version in which the object is stored. Git may declare a
// custom resource in another one, whose fields may be others: by those names they are
// looked for in the files, and written there.

func apiVersion(obj object.Object) string {
	return obj.GetObjectKind().GroupVersionKind().GroupVersion().String()
}

// otherVersion is the one that a custom resource has in Git, if it is stored in another.
func (s *Writeback) otherVersion(item load.Item) string {
	gvk := item.Object.GetObjectKind().GroupVersionKind()
	if k, ok := s.Env.Kinds.ForKind(gvk.GroupKind()); !ok || k.Custom == nil || k.Version == gvk.Version {
		return ""
	}
	return gvk.GroupVersion().String()
}

// asDeclared returns states of an object in the version that it has in Git. It may ask a
// webhook.
func (s *Writeback) asDeclared(ctx context.Context, item load.Item, states ...object.Object) ([]object.Object, error) {
	other := s.otherVersion(item)
	if other == "" {
		return states, nil
	}
	gvk := item.Object.GetObjectKind().GroupVersionKind()
	k, _ := s.Env.Kinds.ForKind(gvk.GroupKind())
	version, ok := k.Custom.Version(gvk.Version)
	if !ok {
		return nil, fmt.Errorf("%s, in which %s declares the object, is not served", other, item.Source.File)
	}
	out := make([]object.Object, 0, len(states))
	for _, state := range states {
		u, ok := state.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("unexpected %T", state)
		}
		shown, err := k.Custom.Convert(ctx, u, gvk.GroupVersion(), s.Env.Convert)
		if err != nil {
			return nil, fmt.Errorf("it cannot be converted from %s to %s, in which %s declares it: %w", u.GetAPIVersion(), other, item.Source.File, err)
		}
		shown = shown.DeepCopy()
		if err := version.Complete(shown); err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}

// ignored are the paths of changes from old to next that spec.ignore has syncs leave alone.
func (s *Writeback) ignored(ks *kustomizev1.Kustomization, item load.Item, old, next object.Object, changes []fieldChange) (map[string]bool, error) {
	if len(ks.Spec.Ignore) == 0 {
		return nil, nil
	}
	gvk := item.Object.GetObjectKind().GroupVersionKind()
	if k, ok := scheme.ForObject(item.Object); ok {
		gvk = k.GroupVersionKind
	}
	doc, err := plan.KeepIgnored(ks.Spec.Ignore, gvk, next, old)
	if err != nil {
		return nil, err
	}
	kept, err := fromDocument(doc, next)
	if err != nil {
		return nil, err
	}
	ignored := map[string]bool{}
	for _, c := range changes {
		ignored[c.path] = true
	}
	for _, c := range s.changes(old, kept) {
		delete(ignored, c.path)
	}
	return ignored, nil
}
