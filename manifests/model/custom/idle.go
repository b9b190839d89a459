package custom

import (
	"context"
	"sync"
	"time"

	"headway.dev/manifests/guard"
)

// idleAfter is how long what is made of a definition is kept after it was used last.
const idleAfter = 30 * time.Second

// kept is a value that is made when it is asked for, and dropped when nobody has asked
// for a while.
type kept[T any] struct {
	build func() (T, error)

	mu    sync.Mutex
	made  bool
	value T
	err   error
	drop  *time.Timer
}

func (k *kept[T]) get() (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made {
		k.drop.Reset(idleAfter)
		return k.value, k.err
	}
	k.value, k.err = k.build()
	k.made = true
	k.drop = time.AfterFunc(idleAfter, func() {
		guard.Do(context.Background(), "drop what was made of a definition", k.forget)
	})
	return k.value, k.err
}

func (k *kept[T]) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	var none T
	k.made, k.value, k.err = false, none, nil
}
