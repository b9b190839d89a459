package kustomize

// Confine is what a child does first.
func Confine(cpu, memory string) error { return confine([]string{cpu, memory}) }

// Here is Build in this process.
func Here(files FS, dir string, keepOrigin func() bool) ([]Resource, error) {
	return render(readOnly{files}, dir, keepOrigin)
}
