package review

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// workTree finds the directory that a checkout's kustomizations may reach: the
// root of the Git work tree that holds path, else path itself.
func workTree(path string) (root, dir string, err error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", "", err
	}
	for root = absolute; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, ".git")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			root = absolute
			break
		}
	}
	dir, err = filepath.Rel(root, absolute)
	return root, filepath.ToSlash(dir), err
}

// readTree reads the files below dir that a build may use.
func readTree(dir string) (files map[string]string, binary map[string][]byte, err error) {
	files, binary = map[string]string{}, map[string][]byte{}
	var total int64
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); total > maxUpload {
			return fmt.Errorf("%s holds more than %d MiB: plan a branch instead", dir, maxUpload>>20)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if name := filepath.ToSlash(rel); utf8.Valid(data) {
			files[name] = string(data)
		} else {
			binary[name] = data
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", dir, err)
	}
	return files, binary, nil
}

// maxUpload bounds the files that plan --path sends.
const maxUpload = 64 << 20
