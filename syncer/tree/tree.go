package tree

import (
	"io/fs"
)

// Tree is what a source yields: the files of one revision, whatever they were
// fetched from. Hash identifies the content of a file or directory: equal
// hashes, equal contents, so that what did not change is not built again. Rules
// identifies the patterns of what is left out, which hashes do not tell.
type Tree interface {
	fs.ReadDirFS
	fs.ReadFileFS
	fs.StatFS
	Hash(name string) (string, error)
	Rules() string
}
