package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"time"
)

// Files is a read-only file system made of contents by path.
type Files struct {
	files map[string]string
	dirs  map[string]map[string]bool // names in each directory
}

// NewFiles checks the paths: slash-separated, relative, without dots.
func NewFiles(files map[string]string) (*Files, error) {
	t := &Files{files: files, dirs: map[string]map[string]bool{".": {}}}
	for name := range files {
		if !fs.ValidPath(name) || name == "." {
			return nil, fmt.Errorf("invalid file name %q", name)
		}
		for p := name; p != "."; p = path.Dir(p) {
			dir := path.Dir(p)
			if t.dirs[dir] == nil {
				t.dirs[dir] = map[string]bool{}
			}
			t.dirs[dir][path.Base(p)] = true
		}
	}
	for name := range files {
		if t.dirs[name] != nil {
			return nil, fmt.Errorf("%q is a file and a directory", name)
		}
	}
	return t, nil
}

// Open implements fs.FS.
func (t *Files) Open(name string) (fs.File, error) {
	if data, ok := t.files[name]; ok && fs.ValidPath(name) {
		return &treeFile{Reader: strings.NewReader(data), info: treeInfo{name: path.Base(name), size: int64(len(data))}}, nil
	}
	names, ok := t.dirs[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	dir := &treeDir{treeFile: treeFile{Reader: bytes.NewReader(nil), info: treeInfo{name: path.Base(name), dir: true}}}
	for n := range names {
		full := path.Join(name, n)
		data, file := t.files[full]
		dir.entries = append(dir.entries, fs.FileInfoToDirEntry(treeInfo{name: n, size: int64(len(data)), dir: !file}))
	}
	sort.Slice(dir.entries, func(i, j int) bool { return dir.entries[i].Name() < dir.entries[j].Name() })
	return dir, nil
}

// ReadDir implements fs.ReadDirFS.
func (t *Files) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	dir, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return dir.ReadDir(-1)
}

// ReadFile implements fs.ReadFileFS.
func (t *Files) ReadFile(name string) ([]byte, error) {
	data, ok := t.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(data), nil
}

// Stat implements fs.StatFS.
func (t *Files) Stat(name string) (fs.FileInfo, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	return f.Stat()
}

// Hash identifies the content of a file, or of all files below a directory.
func (t *Files) Hash(name string) (string, error) {
	if _, err := t.Stat(name); err != nil {
		return "", err
	}
	if data, ok := t.files[name]; ok {
		sum := sha256.Sum256([]byte(data))
		return hex.EncodeToString(sum[:]), nil
	}
	h := sha256.New()
	for _, file := range slices.Sorted(maps.Keys(t.files)) {
		if name == "." || strings.HasPrefix(file, name+"/") {
			fmt.Fprintf(h, "%q %d\n%s", strings.TrimPrefix(file, name), len(t.files[file]), t.files[file])
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Rules implements Tree: hashes identify everything.
func (t *Files) Rules() string { return "" }

type treeFile struct {
	io.Reader
	info treeInfo
}

func (f *treeFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *treeFile) Close() error               { return nil }

type treeDir struct {
	treeFile
	entries []fs.DirEntry
}

// ReadDir implements fs.ReadDirFile.
func (d *treeDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.entries) {
		n = len(d.entries)
	}
	list := d.entries[:n]
	d.entries = d.entries[n:]
	return list, nil
}

type treeInfo struct {
	name string
	size int64
	dir  bool
}

func (i treeInfo) Name() string       { return i.name }
func (i treeInfo) Size() int64        { return i.size }
func (i treeInfo) ModTime() time.Time { return time.Time{} }
func (i treeInfo) IsDir() bool        { return i.dir }
func (i treeInfo) Sys() any           { return nil }
func (i treeInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
