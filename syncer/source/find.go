package source

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// find finds a source by [namespace/]name among those that are seen;
// without a name it is headway-system/cluster or else the only one.
func (s *Set) find(name string, seen func(object.Key) bool) (*Source, error) {
	s.mu.Lock()
	sources := maps.Clone(s.byKey)
	s.mu.Unlock()
	var all, match []*Source
	for key, src := range sources {
		if !seen(key) {
			continue
		}
		all = append(all, src)
		full := key.Namespace + "/" + key.Name
		if full == name || key.Name == name || name == "" && full == wire.Root {
			match = append(match, src)
		}
	}
	switch {
	case len(match) == 1:
		return match[0], nil
	case len(match) > 1:
		return nil, fmt.Errorf("several GitRepositories are named %q: give namespace/name", name)
	case name == "" && len(all) == 1:
		return all[0], nil
	case name == "":
		return nil, fmt.Errorf("there are %d GitRepositories: name one", len(all))
	}
	return nil, fmt.Errorf("GitRepository %q not found: `headway status` names those there are, as NAMESPACE/NAME", name)
}

// Permitted finds the source that a caller names and may act on. About sources
// that the caller may not see it reveals nothing, not even whether they exist.
func (s *Set) Permitted(ctx context.Context, verb, name string) (*Source, error) {
	src, err := s.find(name, func(key object.Key) bool {
		return s.options.Rights.PermittedSource(ctx, verb, key) == nil || s.options.Rights.Permitted(ctx, "get", key) == nil
	})
	if err != nil {
		return nil, cmp.Or(s.options.Rights.PermittedSource(ctx, verb, Named(flux.GitRepository, name)), err)
	}
	return src, s.options.Rights.PermittedSource(ctx, verb, src.Key)
}

// ForPlan finds the source that a caller names for a plan: one that the caller
// may see, or that has a Kustomization that the caller may see.
func (s *Set) ForPlan(ctx context.Context, name string) (*Source, error) {
	src, err := s.find(name, func(key object.Key) bool {
		if s.options.Rights.Permitted(ctx, "get", key) == nil {
			return true
		}
		_, denied := s.options.Rights.Readable(ctx, flux.Followers(s.env.Store, key))
		return denied == nil
	})
	if err != nil {
		return nil, cmp.Or(s.options.Rights.Permitted(ctx, "get", Named(flux.GitRepository, name)), err)
	}
	return src, nil
}

// Named returns the sources that [namespace/]name means. Without a namespace,
// these are all of that name; without a name, the command line's own.
func Named(kind schema.GroupKind, name string) object.Key {
	namespace, short, full := strings.Cut(cmp.Or(name, wire.Root), "/")
	if !full {
		namespace, short = "", namespace
	}
	return object.Key{GroupKind: kind, Namespace: namespace, Name: short}
}
