package volume

import (
	"context"
	"strings"
	"testing"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// A look at a file system that panics is an error of the volume, told and
// counted, and the path can be looked at again.
func TestPanicOfAFileSystem(t *testing.T) {
	told := make(chan struct{}, 2)
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { told <- struct{}{} }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })
	var r reach
	if _, err := do(&r, "/there", func() (int, error) { panic("this file system is too much") }, nil); err == nil || !strings.Contains(err.Error(), "too much") {
		t.Errorf("do = %v, want the panic", err)
	}
	if len(told) != 1 {
		t.Errorf("panics told: %d, want 1", len(told))
	}
	if n, err := do(&r, "/there", func() (int, error) { return 3, nil }, nil); n != 3 || err != nil {
		t.Errorf("do after a panic = %d, %v", n, err)
	}
}
