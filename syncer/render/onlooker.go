package render

import (
	"context"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/rights"
)

// Onlooker is whom a plan is made for, and what it had to leave out.
type Onlooker struct {
	ctx    context.Context //nolint:containedctx // of the one request that it serves
	caller rights.Rights
	acts   rights.Rights
	unread []object.Key
}

// NewOnlooker is who makes the call of ctx, as far as the rights of the stored
// state let it see; the Kustomization that is planned acts by its own.
func NewOnlooker(ctx context.Context, stored, acts rights.Rights) *Onlooker {
	return &Onlooker{ctx: ctx, caller: stored, acts: acts}
}

// Sees reports whether the caller may read an object.
func (o *Onlooker) Sees(key object.Key) bool { return o.caller.Permitted(o.ctx, "get", key) == nil }

// Outside reports whether the call comes from outside of this process.
func (o *Onlooker) Outside() bool {
	_, ok := rights.Caller(o.ctx)
	return ok
}

// LeftOut are the Secrets that were not read.
func (o *Onlooker) LeftOut() []object.Key { return o.unread }
