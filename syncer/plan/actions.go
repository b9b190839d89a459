package plan

import "headway.dev/syncer/wire"

// WireActions are the actions that change something, as the HTTP API has them; with
// values, or for feeds and logs without.
func (r Result) WireActions(values bool) []wire.Action {
	list := []wire.Action{}
	for _, a := range r.Actions {
		if a.Type == Unchanged {
			continue
		}
		w := wire.Action{
			Action: string(a.Type), Group: a.Key.Group, Kind: a.Key.Kind, Namespace: a.Key.Namespace, Name: a.Key.Name,
			Restart: a.Restart, Recreate: a.Recreate, Reason: a.Reason, File: a.Source.File, Line: a.Source.Line,
		}
		if a.Type == Update {
			for _, f := range a.Fields {
				field := wire.Field{Path: f.Path}
				if values {
					field.Old, field.New = f.Old, f.New
				}
				w.Fields = append(w.Fields, field)
			}
		}
		list = append(list, w)
	}
	return list
}
