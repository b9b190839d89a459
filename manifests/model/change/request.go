package change

import (
	"context"

	"headway.dev/manifests/model/object"
)

// Request is the write of one object that somebody asks the API for.
type Request struct {
	// User, Groups and Extra are who asks, as authentication found.
	User   string
	Groups []string
	Extra  map[string][]string
	// Manager is the field manager of the request, which may be empty.
	Manager string
	DryRun  bool
	// Old is the stored object, Next what it is to become: nil if it is to be
	// deleted.
	Old, Next object.Object
}

// Elsewhere carries a write out in another way than by storing it. It returns
// the object as it is stored afterwards, nil if there is none any more.
type Elsewhere func(ctx context.Context) (object.Object, error)
