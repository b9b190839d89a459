package progress

import (
	"maps"
	"slices"
	"sync"
	"time"

	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/history"
	"headway.dev/syncer/step"
	"headway.dev/syncer/wire"
)

// Board is what the loop of a Kustomization and all others tell each other. It is
// safe for use by several goroutines. While its lock is held no other is taken.
type Board struct {
	// Wake wakes the loop.
	Wake loop.Flag

	mu         sync.Mutex
	touched    map[object.Key]bool
	deps       []object.Key
	parent     object.Key
	successors map[object.Key]bool
	// finished is the attempt that is done with: applied and judged, or failed.
	finished step.Attempt
	ok       bool
	faults   []wire.Fault
	retry    bool
	// regained says that rights have changed since the step began: what it
	// refuses may have been decided by those from before.
	regained bool
	next     time.Time
	rendered history.Rendered
}

// NewBoard returns an empty board.
func NewBoard() *Board { return &Board{Wake: loop.NewFlag(), touched: map[object.Key]bool{}} }

// Begin begins a step of the loop.
func (b *Board) Begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.regained = false
}

// Touch says that objects that were applied may have changed.
func (b *Board) Touch(keys ...object.Key) {
	if len(keys) == 0 {
		return
	}
	b.mu.Lock()
	for _, key := range keys {
		b.touched[key] = true
	}
	b.mu.Unlock()
	b.Wake.Set()
}

// TakeTouched returns what was touched since it was called last.
func (b *Board) TakeTouched() []object.Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := slices.Collect(maps.Keys(b.touched))
	clear(b.touched)
	return keys
}

// DependOn sets the Kustomizations of spec.dependsOn.
func (b *Board) DependOn(keys []object.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deps = keys
}

// Follow sets the Kustomization that has to apply the head first; the zero key is
// none.
func (b *Board) Follow(key object.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parent = key
}

// WaitsFor reports whether the Kustomization depends on another, or is declared
// by it.
func (b *Board) WaitsFor(key object.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parent == key || slices.Contains(b.deps, key)
}

// Keep sets the Kustomizations for which something is kept that is no longer
// declared.
func (b *Board) Keep(successors map[object.Key]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.successors = successors
}

// KeepsFor reports whether something is kept for another Kustomization.
func (b *Board) KeepsFor(key object.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.successors[key]
}

// Finish records that an attempt is done with. It reports whether it has to be made
// again, as rights have changed meanwhile.
func (b *Board) Finish(a step.Attempt, ok bool, faults []wire.Fault) (again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finished, b.ok, b.faults = a, ok, faults
	return !ok && b.regained
}

// Again asks for an attempt now, also of what failed.
func (b *Board) Again() {
	b.mu.Lock()
	b.retry, b.finished, b.regained = true, step.Attempt{}, false
	b.mu.Unlock()
	b.Wake.Set()
}

// Regain asks for another attempt of what has failed, or is about to, since rights
// have changed.
func (b *Board) Regain() {
	b.mu.Lock()
	failed := b.finished != (step.Attempt{}) && !b.ok
	b.regained = !failed
	b.mu.Unlock()
	if failed {
		b.Again()
	}
}

// Retry asks for an attempt at the next step.
func (b *Board) Retry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retry = true
}

// Retries reports whether an attempt is asked for.
func (b *Board) Retries() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.retry
}

// TakeRetry reports whether an attempt is asked for, and that it is made now.
func (b *Board) TakeRetry() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	retry := b.retry
	b.retry = false
	return retry
}

// Plan says when there is an attempt without being asked.
func (b *Board) Plan(next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = next
}

// Remember keeps what is applied, as it was rendered.
func (b *Board) Remember(rendered history.Rendered) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rendered = rendered
}

// Rendered is what was applied last, as it was rendered.
func (b *Board) Rendered() history.Rendered {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rendered
}

// State is where the Kustomization stands.
func (b *Board) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := State{
		Revision: b.finished.Revision, Generation: b.finished.Generation, OK: b.ok,
		Faults: b.faults, Next: b.next, WaitsFor: slices.Clone(b.deps),
	}
	if b.parent != (object.Key{}) {
		st.WaitsFor = append(st.WaitsFor, b.parent)
	}
	return st
}
