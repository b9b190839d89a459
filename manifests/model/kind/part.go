package kind

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
)

// Part is a subresource that is the whole object, of which a write through it
// changes one part.
type Part[T object.Object] struct {
	// Name is that of the subresource, and Field the path of the part, such as
	// spec.ephemeralContainers: who applies it owns nothing else.
	Name, Field string
	// Update takes everything but the part, the metadata and the status from old.
	Update func(obj, old T)
	// Rules is what is checked of the part, besides the metadata.
	Rules func(obj, old T) field.ErrorList
}

func untypedParts[T object.Object](list []Part[T]) []Part[object.Object] {
	var parts []Part[object.Object]
	for _, p := range list {
		parts = append(parts, Part[object.Object]{Name: p.Name, Field: p.Field, Update: doBoth(p.Update), Rules: both(p.Rules)})
	}
	return parts
}
