package containerd_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// badStream panics when it is used.
type badStream struct{}

func (badStream) Read([]byte) (int, error)  { panic("this input is too much") }
func (badStream) Write([]byte) (int, error) { panic("this output is too much") }

// TestPanicsOfClients: a client's stream that panics is an error of that stream;
// it is counted, and the container and the process go on.
func TestPanicsOfClients(t *testing.T) {
	var told atomic.Int32
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { told.Add(1) }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })

	n := nodetest.Start(t)
	c := n.RunConfig(t, nodetest.Sandbox("panics"), runtime.ContainerConfig{Name: "main", Args: []string{"cat"}, Stdin: true})
	wantTold := func(what string, want int32) {
		t.Helper()
		nodetest.Eventually(t, 20*time.Second, func() string {
			if told.Load() < want {
				return "not told of the panic of " + what
			}
			return ""
		})
		told.Store(0)
	}
	if _, err := n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "both"}, Stdout: badStream{}, Stderr: badStream{}}); err != nil {
		t.Errorf("Exec with bad outputs = %v", err)
	}
	wantTold("two outputs", 2)
	if _, err := n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "cat"}, Stdin: badStream{}}); err != nil {
		t.Errorf("Exec with a bad input = %v", err)
	}
	wantTold("an input", 1)
	ctx, cancel := context.WithCancel(t.Context())
	attached := make(chan error, 1)
	go func() { attached <- n.Attach(ctx, c.ID, runtime.ExecOptions{Stdin: badStream{}}) }()
	wantTold("an attached input", 1)
	cancel()
	if err := <-attached; err != nil && ctx.Err() == nil {
		t.Errorf("Attach = %v", err)
	}

	var out buffer
	if code, err := n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "both"}, Stdout: &out}); err != nil || code != 0 || out.String() != "to stdout\nno newline" {
		t.Errorf("the command after = %d, %v, %q", code, err, out.String())
	}
}
