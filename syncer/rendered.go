package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/source"
)

// buildPatience bounds the wait for another Kustomization's build: those that
// are slow to render must not hold up the others.
const buildPatience = 5 * time.Second

// errSlow says that there was no time left to render something.
var errSlow = errors.New("there was no time to render it")

// lockBuild takes the builder; the caller must return it with unlockBuild.
func (k *kustomization) lockBuild(ctx context.Context) error {
	select {
	case k.building <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *kustomization) unlockBuild() { <-k.building }

// lookalike is a kustomization to plan with what is only looked at, and must
// not be remembered as applied. It knows what the one that follows the object
// does, so that what did not change is neither rendered nor planned again.
func (s *Syncer) lookalike(ctx context.Context, key object.Key) *kustomization {
	k := newKustomization(s, key)
	s.mu.Lock()
	follows := s.kustomizations[key]
	s.mu.Unlock()
	if follows == nil {
		return k
	}
	k.planner = follows.planner.Fork()
	ctx, cancel := context.WithTimeout(ctx, buildPatience)
	defer cancel()
	if follows.lockBuild(ctx) == nil {
		k.builder = follows.builder.fork()
		follows.unlockBuild()
	}
	return k
}

// barren is a build that failed: of what, and how.
type barren struct {
	of  string
	err error
	// aside says that it was built in a group, and failed there without a word.
	aside bool
}

// note remembers what came of a build, under the builder's lock. A build that
// was cut off as ctx ended says nothing about the next.
func (k *kustomization) note(ctx context.Context, ks *kustomizev1.Kustomization, at source.Head, err error) {
	k.barren = barren{}
	if err != nil && ctx.Err() == nil {
		k.barren = barren{of: k.buildID(ks, at), err: err}
	}
}

// builtBefore is how a build has failed that was just made in a group: once,
// for the Kustomization to tell of it.
func (k *kustomization) builtBefore(ks *kustomizev1.Kustomization, r *round) error {
	if r.group != nil || !k.barren.aside {
		return nil
	}
	k.barren.aside = false
	if k.barren.of != k.buildID(ks, r.head) {
		return nil
	}
	return k.barren.err
}

// buildID identifies all that a build depends on.
func (k *kustomization) buildID(ks *kustomizev1.Kustomization, at source.Head) string {
	spec, err := json.Marshal(ks.Spec)
	if err != nil {
		return "" // it is no object of the API
	}
	return strings.Join([]string{at.Revision(), at.Form.Mark(), k.ignore(ks), k.inputsID(ks), string(spec)}, "\n")
}

// rendered builds for another loop, with the same builder, so that the work
// is done once: also for what cannot be built, of which there may be hundreds.
func (k *kustomization) rendered(ctx context.Context, ks *kustomizev1.Kustomization, at source.Head) ([]load.Item, error) {
	patience, cancel := context.WithTimeout(ctx, buildPatience)
	defer cancel()
	if err := k.lockBuild(patience); err != nil {
		return nil, err
	}
	defer k.unlockBuild()
	var items []load.Item
	err := fault.Catch(func() error {
		if k.barren.err != nil && k.barren.of == k.buildID(ks, at) {
			return k.barren.err
		}
		t, err := at.Tree(k.ignore(ks))
		if err == nil {
			items, err = k.sparing(ks, at, func() ([]load.Item, error) { return k.render(patience, ks, t, at.Revision()) })
		}
		k.note(ctx, ks, at, err) // also that it took too long: others do not wait for it again
		return err
	})
	return items, err
}

// takeOver claims what was applied, and has those look again who applied it
// before: it is no longer theirs.
func (k *kustomization) takeOver(inventory []object.Key) {
	former := map[*kustomization]bool{}
	k.s.mu.Lock()
	for _, key := range inventory {
		if other := k.s.applied[key]; other != nil && other != k && k.owns(key) {
			former[other] = true
		}
	}
	k.s.mu.Unlock()
	k.s.claim(k, inventory)
	for other := range former {
		other.again()
	}
}
