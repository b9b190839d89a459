package limits

import (
	"context"

	"k8s.io/apiserver/pkg/authentication/user"
)

// insideKey carries the user of an in-process request in its context. Only this
// process can set it, so no request from outside can.
type insideKey struct{}

// WithInside returns the context of a request that a component of this process
// makes as a user.
func WithInside(ctx context.Context, u user.Info) context.Context {
	return context.WithValue(ctx, insideKey{}, u)
}

// Inside returns the user of a request that a component of this process makes.
func Inside(ctx context.Context) (user.Info, bool) {
	u, ok := ctx.Value(insideKey{}).(user.Info)
	return u, ok
}
