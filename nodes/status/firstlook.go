package status

import (
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// FirstLook detects when the API knows what the agent found of each pod that
// the node had when the agent began.
type FirstLook struct {
	done func()

	mu    sync.Mutex
	seen  map[types.UID]bool // before it was known which pods there are
	want  map[types.UID]bool // not seen yet; nil until it is known
	ended bool
}

// NewFirstLook returns one that calls done when the API knows everything.
func NewFirstLook(done func()) *FirstLook {
	return &FirstLook{done: done, seen: map[types.UID]bool{}}
}

// Begin sets which pods the node had.
func (l *FirstLook) Begin(pods map[types.UID]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.want = maps.Clone(pods)
	for uid := range l.seen {
		delete(l.want, uid)
	}
	l.seen = nil
	l.check()
}

// saw says that the API has what the agent saw of a pod, or that the pod is gone.
func (l *FirstLook) saw(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended:
	case l.want == nil:
		l.seen[uid] = true
	default:
		delete(l.want, uid)
		l.check()
	}
}

func (l *FirstLook) check() {
	if len(l.want) == 0 && !l.ended {
		l.ended = true
		l.done()
	}
}
