package view

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"headway.dev/manifests/guard"
)

// converted is a watch whose objects are converted on their way. Its goroutine
// ends with Stop, or with the watch.
type converted struct {
	from    watch.Interface
	results chan watch.Event
	once    sync.Once
	stopped chan struct{}
}

func newConverted(from watch.Interface, convert func(runtime.Object) runtime.Object) watch.Interface {
	c := &converted{from: from, results: make(chan watch.Event), stopped: make(chan struct{})}
	go func() {
		defer close(c.results)
		defer from.Stop() // also after a panic
		guard.Do(context.Background(), "convert a watch", func() { c.run(convert) })
	}()
	return c
}

func (c *converted) run(convert func(runtime.Object) runtime.Object) {
	for ev := range c.from.ResultChan() {
		ev.Object = convert(ev.Object)
		select {
		case c.results <- ev:
		case <-c.stopped:
			return
		}
	}
}

// ResultChan implements watch.Interface.
func (c *converted) ResultChan() <-chan watch.Event { return c.results }

// Stop implements watch.Interface.
func (c *converted) Stop() {
	c.once.Do(func() { close(c.stopped); c.from.Stop() })
}
