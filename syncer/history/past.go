package history

import (
	"context"
	"errors"
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// GetPast returns an object as Git declared it at a commit or a time.
func (s *History) GetPast(ctx context.Context, q wire.ObjectQuery) (wire.PastObject, error) {
	kind, err := s.servedKind(q.Kind)
	if err != nil {
		return wire.PastObject{}, err
	}
	key := object.Key{GroupKind: kind.GroupKind(), Namespace: q.Namespace, Name: q.Name}
	var errs []error
	for _, ks := range s.declarers(key, q.Kustomization) {
		if err := s.rights.Permitted(ctx, "get", flux.KeyOf(ks)); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := ctx.Err(); err != nil {
			return wire.PastObject{}, err
		}
		out, err := s.past(ctx, ks, key, q.At)
		if err == nil {
			return out, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return wire.PastObject{}, Missing("no Kustomization matches %q", q.Kustomization)
	}
	return wire.PastObject{}, firstFault(errs)
}

// firstFault prefers an error that says more than that the object is not there.
func firstFault(errs []error) error {
	for _, err := range errs {
		if m := (*MissingError)(nil); !errors.As(err, &m) {
			return err
		}
	}
	return errs[0]
}

func (s *History) past(ctx context.Context, ks *kustomizev1.Kustomization, key object.Key, at string) (wire.PastObject, error) {
	commit, err := s.commitAt(ks, at)
	if err != nil {
		return wire.PastObject{}, err
	}
	v, err := s.PastVersion(ctx, ks, commit)
	if err != nil {
		return wire.PastObject{}, err
	}
	for _, it := range v.items {
		have, err := plan.KeyOf(it.Object)
		if err != nil || have.GroupKind != key.GroupKind || have.Name != key.Name || key.Namespace != "" && have.Namespace != key.Namespace {
			continue
		}
		if reason := it.LeftOut(); reason != "" {
			return wire.PastObject{}, fmt.Errorf("%s/%s %s", key.Kind, key.Name, reason)
		}
		obj, err := WithoutSecrets(it.Object)
		if err != nil {
			return wire.PastObject{}, err
		}
		return wire.PastObject{
			Kustomization: v.name(), Revision: "sha1:" + commit, Commit: v.describe(),
			File: it.Source.File, Line: it.Source.Line, Object: obj,
		}, nil
	}
	return wire.PastObject{}, Missing("%s/%s was not declared at %s: see `headway log %[1]s/%[2]s` for the commits that changed it", key.Kind, key.Name, commit[:min(12, len(commit))])
}

// declarers are the Kustomizations that may have declared an object: the one
// that has applied it, or else all.
func (s *History) declarers(key object.Key, name string) []*kustomizev1.Kustomization {
	var claimed, others []*kustomizev1.Kustomization
	list, _ := s.env.Store.List(flux.Kustomization, "")
	for _, o := range list {
		ks, ok := o.(*kustomizev1.Kustomization)
		if !ok || name != "" && ks.Namespace+"/"+ks.Name != name && ks.Name != name {
			continue
		}
		has := slices.ContainsFunc(flux.InventoryOf(ks), func(k object.Key) bool {
			return k.GroupKind == key.GroupKind && k.Name == key.Name && (key.Namespace == "" || k.Namespace == key.Namespace)
		})
		if has {
			claimed = append(claimed, ks)
		} else {
			others = append(others, ks)
		}
	}
	return append(claimed, others...)
}

// ByKey returns the items of a version by their keys; none of a nil one.
func (v *Version) ByKey() map[object.Key]load.Item {
	m := map[object.Key]load.Item{}
	if v == nil {
		return m
	}
	for _, it := range v.items {
		if key, err := plan.KeyOf(it.Object); err == nil {
			m[key] = it
		}
	}
	return m
}
