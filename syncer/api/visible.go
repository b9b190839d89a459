package api

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// hidden stands for a value that the caller may not read.
const hidden = "(hidden)"

// visibleStatus is a status cut to what the caller may see.
func (s *API) visibleStatus(ctx context.Context, st wire.Status) wire.Status {
	st.Sources = slices.DeleteFunc(st.Sources, func(src wire.SourceStatus) bool {
		return s.Rights.Permitted(ctx, "get", object.Key{GroupKind: flux.GitRepository, Namespace: src.Namespace, Name: src.Name}) != nil
	})
	st.Kustomizations = s.visibleKustomizations(ctx, st.Kustomizations)
	for i := range st.Sources {
		st.Sources[i].Kustomizations = s.visibleKustomizations(ctx, st.Sources[i].Kustomizations)
	}
	return st
}

// visibleKustomizations leaves out what the caller may not see, and why a
// Kustomization is not ready that another waits for.
func (s *API) visibleKustomizations(ctx context.Context, list []wire.KustomizationStatus) []wire.KustomizationStatus {
	list = slices.DeleteFunc(list, func(ks wire.KustomizationStatus) bool { return !s.sees(ctx, ks.Namespace+"/"+ks.Name) })
	for _, ks := range list {
		for i, o := range ks.WaitsFor {
			if !s.sees(ctx, o.Namespace+"/"+o.Name) {
				ks.WaitsFor[i].Status, ks.WaitsFor[i].Message = "NotReady", hidden
			}
		}
	}
	return list
}

// sees reports whether the caller may see the Kustomization, given as
// NAMESPACE/NAME.
func (s *API) sees(ctx context.Context, kustomization string) bool {
	namespace, name, _ := strings.Cut(kustomization, "/")
	return s.Rights.Permitted(ctx, "get", object.Key{GroupKind: flux.Kustomization, Namespace: namespace, Name: name}) == nil
}

// visibleLog is a log cut to the Kustomizations that the caller may see.
func (s *API) visibleLog(ctx context.Context, list []wire.LogEntry) []wire.LogEntry {
	may := map[string]bool{}
	return slices.DeleteFunc(list, func(e wire.LogEntry) bool {
		seen, known := may[e.Kustomization]
		if !known {
			seen = s.sees(ctx, e.Kustomization)
			may[e.Kustomization] = seen
		}
		return !seen
	})
}

// syncable are the sources that the caller may have synced; it fails if that
// is none.
func (s *API) syncable(ctx context.Context, all []*source.Source) ([]*source.Source, error) {
	var denied error
	var list []*source.Source
	for _, src := range all {
		if err := s.Rights.PermittedSource(ctx, rights.VerbSync, src.Key); err != nil {
			denied = err
			continue
		}
		list = append(list, src)
	}
	if len(list) == 0 {
		// It names what was asked for, not what there is.
		return nil, cmp.Or(s.Rights.PermittedSource(ctx, rights.VerbSync, source.Named(flux.GitRepository, "")), denied)
	}
	return list, nil
}
