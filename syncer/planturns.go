package syncer

import (
	"context"
	"fmt"
	"sync"

	"headway.dev/syncer/rights"
)

// maxPlansOfUser is how many plans and diffs one user has made at once: each
// renders whole trees.
const maxPlansOfUser = 4

// turns counts what is being made for each user.
type turns struct {
	mu    sync.Mutex
	taken map[string]int
}

// busyError says that a user has too much made at once.
type busyError struct {
	user string
	most int
}

func (e *busyError) Error() string {
	return fmt.Sprintf("the user %q has %d plans and diffs made at once, which is as many as there may be: try again when one has ended", e.user, e.most)
}

// planTurn counts what the caller has made, until done is called. It fails with
// a busyError if that is too much. What comes from this process is not counted.
func (s *Syncer) planTurn(ctx context.Context) (done func(), err error) {
	user, ok := rights.Caller(ctx)
	if !ok {
		return func() {}, nil
	}
	most := maxPlansOfUser
	if s.cfg.PlansOfUser > 0 {
		most = s.cfg.PlansOfUser
	}
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	if s.turns.taken[user.Name] >= most {
		return nil, &busyError{user.Name, most}
	}
	if s.turns.taken == nil {
		s.turns.taken = map[string]int{}
	}
	s.turns.taken[user.Name]++
	return func() {
		s.turns.mu.Lock()
		defer s.turns.mu.Unlock()
		if s.turns.taken[user.Name]--; s.turns.taken[user.Name] == 0 {
			delete(s.turns.taken, user.Name)
		}
	}, nil
}
