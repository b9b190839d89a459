package env

import "headway.dev/manifests/loop"

// Flag is loop.Flag.
type Flag = loop.Flag

// NewFlag returns a flag that is not set.
func NewFlag() Flag { return loop.NewFlag() }
