package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"headway.dev/manifests/bisect"
	"headway.dev/manifests/nodepolicy"
)

const (
	// mostOfAll bounds the rules of all profiles of a node together, as mostOfProfile
	// does those of one.
	mostOfAll = 100_000
	// mostTries bounds the transactions by which one Write finds the profiles that the
	// kernel refuses.
	mostTries = 24
)

var (
	errLarge = fmt.Errorf("the NetworkPolicies of the pod come to more than %d rules, ports and ranges of addresses", mostOfProfile)
	errFull  = fmt.Errorf("the NetworkPolicies of this node's pods come to more than %d rules, ports and ranges of addresses", mostOfAll)
)

// profiles is which profiles are not written as they are meant: they are shut, and let
// nothing pass.
type profiles struct {
	sizes map[string]int // of those that are written as they are meant
	total int
	// shut says why.
	shut map[string]error
	// meant are the rules of those that the kernel refused.
	meant map[string][]string
	// changed are those that the kernel has not taken yet.
	changed map[string]bool
}

func newProfiles() profiles {
	return profiles{sizes: map[string]int{}, shut: map[string]error{}, meant: map[string][]string{}, changed: map[string]bool{}}
}

// forget is for a profile that goes, or becomes another.
func (s *profiles) forget(id string) {
	s.total -= s.sizes[id]
	delete(s.sizes, id)
	delete(s.shut, id)
	delete(s.meant, id)
	delete(s.changed, id)
}

// admit renders a profile if there is room for it.
func (s *profiles) admit(id string, p *nodepolicy.Profile, families []family) (rendered, error) {
	out, ok := render(p, families)
	if !ok {
		return rendered{}, errLarge
	}
	if s.total+out.size > mostOfAll {
		return rendered{}, errFull
	}
	s.sizes[id] = out.size
	s.total += out.size
	return out, nil
}

// makeRoom tries profiles again that had no room, once there is some.
func (r *Rules) makeRoom() {
	for _, id := range slices.Sorted(maps.Keys(r.shut)) {
		if errors.Is(r.shut[id], errFull) && r.total < mostOfAll-mostOfProfile {
			r.setProfile(id, r.state.Profiles[id])
		}
	}
}

// Shut says which profiles let nothing pass, because they cannot be written as they are
// meant, and why.
func (r *Rules) Shut() map[string]error { return maps.Clone(r.shut) }

// hindered is why the profiles of a pod are not in force as they are meant; nil: they are.
func (r *Rules) hindered(p *nodepolicy.Pod) error {
	if p == nil {
		return nil
	}
	return errors.Join(r.shut[p.Ingress], r.shut[p.Egress])
}

// Reopen has the next Write try again what the kernel refused.
func (r *Rules) Reopen() {
	for id := range r.meant {
		r.open(id)
	}
}

func (r *Rules) open(id string) {
	r.chain(r.policy, id, r.meant[id])
	delete(r.meant, id)
	delete(r.shut, id)
	r.changed[id] = true
}

func (r *Rules) close(id string, why error) {
	r.meant[id] = r.lines[id]
	r.shut[id] = fmt.Errorf("the kernel does not take the rules of the pod's NetworkPolicies: %w", why)
	r.chain(r.policy, id, drop)
}

// writePolicies writes the table of policies. If the kernel refuses it, those of the
// changed profiles that it refuses are shut, so that all others change.
func (r *Rules) writePolicies(ctx context.Context) error {
	refused := r.policy.write(ctx, r.rules)
	if refused == nil || ctx.Err() != nil {
		if refused == nil {
			clear(r.changed)
		}
		return refused
	}
	var suspects []string
	for _, id := range slices.Sorted(maps.Keys(r.changed)) {
		if _, already := r.shut[id]; !already {
			suspects = append(suspects, id)
		}
	}
	if len(suspects) == 0 {
		return refused
	}
	for _, id := range suspects {
		r.close(id, refused)
	}
	if err := r.policy.write(ctx, r.rules); err != nil {
		for _, id := range suspects { // it is not they
			r.open(id)
		}
		return err
	}
	clear(r.changed)
	bisect.Admit(suspects, mostTries, func(ids []string) error { return r.reopen(ctx, ids) })
	if r.policy.known {
		return nil
	}
	return r.policy.write(ctx, r.rules)
}

// reopen opens some shut profiles if the kernel takes them.
func (r *Rules) reopen(ctx context.Context, ids []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, id := range ids {
		r.open(id)
	}
	err := r.policy.write(ctx, r.rules)
	if err == nil {
		clear(r.changed)
		return nil
	}
	for _, id := range ids {
		r.close(id, err)
		delete(r.changed, id)
	}
	return err
}
