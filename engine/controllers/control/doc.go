// Package control is the frame that all controllers stand in: one feed of the
// store's events, indexes that the feed keeps, and for each controller the keys
// that it looks at (loop.Keys).
//
//	store ──events──▶ Feed ──▶ Index… (kept first)
//	                   └─────▶ Controller.Keys ──keys──▶ loop.Keys ──▶ Controller.Reconcile
//	                                                      ▲                  │ Env.Commit
//	                                                      └─── back-off ◀────┘ error
//
// Read Controller first, then Env, Feed and Index. Controllers are
// level-triggered: an event is only a hint which keys to look at, and
// Reconcile decides from what it reads now.
//
// One goroutine follows the feed and writes the indexes; each controller has
// its own workers. A key is never reconciled by two workers at a time. Commit
// returns when the indexes include what it wrote, however far the feed is
// behind: a reconcile sees all that the ones before it did, and needs no
// expectations.
package control
