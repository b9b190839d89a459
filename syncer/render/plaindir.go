package render

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"

	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/tree"
)

// plainDir is a directory of plain YAML files as it was built, with those
// below it. Once it is whole it does not change any more, so it is taken over
// as it is while its hash stays the same: a commit costs what it touches, and
// the names of the directories that are touched.
type plainDir struct {
	hash  string
	names []string // of files and dirs, in the order of their objects
	files map[string]plainFile
	dirs  map[string]*plainDir
	// whole says that items are all objects; else something could not be
	// decoded.
	whole bool
	items []load.Item
}

// plainFile is a file of YAML by its content's hash, and its objects once it
// was decoded.
type plainFile struct {
	hash    string
	decoded bool
	items   []load.Item
}

// scanPlain lists the YAML files below a directory, as load.Dir visits them,
// with what is known of before: of directories only if they are listed by the
// same rules. It reports false if there is anything among them that only
// load.Dir can judge.
func scanPlain(tree tree.Tree, dir string, before *plainDir, sameRules bool) (*plainDir, bool, error) {
	hash, err := tree.Hash(dir)
	if err != nil {
		return nil, false, err
	}
	if before == nil {
		before = &plainDir{}
	} else if sameRules && before.whole && before.hash == hash {
		return before, true, nil
	}
	entries, err := tree.ReadDir(dir)
	if err != nil {
		return nil, false, err
	}
	d := &plainDir{hash: hash, files: make(map[string]plainFile, len(entries)), dirs: map[string]*plainDir{}}
	for _, e := range entries {
		if slices.Contains(konfig.RecognizedKustomizationFileNames(), e.Name()) {
			return nil, false, nil
		}
		name, ext := path.Join(dir, e.Name()), path.Ext(e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.Type()&fs.ModeSymlink != 0 || ext == ".json":
			return nil, false, nil
		case e.IsDir():
			below, plain, err := scanPlain(tree, name, before.dirs[e.Name()], sameRules)
			if err != nil || !plain {
				return nil, false, err
			}
			d.dirs[e.Name()] = below
			d.names = append(d.names, e.Name())
		case ext == ".yaml" || ext == ".yml":
			hash, err := tree.Hash(name)
			if err != nil {
				return nil, false, err
			}
			file := before.files[e.Name()]
			if file.hash != hash {
				file = plainFile{hash: hash}
			}
			d.files[e.Name()] = file
			d.names = append(d.names, e.Name())
		}
	}
	return d, true, nil
}

// maxPlainFile bounds one manifest file, as load's default does.
const maxPlainFile = 5 << 20

// build decodes the files below dir that are not yet, and returns how many
// objects that made. What could be decoded is kept also when something could
// not.
func (d *plainDir) build(tree tree.Tree, dir string) (made int, err error) {
	if d.whole {
		return 0, nil
	}
	var errs []error
	for _, name := range d.names {
		if below := d.dirs[name]; below != nil {
			n, err := below.build(tree, path.Join(dir, name))
			made += n
			if err != nil {
				errs = append(errs, err)
			}
			d.items = append(d.items, below.items...)
			continue
		}
		file := d.files[name]
		if !file.decoded {
			if file.items, err = decodePlain(tree, path.Join(dir, name)); err != nil {
				errs = append(errs, err)
				continue
			}
			file.decoded = true
			made += len(file.items)
			d.files[name] = file
		}
		d.items = append(d.items, file.items...)
	}
	d.whole = len(errs) == 0
	if !d.whole {
		d.items = nil
	}
	return made, errors.Join(errs...)
}

func decodePlain(tree tree.Tree, name string) ([]load.Item, error) {
	data, err := tree.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(data) > maxPlainFile {
		return nil, &load.Error{Source: load.Source{File: name}, Reason: fmt.Sprintf("the file is larger than %d bytes", maxPlainFile)}
	}
	return load.Bytes(name, data)
}
