package loop

import (
	"context"
	"errors"
	"time"

	"headway.dev/manifests/guard"
)

// ErrGone ends Follow: what it follows no longer exists.
var ErrGone = errors.New("it is gone")

// Look looks at one thing and does what there is to do. It returns when to look
// again without being woken, after some time or, if that is not positive, only
// when it is woken; an error asks for a look after a back-off.
type Look func(ctx context.Context) (again time.Duration, err error)

// Follow looks at once, and then whenever wake is set or it is time, until ctx
// ends or look returns an error that wraps ErrGone. what names the thing in
// reports of panics.
func Follow(ctx context.Context, what string, wake Flag, backoff Backoff, look Look) {
	failures := 0
	for ctx.Err() == nil {
		again, err := call(ctx, what, look)
		switch {
		case errors.Is(err, ErrGone):
			return
		case err != nil:
			again = backoff.After(failures)
			failures++
		default:
			failures = 0
		}
		if !wake.Sleep(ctx, again) {
			return
		}
	}
}

// call is one look. A panic in it is an error.
func call(ctx context.Context, what string, look Look) (again time.Duration, err error) {
	err = guard.Call(ctx, what, func() (err error) {
		again, err = look(ctx)
		return err
	})
	return again, err
}
