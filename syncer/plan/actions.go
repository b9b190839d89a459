package plan

import (
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/wire"
)

// Action is what happens to one object.
type Action struct {
	Type Type
	Key  object.Key
	// Object is the state to store, for a Create and an Update, and for an
	// Unchanged of which only the field ownership is to be written (else nil).
	Object object.Object
	// Kind is that of Object, which may be a custom one.
	Kind *kind.Kind
	// Live is the stored state that the action was decided on, or nil.
	Live   object.Object
	Fields []diff.Field
	// Restart reports whether the change replaces running pods.
	Restart bool
	// Recreate reports whether an Update deletes the object first.
	Recreate bool
	// Part is the subresource through which an Update changes a part of the object.
	Part string
	// Reason explains a Skip or a Recreate, why nothing comes of an Update, or what it
	// leaves alone.
	Reason string
	// Excluded reports, for a Skip, whether the object itself asks to be left
	// alone, or whether another has taken it over since.
	Excluded bool
	// Held reports, for a Skip, whether the object is deleted later: once custom
	// resources are gone whose definition goes, too.
	Held bool
	// Successor is the Kustomization that takes over the object, or may, for a Skip
	// that waits for it.
	Successor *Successor
	Source    load.Source

	want object.Object // of the item
}

// Writes reports whether the action changes the store.
func (a Action) Writes() bool { return a.Type == Delete || a.Object != nil }

// Rest is the object of an action with a Part but for that part, which is written
// first: the object as it is, with what else changes of it.
func (a Action) Rest() object.Object {
	part, _ := a.Kind.Part(a.Part)
	rest, _ := a.Live.DeepCopyObject().(object.Object)
	part.Update(rest, a.Object)
	rest.SetLabels(a.Object.GetLabels())
	rest.SetAnnotations(a.Object.GetAnnotations())
	rest.SetOwnerReferences(a.Object.GetOwnerReferences())
	rest.SetFinalizers(a.Object.GetFinalizers())
	rest.SetManagedFields(a.Object.GetManagedFields())
	rest.SetResourceVersion("")
	return rest
}

// FieldPaths are the fields that an Update changes.
func (a Action) FieldPaths() []string {
	if a.Type != Update {
		return nil
	}
	var paths []string
	for _, f := range a.Fields {
		paths = append(paths, f.Path)
	}
	return paths
}

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
