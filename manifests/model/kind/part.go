package kind

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
)

// Part is a subresource that is the whole object, of which a write through it
// changes one part.
type Part[T object.Object] struct {
	// Name is that of the subresource.
	Name string
	// Fields are the paths of the part, such as spec.ephemeralContainers, where *
	// stands for any item of a list: who applies it owns nothing else.
	Fields []string
	// Update takes everything but the part, the metadata and the status from old. It
	// leaves what it cannot take to Rules.
	Update func(obj, old T)
	// Declared says that manifests declare the part as well, so that a write of it is
	// reviewed as one of the object is.
	Declared bool
	// Over says why nothing comes of what is written to the part of obj any more; empty
	// if something does. Nil stands for always empty.
	Over func(obj T) string
	// Rules is what is checked of the part, besides the metadata.
	Rules func(obj, old T) field.ErrorList
}

// Part finds the part of a subresource.
func (k *Kind) Part(subresource string) (Part[object.Object], bool) {
	for _, p := range k.Parts {
		if p.Name == subresource {
			return p, true
		}
	}
	return Part[object.Object]{}, false
}

func untypedParts[T object.Object](list []Part[T]) []Part[object.Object] {
	var parts []Part[object.Object]
	for _, p := range list {
		over := func(object.Object) string { return "" }
		if p.Over != nil {
			over = func(obj object.Object) string {
				typed, ok := obj.(T)
				if !ok {
					return ""
				}
				return p.Over(typed)
			}
		}
		parts = append(parts, Part[object.Object]{Name: p.Name, Fields: p.Fields, Declared: p.Declared, Update: doBoth(p.Update), Over: over, Rules: both(p.Rules)})
	}
	return parts
}
