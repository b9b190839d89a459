package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"headway.dev/syncer/git"
)

// Edited is a tree with some files edited: the result of committing the edits.
type Edited struct {
	Tree
	// edits are contents by path; nil is a file that is gone.
	edits map[string][]byte
}

// NewEdited returns t with some files edited: edits are contents by path, nil
// is a removed file.
func NewEdited(t Tree, edits map[string][]byte) Edited { return Edited{t, edits} }

// Open implements fs.FS.
func (o Edited) Open(name string) (fs.File, error) {
	data, edited := o.edits[name]
	if !edited {
		return o.Tree.Open(name)
	}
	if data == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	t, err := NewFiles(map[string]string{name: string(data)})
	if err != nil {
		return nil, err
	}
	return t.Open(name)
}

// ReadFile implements fs.ReadFileFS.
func (o Edited) ReadFile(name string) ([]byte, error) {
	data, edited := o.edits[name]
	switch {
	case !edited:
		return o.Tree.ReadFile(name)
	case data == nil:
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return data, nil
}

// Stat implements fs.StatFS.
func (o Edited) Stat(name string) (fs.FileInfo, error) {
	data, edited := o.edits[name]
	switch {
	case !edited:
		return o.Tree.Stat(name)
	case data == nil:
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return treeInfo{name: path.Base(name), size: int64(len(data))}, nil
}

// ReadDir implements fs.ReadDirFS. Edits add no files; they change existing
// ones.
func (o Edited) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := o.Tree.ReadDir(name)
	return slices.DeleteFunc(slices.Clone(entries), func(e fs.DirEntry) bool {
		data, edited := o.edits[path.Join(name, e.Name())]
		return edited && data == nil
	}), err
}

// Hash identifies the content of a file or directory. An edited file has the name
// that its blob gets once the edit is committed, so that what was made of the edited
// tree is known again in the commit.
func (o Edited) Hash(name string) (string, error) {
	if _, err := o.Stat(name); err != nil {
		return "", err
	}
	if data, edited := o.edits[name]; edited {
		return git.BlobID(data), nil
	}
	below := []string{}
	for _, file := range slices.Sorted(maps.Keys(o.edits)) {
		if name == "." || strings.HasPrefix(file, name+"/") {
			below = append(below, file)
		}
	}
	sum, err := o.Tree.Hash(name)
	if err != nil || len(below) == 0 {
		return sum, err
	}
	h := sha256.New()
	h.Write([]byte(sum))
	for _, file := range below {
		part := sha256.Sum256(o.edits[file])
		h.Write([]byte(file + "\x00" + hex.EncodeToString(part[:])))
		if o.edits[file] == nil {
			h.Write([]byte("gone"))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
