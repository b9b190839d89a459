package volume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"headway.dev/manifests/guard"
)

// patience is how long a file system of the node may take to answer.
const patience = 5 * time.Second

// maxHung bounds the goroutines that wait in system calls nobody can end.
const maxHung = 256

// reach runs what may hang because the file system of a hostPath does: a
// network or FUSE file system whose server is gone. The pod that asked for it
// gets an error, and can be deleted.
type reach struct {
	mu   sync.Mutex
	hung map[string]bool // by path, while it has not answered
}

// do runs f, which looks at path and nothing else: it may go on after do has
// returned, until the file system answers or the process ends. What f returns
// too late goes to late.
func do[T any](r *reach, path string, f func() (T, error), late func(T)) (T, error) {
	var none T
	r.mu.Lock()
	switch {
	case r.hung[path]:
		r.mu.Unlock()
		return none, fmt.Errorf("the file system of %s still does not answer: mend or unmount it", path)
	case len(r.hung) >= maxHung:
		r.mu.Unlock()
		return none, errors.New("too many file systems of this node do not answer: mend or unmount them")
	}
	if r.hung == nil {
		r.hung = map[string]bool{}
	}
	r.hung[path] = true
	r.mu.Unlock()

	type result struct {
		value T
		err   error
	}
	results := make(chan result)
	gone := make(chan struct{})
	ctx := context.Background() // nothing ends a system call
	go guard.Do(ctx, "look at "+path, func() {
		var value T
		err := guard.Call(ctx, "look at "+path, func() (err error) {
			value, err = f()
			return err
		})
		r.mu.Lock()
		delete(r.hung, path)
		r.mu.Unlock()
		select {
		case results <- result{value, err}:
		case <-gone:
			if err == nil && late != nil {
				late(value)
			}
		}
	})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case got := <-results:
		return got.value, got.err
	case <-timer.C:
		close(gone)
		return none, fmt.Errorf("the file system of %s does not answer: mend or unmount it", path)
	}
}
