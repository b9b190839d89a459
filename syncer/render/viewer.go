package render

import (
	"context"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/rights"
)

// Viewer is the caller for whom a plan is made, and what was left out for
// that caller.
type Viewer struct {
	ctx    context.Context //nolint:containedctx // of the one request that it serves
	caller rights.Rights
	acts   rights.Rights
	unread []object.Key
}

// NewViewer returns the caller of ctx, who sees what the rights of the stored
// state allow; the Kustomization that is planned acts by its own.
func NewViewer(ctx context.Context, stored, acts rights.Rights) *Viewer {
	return &Viewer{ctx: ctx, caller: stored, acts: acts}
}

// Sees reports whether the caller may read an object.
func (o *Viewer) Sees(key object.Key) bool { return o.caller.Permitted(o.ctx, "get", key) == nil }

// Outside reports whether the call comes from outside this process.
func (o *Viewer) Outside() bool {
	_, ok := rights.Caller(o.ctx)
	return ok
}

// LeftOut returns the Secrets that were not read.
func (o *Viewer) LeftOut() []object.Key { return o.unread }
