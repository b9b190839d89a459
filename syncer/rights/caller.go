package rights

import (
	"context"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

type userKey struct{}

// WithUser sets the user who makes a call: it shows and does only what the user
// may, by Config.Access. A call without a user comes from this process.
func WithUser(ctx context.Context, user User) context.Context {
	return context.WithValue(WithTurn(ctx), userKey{}, user)
}

// Caller returns the user who makes a call, if it does not come from this
// process.
func Caller(ctx context.Context) (User, bool) {
	user, ok := ctx.Value(userKey{}).(User)
	return user, ok
}

// Permitted returns nil if the caller may do the verb on the object, and
// otherwise the API server's Forbidden error. Anyone who may see a
// Kustomization (get) may see what it applied and would apply.
func (r Rights) Permitted(ctx context.Context, verb string, key object.Key) error {
	user, ok := Caller(ctx)
	if !ok || r.access == nil {
		return nil
	}
	return r.allowed(ctx, user, verb, key)
}

// The verbs of a source that are Headway's own: to sync it, and to revert its
// commits.
const (
	VerbSync     = "sync"
	VerbRollback = "rollback"
)

// PermittedSource is Permitted for a verb of a source that is Headway's own. A
// caller who may patch the source may do that as well, through Flux's
// annotations or by changing what the source follows.
func (r Rights) PermittedSource(ctx context.Context, verb string, key object.Key) error {
	err := r.Permitted(ctx, verb, key)
	if err != nil && r.Permitted(ctx, "patch", key) == nil {
		return nil
	}
	return err
}

// Readable returns the Kustomizations that the caller may see; it fails if
// there are none.
func (r Rights) Readable(ctx context.Context, list []*kustomizev1.Kustomization) ([]*kustomizev1.Kustomization, error) {
	var denied error
	var seen []*kustomizev1.Kustomization
	for _, ks := range list {
		if err := r.Permitted(ctx, "get", flux.KeyOf(ks)); err != nil {
			denied = err
			continue
		}
		seen = append(seen, ks)
	}
	if len(seen) == 0 {
		return nil, denied
	}
	return seen, nil
}
