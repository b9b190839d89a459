package custom

import (
	"context"
	"slices"
	"strings"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/discovery"

	"headway.dev/manifests/model/object"
)

// Definitions returns the definitions that are in force, by name, without their
// schemas.
func (r *Resources) Definitions() []*apiextensionsv1.CustomResourceDefinition {
	list, _ := object.Heads(r.reader, definition)
	return established(list)
}

// Definition returns a whole definition, nil if there is none.
func (r *Resources) Definition(name string) *apiextensionsv1.CustomResourceDefinition {
	crd, _ := r.reader.Get(object.Key{GroupKind: definition, Name: name}).(*apiextensionsv1.CustomResourceDefinition)
	return crd
}

func established(list []object.Object) []*apiextensionsv1.CustomResourceDefinition {
	var out []*apiextensionsv1.CustomResourceDefinition
	for _, obj := range list {
		if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok && apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
			out = append(out, crd)
		}
	}
	return out
}

// List keeps the groups of custom resources in groups, which is what /apis says
// to clients that do not ask for aggregated discovery, until ctx ends. own are
// the groups that are in there anyway. It watches the store: the registry of kinds
// learns of a change before readers of the store do, and of some that it concerns
// (a definition is in force) not at all.
func (r *Resources) List(ctx context.Context, groups discovery.GroupManager, own func(group string) bool) {
	known := map[string]bool{}
	for ctx.Err() == nil {
		list, revision := object.Heads(r.reader, definition)
		now := map[string]bool{}
		for _, group := range apiGroups(established(list)) {
			if !own(group.Name) {
				now[group.Name] = true
				groups.AddGroup(group)
			}
		}
		for name := range known {
			if !now[name] {
				groups.RemoveGroup(name)
			}
		}
		known = now
		w, err := r.reader.Watch(revision, definition)
		if err == nil {
			_, err = w.Next(ctx)
		}
		if err == nil {
			continue
		}
		// The end of ctx or of the store, or a watch that fell behind and begins anew.
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// apiGroups are the groups of what crds serve, by name.
func apiGroups(crds []*apiextensionsv1.CustomResourceDefinition) []metav1.APIGroup {
	versions := map[string][]metav1.GroupVersionForDiscovery{}
	for _, crd := range crds {
		for _, v := range crd.Spec.Versions {
			gv := metav1.GroupVersionForDiscovery{GroupVersion: crd.Spec.Group + "/" + v.Name, Version: v.Name}
			if v.Served && !slices.Contains(versions[crd.Spec.Group], gv) {
				versions[crd.Spec.Group] = append(versions[crd.Spec.Group], gv)
			}
		}
	}
	var groups []metav1.APIGroup
	for name, list := range versions {
		slices.SortFunc(list, func(a, b metav1.GroupVersionForDiscovery) int {
			return version.CompareKubeAwareVersionStrings(b.Version, a.Version)
		})
		groups = append(groups, metav1.APIGroup{Name: name, Versions: list, PreferredVersion: list[0]})
	}
	slices.SortFunc(groups, func(a, b metav1.APIGroup) int { return strings.Compare(a.Name, b.Name) })
	return groups
}
