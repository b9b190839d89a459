package gate

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// MaxCommits bounds the commits whose trailers are read.
const MaxCommits = 1000

// NewReach returns the reach of commits, in the order given: signed fails for a
// commit whose trailers do not count.
func NewReach(commits []git.Commit, signed func(sha string) error) Reach {
	return Reach{allow: allowed(commits, signed)}
}

// FreezeAllowed reports whether one of the commits asks to pass a freeze and
// may.
func FreezeAllowed(commits []git.Commit, signed func(sha string) error) bool {
	return allowed(commits, signed).freeze
}

// AsksThaw reports whether a signed commit asks to pass a freeze.
func (r Reach) AsksThaw() bool { return r.allow.freeze }

// FrozenAt returns until when new commits wait at a time, and because of which
// window; next is when the next window begins.
func (b Bounds) FrozenAt(t time.Time) (until time.Time, in string, next time.Time) {
	until, in = b.windows.At(t)
	return until, in, b.windows.Next(t)
}

// Reach is what the commits between the applied one and the planned one ask for
// and may.
type Reach struct {
	allow allowance
	// Thaws reports whether the planned commit passes a freeze: it is signed
	// and asks to, or there are only reverts.
	Thaws bool
	// Rollback reports whether the planned commit takes back the applied one
	// and does nothing else: what it deletes is what that one created.
	Rollback bool
}

// Bounds are the limits that a user sets for the commits of a Kustomization.
type Bounds struct {
	maxDeletes, maxRestarts *int
	windows                 flux.Windows
	quarantined             string // commit
}

// BoundsOf reads the annotations of a Kustomization and of its source, which is
// nil if it does not exist. quarantined is the revision that has failed.
func BoundsOf(ks *kustomizev1.Kustomization, src object.Object, quarantined string) (Bounds, error) {
	set := flux.Of(ks)
	b := Bounds{maxDeletes: set.MaxDeletes.Value, maxRestarts: set.MaxRestarts.Value, windows: set.Freeze.Value}
	if bad, ok := git.ParseRevision(quarantined); ok && !set.Retry.Value.Names(bad.Commit) {
		b.quarantined = bad.Commit
	}
	if err := cmp.Or(set.MaxDeletes.Err(), set.MaxRestarts.Err(), set.Freeze.Err()); err != nil {
		return b, err
	}
	if src != nil {
		freeze := flux.Of(src).Freeze
		if err := freeze.ErrOf(src); err != nil {
			return b, err
		}
		b.windows = append(b.windows, freeze.Value...)
	}
	return b, nil
}

// Shut returns the first gate that the plan does not pass, or nil.
func Shut(list []wire.Gate) *wire.Gate {
	for i, g := range list {
		if !g.Open {
			return &list[i]
		}
	}
	return nil
}

// Check decides about a plan. It returns the gates that are shut, and those
// that apply although they are open.
func (b Bounds) Check(res plan.Result, sha string, r Reach, now time.Time) []wire.Gate {
	var list []wire.Gate
	deletes, restarts := 0, 0
	for _, a := range res.Actions {
		if a.Type == plan.Delete {
			deletes++
		}
		if a.Restart {
			restarts++
		}
	}
	ignored := ""
	if len(r.allow.ignored) > 0 {
		ignored = ". " + strings.Join(r.allow.ignored, "; ")
	}
	budget := func(name, word string, count int, limit *int, allow int, message string) {
		g := wire.Gate{Name: name, Open: true, Count: count, Limit: limit}
		switch {
		case limit != nil && count <= *limit:
		case count <= allow:
			g.Message = fmt.Sprintf("allowed by the trailer %s: %s=%d", allowTrailer, word, allow)
		case r.Rollback:
			g.Message = "it takes back the commit that is applied"
		default:
			g.Open = false
			g.Message = fmt.Sprintf("%s; nothing was changed. If that is meant, set the annotation %s: %q on the Kustomization, "+
				"or say so in a signed commit by the trailer %s: %s=%d; else restore the files%s", message, flux.OfGate(name), strconv.Itoa(count), allowTrailer, word, count, ignored)
		}
		list = append(list, g)
	}
	switch {
	case b.maxDeletes != nil:
		budget(wire.GateMaxDeletes, "deletes", deletes, b.maxDeletes, r.allow.deletes,
			fmt.Sprintf("this commit would delete %d objects, and the annotation %s allows %d", deletes, flux.OfGate(wire.GateMaxDeletes), *b.maxDeletes))
	case deletes > 0 && len(res.Inventory) == 0:
		budget(wire.GateMaxDeletes, "deletes", deletes, nil, r.allow.deletes,
			fmt.Sprintf("this commit would delete all %d objects that were applied before", deletes))
	}
	if b.maxRestarts != nil {
		budget(wire.GateMaxRestarts, "restarts", restarts, b.maxRestarts, r.allow.restarts,
			fmt.Sprintf("this commit would replace the pods of %d workloads, and the annotation %s allows %d", restarts, flux.OfGate(wire.GateMaxRestarts), *b.maxRestarts))
	}
	if until, in := b.windows.At(now); !until.IsZero() && res.Changes() {
		g := wire.Gate{Name: wire.GateFreeze, Until: until, Open: r.Thaws || r.Rollback, Message: "it is a rollback, or a signed commit that says " + allowTrailer + ": freeze"}
		if !g.Open {
			g.Message = fmt.Sprintf("Frozen until %s (%s: %s); what is applied stays. To deploy meanwhile, say so in a signed commit by the trailer %s: freeze%s",
				until.Format(time.RFC3339), flux.OfGate(wire.GateFreeze), in, allowTrailer, ignored)
		}
		list = append(list, g)
	}
	if sha != "" && sha == b.quarantined {
		list = append(list, wire.Gate{Name: wire.GateQuarantine, Message: "this commit has failed, and is not tried again"})
	}
	return list
}

// closed is a gate that is shut.
type closed struct{ gate wire.Gate }

// Error implements error.
func (e *closed) Error() string { return e.gate.Message }

// Pass fails for a plan that one of the gates stops, with the reason for the
// condition. drift reports that the plan only undoes drift, which is allowed
// during a freeze, too.
func Pass(list []wire.Gate, drift bool) error {
	g := Shut(list)
	if g == nil || drift && g.Name == wire.GateFreeze {
		return nil
	}
	err := Refusal(*g)
	switch g.Name {
	case wire.GateFreeze:
		return fault.New(flux.FrozenReason, err)
	case wire.GateMaxDeletes:
		return fault.New(meta.PruneFailedReason, err)
	}
	return fault.New(meta.ReconciliationFailedReason, err)
}

// Refusal returns the error of a gate that is shut.
func Refusal(g wire.Gate) error { return &closed{gate: g} }

// Thaw returns when the freeze that err reports ends.
func Thaw(err error) time.Time {
	if e, ok := errors.AsType[*closed](err); ok && e.gate.Name == wire.GateFreeze {
		return e.gate.Until
	}
	return time.Time{}
}
