package kind

import (
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/object"
)

// Older is an older version in which a kind is served, too. What is stored is the
// kind's own; its group's AddToScheme has the conversions, of lists, too.
type Older struct {
	Names
	Of *Kind
	// New and NewList return empty values.
	New     func() object.Object
	NewList func() runtime.Object
}
