package nftables

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/bisect"
	"headway.dev/proxy/service"
)

// mostTries bounds the transactions by which one Apply finds the Services that the
// kernel refuses.
const mostTries = 24

// withdrawn is a Service that the kernel refuses.
type withdrawn struct {
	decision *service.Decision
	why      error
}

// Apply makes the kernel's rules those of the decisions, of which the changed
// ones are given, in one transaction. After an error the next Apply writes
// everything again. A kernel that refuses what changed Services add gets the others.
func (r *Rules) Apply(ctx context.Context, changes service.Changes) error {
	r.take(changes)
	refused := r.write(ctx)
	if refused == nil {
		clear(r.unwritten)
		return nil
	}
	suspects := slices.SortedFunc(maps.Keys(r.unwritten), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	if len(suspects) == 0 || ctx.Err() != nil {
		return refused
	}
	decisions := maps.Clone(r.unwritten)
	for _, name := range suspects {
		r.drop(name)
	}
	if err := r.write(ctx); err != nil { // it is not they
		for _, name := range suspects {
			r.add(name, decisions[name])
		}
		return err
	}
	clear(r.unwritten)
	for _, name := range suspects {
		r.withdrawn[name] = withdrawn{decisions[name], refused}
	}
	bisect.Admit(suspects, mostTries, func(some []types.NamespacedName) error {
		for _, name := range some {
			r.add(name, decisions[name])
		}
		err := r.write(ctx)
		for _, name := range some {
			if err == nil {
				delete(r.withdrawn, name)
				continue
			}
			r.drop(name)
			r.withdrawn[name] = withdrawn{decisions[name], err}
		}
		clear(r.unwritten)
		return err
	})
	for name, w := range r.withdrawn {
		r.log.Error("the kernel refuses the rules of a service, which does not work; others are not affected", "service", name.String(), "error", w.why)
	}
	if r.known {
		return ctx.Err()
	}
	if err := r.write(ctx); err != nil {
		return fmt.Errorf("without the services that are refused: %w", err)
	}
	return ctx.Err()
}

// Refused says which Services' rules the kernel refused, and why: they do not work.
func (r *Rules) Refused() map[types.NamespacedName]error {
	out := map[types.NamespacedName]error{}
	for name, w := range r.withdrawn {
		out[name] = w.why
	}
	return out
}

// Again has the next Apply try once more what the kernel refused.
func (r *Rules) Again() {
	for name, w := range r.withdrawn {
		r.add(name, w.decision)
		delete(r.withdrawn, name)
	}
}
