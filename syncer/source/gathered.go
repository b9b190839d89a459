package source

import "context"

// ID distinguishes heads that have to be applied.
func (h Head) ID() string { return h.Revision() + "\n" + h.Form.Mark() }

// Gathered reports whether the group that applies the head has run; if not, it
// is requested, and wakes the Kustomizations when it is over.
func (src *Source) Gathered(h Head) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.joined != h.ID() {
		src.moved.Set()
		return false
	}
	return true
}

// AwaitHead waits until the group of a head is requested, and reports whether
// to continue.
func (src *Source) AwaitHead(ctx context.Context) bool { return src.moved.Sleep(ctx, 0) }

// SetGathered records that the group of a head has run.
func (src *Source) SetGathered(h Head) {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.joined = h.ID()
}
