// Package examples embeds the GitOps repository that `headway up` starts from
// when it is given none.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed repo
var files embed.FS

// Repo is the content of the example repository.
func Repo() fs.FS {
	sub, err := fs.Sub(files, "repo")
	if err != nil {
		panic(err) // the embedded folder is part of the program
	}
	return sub
}
