// Archive packs static Linux programs, or directories, into an OCI image
// archive, without a container engine and without a registry.
//
//	archive -o web.tar headway.dev/examples/web:1.0.0=build/web-1.0.0
//
// makes an archive of one image whose only file, /web-1.0.0, is its entrypoint.
// Of a directory the image is the tree below it, without an entrypoint. The
// same input gives the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	out := flag.String("o", "", "the archive to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(1)
	}
}

func run(out string, images []string) error {
	if out == "" || len(images) == 0 {
		return errors.New("usage: archive -o FILE NAME=PROGRAM [NAME=PROGRAM ...]")
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arg := range images {
		name, program, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=PROGRAM", arg)
		}
		image, err := imageOf(program)
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image,
			Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
				Annotations: map[string]string{
					// The name that containerd and its tools give the image.
					"io.containerd.image.name":          name,
					"org.opencontainers.image.ref.name": name[strings.LastIndex(name, ":")+1:],
				},
			},
		})
	}
	dir, err := os.MkdirTemp("", "archive-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, index); err != nil {
		return err
	}
	return pack(dir, out)
}

// imageOf is an image that holds program alone and runs it or, if that is a
// directory, the tree below it.
func imageOf(program string) (v1.Image, error) {
	info, err := os.Stat(program)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	config := v1.Config{WorkingDir: "/"}
	if info.IsDir() {
		err = packTree(&files, program)
	} else {
		name := path.Base(filepath.ToSlash(program))
		config.Entrypoint, config.User = []string{"/" + name}, "65532:65532"
		err = packFile(&files, name, program)
	}
	if err != nil {
		return nil, err
	}
	layer := static.NewLayer(files.Bytes(), types.OCIUncompressedLayer)
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		return nil, err
	}
	id, err := layer.DiffID()
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(mutate.ConfigMediaType(image, types.OCIConfigJSON), &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{id}},
		Config: config,
	})
}

func packFile(out io.Writer, name, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	return errors.Join(writeFile(w, name, 0o755, content), w.Close())
}

// packTree packs directories, files and symbolic links, as root's.
func packTree(out io.Writer, dir string) error {
	w := tar.NewWriter(out)
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(rel), Mode: int64(info.Mode().Perm())}
		switch info.Mode().Type() {
		case os.ModeDir:
			header.Typeflag = tar.TypeDir
		case os.ModeSymlink:
			header.Typeflag = tar.TypeSymlink
			if header.Linkname, err = os.Readlink(name); err != nil {
				return err
			}
		case 0:
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return writeFile(w, header.Name, header.Mode, content)
		default:
			return fmt.Errorf("%s is neither a file nor a directory nor a link", name)
		}
		return w.WriteHeader(header)
	})
	return errors.Join(err, w.Close())
}

func writeFile(w *tar.Writer, name string, mode int64, content []byte) error {
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// pack writes the files of dir to the archive out, with nothing in it that
// depends on when or by whom it was made.
func pack(dir, out string) (err error) {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := tar.NewWriter(file)
	err = filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return writeFile(w, filepath.ToSlash(rel), 0o644, content)
	})
	return errors.Join(err, w.Close())
}
