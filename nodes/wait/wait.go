// Package wait waits for a while, and no longer than a context lives.
package wait

import (
	"context"
	"time"
)

// Sleep waits and reports whether ctx still lives.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
