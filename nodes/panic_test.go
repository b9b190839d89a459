package nodes_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"headway.dev/nodes/runtime"
)

// explosive panics a few times when it is asked for one of the pods.
type explosive struct {
	runtime.Interface
	left atomic.Int32
}

func (e *explosive) Get(ctx context.Context, uid string) (runtime.Pod, error) {
	if strings.HasPrefix(uid, "bad-") && e.left.Add(-1) >= 0 {
		panic("this pod is too much")
	}
	return e.Interface.Get(ctx, uid)
}

// TestPanicOfAWorker: a pod that makes the agent panic is tried again later, and
// the others run.
func TestPanicOfAWorker(t *testing.T) {
	c := newCluster(t)
	c.stop()
	bomb := &explosive{}
	bomb.left.Store(2)
	c.wrap = func(r runtime.Interface) runtime.Interface {
		bomb.Interface = r
		return bomb
	}
	c.start()
	c.run("bad", one(tool("serve", ":8080")))
	c.run("good", one(tool("serve", ":8080")))
	c.wait("good", ready)
	c.wait("bad", ready)
	if left := bomb.left.Load(); left >= 0 {
		t.Errorf("%d panics are left, want none", left)
	}
}
