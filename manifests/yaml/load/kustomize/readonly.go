package kustomize

import (
	"errors"
	"path/filepath"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

var errReadOnly = errors.New("the tree is read-only")

// readOnly is an FS as the library wants it.
type readOnly struct{ FS }

// RemoveAll implements filesys.FileSystem.
func (readOnly) RemoveAll(string) error { return errReadOnly }

// WriteFile implements filesys.FileSystem.
func (readOnly) WriteFile(string, []byte) error { return errReadOnly }

// MkdirAll implements filesys.FileSystem.
func (readOnly) MkdirAll(string) error { return errReadOnly }

// Mkdir implements filesys.FileSystem.
func (readOnly) Mkdir(string) error { return errReadOnly }

// Create implements filesys.FileSystem.
func (readOnly) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Open implements filesys.FileSystem.
func (readOnly) Open(string) (filesys.File, error) { return nil, errReadOnly }

// ReadDir implements filesys.FileSystem.
func (readOnly) ReadDir(string) ([]string, error) { return nil, errReadOnly }

// Glob implements filesys.FileSystem.
func (readOnly) Glob(string) ([]string, error) { return nil, errReadOnly }

// Walk implements filesys.FileSystem.
func (readOnly) Walk(string, filepath.WalkFunc) error { return errReadOnly }
