package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/source"
)

// OverrunCondition is on a Kustomization whose build exceeded its budget. The
// same build is not tried again before the time that it names, also after a
// restart, because it would exceed it again.
const (
	OverrunCondition = "headway.dev/BuildBudgetExceeded"
	OverrunReason    = "BuildBudgetExceeded"
	overrunFirst     = 5 * time.Minute
	overrunMost      = 6 * time.Hour
)

// OverrunError reports a build that exceeded its budget, and when it is tried
// again.
type OverrunError struct {
	Message string
	until   time.Time
}

// Error implements error.
func (e *OverrunError) Error() string { return e.Message }

var overrunMessage = regexp.MustCompile(`(?s)It is tried again at (\S+), or once something changes \[build (\w+), try (\d+)\]$`)

// overrun is what is known of a build that took too much, if it is the last one.
func overrun(ks *kustomizev1.Kustomization, build string) (until time.Time, tries int, message string) {
	c := apimeta.FindStatusCondition(ks.Status.Conditions, OverrunCondition)
	if c == nil {
		return time.Time{}, 0, ""
	}
	m := overrunMessage.FindStringSubmatch(c.Message)
	if m == nil || m[2] != build {
		return time.Time{}, 0, ""
	}
	until, err := time.Parse(time.RFC3339, m[1])
	if err != nil {
		return time.Time{}, 0, ""
	}
	tries, err = strconv.Atoi(m[3])
	if err != nil {
		return time.Time{}, 0, ""
	}
	return until, tries, c.Message
}

// sparing makes a build unless it is known to take too much.
func (r *Renderer) sparing(ks *kustomizev1.Kustomization, at source.Head, build func() ([]load.Item, error)) ([]load.Item, error) {
	sum := sha256.Sum256([]byte(r.buildID(ks, at)))
	id := hex.EncodeToString(sum[:6])
	until, tries, message := overrun(ks, id)
	if r.env.Now().Before(until) {
		return nil, fault.New(meta.BuildFailedReason, &OverrunError{message, until})
	}
	items, err := build()
	if !errors.Is(err, load.ErrBudget) {
		return items, err
	}
	wait := overrunMost
	if tries < 8 {
		wait = min(wait, overrunFirst<<tries)
	}
	until = r.env.Now().Add(wait).UTC().Truncate(time.Second)
	message = fmt.Sprintf("%s. It is tried again at %s, or once something changes [build %s, try %d]", clip(err.Error()), until.Format(time.RFC3339), id, tries+1)
	return nil, fault.New(meta.BuildFailedReason, &OverrunError{message, until})
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
