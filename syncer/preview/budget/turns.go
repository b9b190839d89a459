package budget

import (
	"context"
	"fmt"
	"sync"

	"headway.dev/syncer/rights"
)

// defaultOfUser is how many plans and diffs one user has made at once: each
// renders whole trees.
const defaultOfUser = 4

// Turns counts what is being made for each user. The zero value is ready.
type Turns struct {
	// OfUser is how many one user may have made at once (default 4).
	OfUser int

	mu    sync.Mutex
	taken map[string]int
}

// BusyError says that a user has too much made at once.
type BusyError struct {
	user string
	most int
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("the user %q has %d plans and diffs made at once, which is as many as there may be: try again when one has ended", e.user, e.most)
}

// Take counts what the caller has made, until done is called. It fails with a
// BusyError if that is too much. What comes from this process is not counted.
func (t *Turns) Take(ctx context.Context) (done func(), err error) {
	user, ok := rights.Caller(ctx)
	if !ok {
		return func() {}, nil
	}
	most := defaultOfUser
	if t.OfUser > 0 {
		most = t.OfUser
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken[user.Name] >= most {
		return nil, &BusyError{user.Name, most}
	}
	if t.taken == nil {
		t.taken = map[string]int{}
	}
	t.taken[user.Name]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.taken[user.Name]--; t.taken[user.Name] == 0 {
			delete(t.taken, user.Name)
		}
	}, nil
}
