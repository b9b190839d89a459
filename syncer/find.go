package syncer

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

// findSource finds a source by [namespace/]name among those that are seen;
// without a name it is headway-system/cluster or else the only one.
func (s *Syncer) findSource(name string, seen func(object.Key) bool) (*source, error) {
	s.mu.Lock()
	sources := maps.Clone(s.sources)
	s.mu.Unlock()
	var all, match []*source
	for key, src := range sources {
		if !seen(key) {
			continue
		}
		all = append(all, src)
		full := key.Namespace + "/" + key.Name
		if full == name || key.Name == name || name == "" && full == "headway-system/cluster" {
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

// permittedSourceNamed finds the source that a caller names and may do something
// to. Of sources that the caller may not see it says nothing, not even whether
// they are there.
func (s *Syncer) permittedSourceNamed(ctx context.Context, verb, name string) (*source, error) {
	src, err := s.findSource(name, func(key object.Key) bool {
		return s.rights.PermittedSource(ctx, verb, key) == nil || s.rights.Permitted(ctx, "get", key) == nil
	})
	if err != nil {
		return nil, cmp.Or(s.rights.PermittedSource(ctx, verb, named(flux.GitRepository, name)), err)
	}
	return src, s.rights.PermittedSource(ctx, verb, src.key)
}

// plannedSource finds the source that a caller names for a plan: one that the
// caller may see, or has a Kustomization that the caller may see.
func (s *Syncer) plannedSource(ctx context.Context, name string) (*source, error) {
	src, err := s.findSource(name, func(key object.Key) bool {
		if s.rights.Permitted(ctx, "get", key) == nil {
			return true
		}
		_, denied := s.rights.Readable(ctx, s.followers(key))
		return denied == nil
	})
	if err != nil {
		return nil, cmp.Or(s.rights.Permitted(ctx, "get", named(flux.GitRepository, name)), err)
	}
	return src, nil
}

// named is what a caller names by [namespace/]name. Without a namespace it is
// all of that name; without a name it is the command line's own.
func named(kind schema.GroupKind, name string) object.Key {
	namespace, short, full := strings.Cut(cmp.Or(name, "headway-system/cluster"), "/")
	if !full {
		namespace, short = "", namespace
	}
	return object.Key{GroupKind: kind, Namespace: namespace, Name: short}
}
