package fault

import (
	"errors"
	"strings"

	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/wire"
)

// Faults takes an error apart into those of the single manifests.
func Faults(err error) []wire.Fault {
	if invalid, ok := errors.AsType[*Invalid](err); ok {
		var list []wire.Fault
		for _, e := range invalid.Errs {
			list = append(list, wire.Fault{
				File: e.Source.File, Line: e.Source.Line, Kind: e.Key.Kind, Namespace: e.Key.Namespace, Name: e.Key.Name,
				Field: e.Field, Reason: e.Reason, Message: e.Error(),
			})
		}
		return list
	}
	if found := load.Errors(err); len(found) > 0 {
		var list []wire.Fault
		for _, e := range found {
			kind, name, _ := strings.Cut(e.Object, "/")
			list = append(list, wire.Fault{
				File: e.Source.File, Line: e.Source.Line, Kind: kind, Name: name, Field: e.Field, Reason: e.Reason, Message: e.Error(),
			})
		}
		return list
	}
	return []wire.Fault{{Reason: err.Error(), Message: err.Error()}}
}
