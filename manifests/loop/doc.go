// Package loop is the frame for everything that follows something for as long
// as it exists: it looks when it is woken or due, never twice at the same time,
// and again after a back-off if the look failed. A panic in a look is a failure
// like any other: package guard reports it, and the loop continues.
//
//	wake ──▶ look ──▶ nothing to do ── until it is woken
//	          ▲  ├──▶ again after some time
//	          │  └──▶ an error or a panic
//	          └── back-off ◀──┘
//
// [Follow] is the loop of one thing, in a goroutine of its own: a look may take
// long, as a fetch does, and keeps nobody else waiting. [Keys] looks at many
// things by their keys, a few at a time. [Backoff] is what both wait after
// failures, [Flag] what wakes the first.
//
// Loops are level-triggered: to be woken says that something may have changed,
// not what, and however often one is woken before it looks, it looks once.
package loop
