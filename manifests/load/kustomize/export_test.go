package kustomize

// Confine is what a child does first.
func Confine(cpu, memory string) error { return confine([]string{cpu, memory}) }
