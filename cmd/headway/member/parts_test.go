package member

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/manifests/guard"
)

// A part of the program that panics begins anew where it can, and the others
// go on. One that cannot ends all in order, with its panic as the error.
func TestPanicsOfParts(t *testing.T) {
	var told atomic.Int32
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { told.Add(1) }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })

	var runs, ended atomic.Int32
	second := make(chan struct{})
	err := RunParts(t.Context(),
		Part{Name: "steady", Run: func(ctx context.Context) error {
			<-ctx.Done()
			ended.Add(1)
			return ctx.Err()
		}},
		Part{Name: "clumsy", Again: true, Run: func(ctx context.Context) error {
			if runs.Add(1) == 1 {
				panic("at first")
			}
			close(second)
			<-ctx.Done()
			ended.Add(1)
			return ctx.Err()
		}},
		Part{Name: "poisonous", Run: func(context.Context) error {
			<-second
			panic("in the end")
		}},
	)
	var p *guard.Panic
	if !errors.As(err, &p) || p.What != "poisonous" {
		t.Errorf("the parts ended with %v", err)
	}
	if runs.Load() != 2 || ended.Load() != 2 || told.Load() != 2 {
		t.Errorf("%d runs, %d ended, %d panics told; want 2 each", runs.Load(), ended.Load(), told.Load())
	}
}
