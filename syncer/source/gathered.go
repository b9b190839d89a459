package source

import "context"

// ID distinguishes heads that have to be applied.
func (h Head) ID() string { return h.Revision() + "\n" + h.Form.Mark() }

// Gathered reports whether the group that applies the head has run.
func (src *Source) Gathered(h Head) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.joined == h.ID()
}

// RequestGroup asks for the group that applies the head, which wakes the
// Kustomizations when it is over; false if it has run.
func (src *Source) RequestGroup(h Head) bool {
	if src.Gathered(h) {
		return false
	}
	src.moved.Set()
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
