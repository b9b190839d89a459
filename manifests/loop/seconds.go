package loop

import (
	"math"
	"time"
)

// mostSeconds is how many whole seconds a Duration holds: 292 years.
const mostSeconds = math.MaxInt64 / int64(time.Second)

// Seconds is n seconds, or as near to that as a Duration comes. Fields of the API hold
// more, and a product that overflowed would turn "for ever" into "long ago".
func Seconds(n int64) time.Duration {
	return time.Duration(min(max(n, -mostSeconds), mostSeconds)) * time.Second
}
