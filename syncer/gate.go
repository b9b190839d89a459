package syncer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// frozenReason is the reason of a commit that waits for the end of a freeze.
const frozenReason = "Frozen"

// maxReach bounds the commits that are looked at for trailers.
const maxReach = 1000

// reach is what the commits between the applied one and the planned one say
// for themselves.
type reach struct {
	allow allowance
	// thaws says that the freeze does not hold the planned commit: it is
	// signed and says so, or there is nothing but reverts.
	thaws bool
	// rollback says that the planned commit takes back the applied one and
	// does nothing else: what it deletes is what that one created.
	rollback bool
}

// bounds are what a user allows the commits of a Kustomization to do.
type bounds struct {
	maxDeletes, maxRestarts *int
	windows                 []window
	quarantined             string // commit
}

// boundsOf reads the annotations of a Kustomization and of its source.
func (s *Syncer) boundsOf(ks *kustomizev1.Kustomization) (bounds, error) {
	b := bounds{}
	if bad, ok := git.ParseRevision(stateOf(ks).quarantined); ok && !flux.Names(ks.Annotations[flux.Retry], bad.Commit) {
		b.quarantined = bad.Commit
	}
	for name, limit := range map[string]**int{flux.MaxDeletes: &b.maxDeletes, flux.MaxRestarts: &b.maxRestarts} {
		v, ok := ks.Annotations[name]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return b, fmt.Errorf("annotation %s: %q is not a number of objects", name, v)
		}
		*limit = &n
	}
	windows, err := freezeWindows(ks.Annotations[flux.Freeze])
	if err != nil {
		return b, fmt.Errorf("annotation %s: %w", flux.Freeze, err)
	}
	b.windows = windows
	if src, ok := s.env.Store.Get(flux.SourceKey(ks)).(*sourcev1.GitRepository); ok {
		if windows, err = freezeWindows(src.Annotations[flux.Freeze]); err != nil {
			return b, fmt.Errorf("annotation %s of GitRepository %s/%s: %w", flux.Freeze, src.Namespace, src.Name, err)
		}
		b.windows = append(b.windows, windows...)
	}
	return b, nil
}

// gates says which of the bounds a plan meets, and what each makes of it: what
// a commit could be stopped by. It is pure but for the commits that it reads:
// sha is the planned one (empty for files that are no commit), whose signed
// trailers count. An annotation that cannot be understood is an error.
func (s *Syncer) gates(ks *kustomizev1.Kustomization, res plan.Result, sha string) ([]wire.Gate, error) {
	b, err := s.boundsOf(ks)
	if err != nil {
		return nil, err
	}
	list := b.judge(res, sha, reach{}, s.env.Now())
	src := s.sources.Get(flux.SourceKey(ks))
	if shut(list) == nil || sha == "" || src == nil {
		return list, nil
	}
	r, err := s.reach(src, ks, sha)
	if err != nil {
		return nil, err
	}
	return b.judge(res, sha, r, s.env.Now()), nil
}

// shut is the first gate that does not let the plan pass, or nil.
func shut(list []wire.Gate) *wire.Gate {
	for i, g := range list {
		if !g.Open {
			return &list[i]
		}
	}
	return nil
}

// judge decides about a plan. It lists the gates that are shut, or that apply
// although they are open.
func (b bounds) judge(res plan.Result, sha string, r reach, now time.Time) []wire.Gate {
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
	budget := func(name, annotation, word string, count int, limit *int, allow int, message string) {
		g := wire.Gate{Name: name, Open: true, Count: count, Limit: limit}
		switch {
		case limit != nil && count <= *limit:
		case count <= allow:
			g.Message = fmt.Sprintf("allowed by the trailer %s: %s=%d", allowTrailer, word, allow)
		case r.rollback:
			g.Message = "it takes back the commit that is applied"
		default:
			g.Open = false
			g.Message = fmt.Sprintf("%s; nothing was changed. If that is meant, set the annotation %s: %q on the Kustomization, "+
				"or say so in a signed commit by the trailer %s: %s=%d; else restore the files%s", message, annotation, strconv.Itoa(count), allowTrailer, word, count, ignored)
		}
		list = append(list, g)
	}
	switch {
	case b.maxDeletes != nil:
		budget(wire.GateMaxDeletes, flux.MaxDeletes, "deletes", deletes, b.maxDeletes, r.allow.deletes,
			fmt.Sprintf("this commit would delete %d objects, and the annotation %s allows %d", deletes, flux.MaxDeletes, *b.maxDeletes))
	case deletes > 0 && len(res.Inventory) == 0:
		budget(wire.GateMaxDeletes, flux.MaxDeletes, "deletes", deletes, nil, r.allow.deletes,
			fmt.Sprintf("this commit would delete all %d objects that were applied before", deletes))
	}
	if b.maxRestarts != nil {
		budget(wire.GateMaxRestarts, flux.MaxRestarts, "restarts", restarts, b.maxRestarts, r.allow.restarts,
			fmt.Sprintf("this commit would replace the pods of %d workloads, and the annotation %s allows %d", restarts, flux.MaxRestarts, *b.maxRestarts))
	}
	if until, in := frozen(b.windows, now); !until.IsZero() && res.Changes() {
		g := wire.Gate{Name: wire.GateFreeze, Until: until, Open: r.thaws || r.rollback, Message: "it is a rollback, or a signed commit that says " + allowTrailer + ": freeze"}
		if !g.Open {
			g.Message = fmt.Sprintf("Frozen until %s (%s: %s); what is applied stays. To deploy meanwhile, say so in a signed commit by the trailer %s: freeze%s",
				until.Format(time.RFC3339), flux.Freeze, in, allowTrailer, ignored)
		}
		list = append(list, g)
	}
	if sha != "" && sha == b.quarantined {
		list = append(list, wire.Gate{Name: wire.GateQuarantine, Message: "this commit has failed, and is not tried again"})
	}
	return list
}

// gateError is a gate that is shut.
type gateError struct{ gate wire.Gate }

func (e *gateError) Error() string { return e.gate.Message }

// pass fails for a plan that one of the gates holds, with the reason for the
// condition.
func (s *Syncer) pass(ks *kustomizev1.Kustomization, r *round) error {
	if r.hold {
		return nil // what was applied before
	}
	list, err := s.gates(ks, r.plan, r.head.Commit)
	if err != nil {
		return fault.New(meta.BuildFailedReason, err)
	}
	g := shut(list)
	if g == nil || r.drift && g.Name == wire.GateFreeze {
		return nil // what is applied is put back in a freeze, too
	}
	err = &gateError{gate: *g}
	switch g.Name {
	case wire.GateFreeze:
		return fault.New(frozenReason, err)
	case wire.GateMaxDeletes:
		return fault.New(meta.PruneFailedReason, err)
	}
	return fault.New(meta.ReconciliationFailedReason, err)
}

// thaw is when the freeze that err tells of ends.
func thaw(err error) time.Time {
	if e, ok := errors.AsType[*gateError](err); ok && e.gate.Name == wire.GateFreeze {
		return e.gate.Until
	}
	return time.Time{}
}
