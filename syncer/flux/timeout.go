package flux

import (
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

// defaultGitTimeout is Flux's default of a GitRepository's spec.timeout.
const defaultGitTimeout = 60 * time.Second

// GitTimeout is the time limit of one operation with the remote of a source: a
// fetch, a push, or all the operations of one revert. Without spec.timeout, and
// with 0s, in which nothing could be done, it is the default.
func GitTimeout(obj *sourcev1.GitRepository) time.Duration {
	if obj == nil || obj.Spec.Timeout == nil || obj.Spec.Timeout.Duration <= 0 {
		return defaultGitTimeout
	}
	return obj.Spec.Timeout.Duration
}
