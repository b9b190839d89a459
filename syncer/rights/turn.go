package rights

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"headway.dev/manifests/model/object"
)

// silence is how long who decides is not asked again in one turn after an answer did
// not come: each of a commit's thousands of objects would wait as long for its own.
const silence = time.Minute

// turn are the questions of one turn, or of one call.
type turn struct {
	mu    sync.Mutex
	quiet time.Time // until then nobody is asked
}

type turnKey struct{}

// WithTurn sets what belongs together: if who decides could not be asked once, the
// other questions of the turn are not asked, for a while.
func WithTurn(ctx context.Context) context.Context {
	return context.WithValue(ctx, turnKey{}, &turn{})
}

// asked returns the answer of ask, or that there is none to be had.
func asked(ctx context.Context, ask func() error) error {
	t, ok := ctx.Value(turnKey{}).(*turn)
	if !ok {
		return ask()
	}
	t.mu.Lock()
	quiet := time.Now().Before(t.quiet)
	t.mu.Unlock()
	if quiet {
		return ErrUnanswered
	}
	err := ask()
	if errors.Is(err, ErrUnanswered) {
		t.mu.Lock()
		t.quiet = time.Now().Add(silence)
		t.mu.Unlock()
	}
	return err
}

func (r Rights) allowed(ctx context.Context, user User, verb string, key object.Key) error {
	err := asked(ctx, func() error { return r.access.Allowed(ctx, user, verb, key) })
	if err == ErrUnanswered { //nolint:errorlint // nobody was asked
		return fmt.Errorf("may %s %s %s: %w", user.Name, verb, key, err)
	}
	return err
}

func (r Rights) escalates(ctx context.Context, user User, planned object.Reader, next, old object.Object) error {
	return asked(ctx, func() error { return r.access.Escalates(ctx, user, planned, next, old) })
}
