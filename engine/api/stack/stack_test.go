package stack_test

import (
	"testing"

	"headway.dev/engine/api/stack"
)

// What is made room for is on the stack, and nothing on the heap.
func TestGrowOnTheStack(t *testing.T) {
	if n := testing.AllocsPerRun(100, stack.Grow); n > 0 {
		t.Errorf("it allocates %v times, want never", n)
	}
}
