package source

import "context"

// ID tells heads apart that have to be applied.
func (h Head) ID() string { return h.Revision() + "\n" + h.Form.Mark() }

// Gathered reports whether the group has been that applies the head; if not, it
// is asked for, and wakes the Kustomizations when it is over.
func (src *Source) Gathered(h Head) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.joined != h.ID() {
		src.moved.Set()
		return false
	}
	return true
}

// AwaitHead waits until somebody asks for the group of a head, and reports whether
// to go on.
func (src *Source) AwaitHead(ctx context.Context) bool { return src.moved.Sleep(ctx, 0) }

// SetGathered says that the group of a head has been.
func (src *Source) SetGathered(h Head) {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.joined = h.ID()
}
