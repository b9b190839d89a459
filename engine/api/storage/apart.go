package storage

import (
	"context"

	"headway.dev/manifests/model/object"
)

// Apart has the items of a list beside it: the list itself has none. Who asks for that
// encodes the items as they are stored.
type Apart struct {
	// Items are shared, as all that is in the store.
	Items []object.Object
	// Listed says that there has been a list.
	Listed bool
}

type apartKey struct{}

// WithApart makes the list of ctx have its items apart. It is for one list.
func WithApart(ctx context.Context, a *Apart) context.Context {
	return context.WithValue(ctx, apartKey{}, a)
}

// apartOf returns what takes the items of the list of ctx, or nil.
func apartOf(ctx context.Context) *Apart {
	a, ok := ctx.Value(apartKey{}).(*Apart)
	if !ok {
		return nil
	}
	a.Items, a.Listed = nil, true
	return a
}
