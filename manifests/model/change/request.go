package change

import (
	"context"

	"headway.dev/manifests/model/object"
)

// Request is a request to the API to write one object.
type Request struct {
	// User, Groups and Extra identify the user who makes the request, as
	// authentication found.
	User   string
	Groups []string
	Extra  map[string][]string
	// Manager is the field manager of the request, which may be empty.
	Manager string
	DryRun  bool
	// Old is the stored object, and Next what it is to become: nil if it is to
	// be deleted.
	Old, Next object.Object
}

// Elsewhere carries out a write in another way than by storing it. It returns
// the object as it is stored afterwards, nil if it no longer exists.
type Elsewhere func(ctx context.Context) (object.Object, error)
