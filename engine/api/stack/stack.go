// Package stack spares the goroutines of requests the growth of their stacks.
//
// A request is handled by goroutines of its own, some sixty calls deep. A goroutine
// begins with a stack of 2 KiB that is copied at each of its doublings, and a copy
// looks up each frame that is there: the deeper the calls, the dearer.
package stack

// room is what the calls of a request take, but for what is already on the stack:
// with it the stack has 32 KiB.
const room = 20 << 10

// Grow gives the calling goroutine the stack that a request needs, while there is
// little on it to be copied. It is never part of its caller, which would keep the room.
//
//go:noinline
func Grow() {
	var unused [room]byte
	use(&unused)
}

// use is what the compiler has to make room for.
//
//go:noinline
func use(*[room]byte) {}
