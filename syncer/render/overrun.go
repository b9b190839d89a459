package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/source"
)

// A build that exceeded its budget is tried again after these times.
const (
	overrunFirst = 5 * time.Minute
	overrunMost  = 6 * time.Hour
)

// overrun is what is known of a build that took too much, if it is the last one.
func overrun(ks *kustomizev1.Kustomization, build string) *flux.Overrun {
	c := (flux.Conditions{List: &ks.Status.Conditions}).Get(flux.OverrunCondition)
	if c == nil {
		return nil
	}
	if o := flux.ParseOverrun(c.Message); o != nil && o.Build == build {
		return o
	}
	return nil
}

// sparing makes a build unless it is known to take too much.
func (r *Renderer) sparing(ctx context.Context, ks *kustomizev1.Kustomization, at source.Head, build func() ([]load.Item, error)) ([]load.Item, error) {
	sum := sha256.Sum256([]byte(r.buildID(ctx, ks, at)))
	id := hex.EncodeToString(sum[:6])
	last := overrun(ks, id)
	if last != nil && r.env.Now().Before(last.Until) {
		return nil, fault.New(meta.BuildFailedReason, last)
	}
	items, err := build()
	if !errors.Is(err, load.ErrBudget) {
		return items, err
	}
	wait, tries := overrunMost, 0
	if last != nil {
		tries = last.Tries
	}
	if tries < 8 {
		wait = min(wait, overrunFirst<<tries)
	}
	return nil, fault.New(meta.BuildFailedReason, &flux.Overrun{
		Why: clip(err.Error()), Until: r.env.Now().Add(wait).UTC().Truncate(time.Second), Build: id, Tries: tries + 1,
	})
}

// clip leaves room for what follows in a condition.
func clip(message string) string { return message[:min(len(message), 2000)] }

// interruptible is a context for a build that ends when the Kustomization is
// deleted or suspended meanwhile.
func (r *Renderer) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	r.cancel = cancel
	r.mu.Unlock()
	return ctx, func() {
		r.mu.Lock()
		r.cancel = nil
		r.mu.Unlock()
		cancel(nil)
	}
}

// Interrupt ends the running build: its Kustomization is no longer wanted.
func (r *Renderer) Interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel(errInterrupted)
	}
}
