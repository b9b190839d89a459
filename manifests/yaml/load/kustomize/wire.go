package kustomize

// question is what the child sends: what it wants to know of a path, or at the
// end what came of the build.
type question struct {
	Ask  string // one of the ask constants
	Path string

	Resources []Resource
	Err       string
}

const (
	askClean  = "clean"
	askRead   = "read"
	askIsDir  = "isDir"
	askExists = "exists"
	askKeep   = "keep"
	tellDone  = "done"
)

// answer is what the child gets: first what to build, then answers.
type answer struct {
	Dir  string
	Name string
	Data []byte
	Yes  bool
	Err  string
}
