package member

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	goruntime "runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime"
)

// The image that the example repository runs. Its only file is this program.
const (
	exampleImage   = "headway.dev/examples/web:1.0.0"
	ExampleVersion = "1.0.0"
	ExampleCommand = "example-web"
	ownProgram     = "/proc/self/exe"
)

// imageStore is what loading the example needs of the runtime.
type imageStore interface {
	Image(ctx context.Context, ref string) (runtime.ImageInfo, bool, error)
	Import(ctx context.Context, archive io.Reader) ([]runtime.ImageInfo, error)
}

// loadExample gives the example's image to the node, once. The cluster does
// without it if need be: its pods say what they lack.
func (m *Member) loadExample(ctx context.Context, images imageStore) {
	if _, there, err := images.Image(ctx, exampleImage); there && err == nil {
		return
	}
	reader, writer := io.Pipe()
	written := make(chan error, 1)
	go func() {
		defer func() { _ = writer.Close() }()
		written <- guard.Call(ctx, "write the example's image", func() error {
			err := writeExample(writer, ownProgram)
			return errors.Join(err, writer.CloseWithError(err))
		})
	}()
	_, err := images.Import(ctx, reader)
	if err == nil {
		_, err = io.Copy(io.Discard, reader) // padding that nobody needed
	}
	_ = reader.CloseWithError(err) // ends the writer, also when nothing was read
	if err = errors.Join(err, <-written); err != nil && ctx.Err() == nil {
		m.Warn("warning: the image of the example cannot be loaded: %v", err)
	}
}

// writeExample writes an OCI archive of the example's image, whose only layer
// has a program alone.
func writeExample(out io.Writer, program string) error {
	layer, err := openLayer(program)
	if err != nil {
		return err
	}
	defer layer.file.Close()
	described := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.digest, Size: layer.size}
	platform := ocispec.Platform{OS: "linux", Architecture: goruntime.GOARCH}
	archive := tar.NewWriter(out)
	config, err := writeBlob(archive, ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: platform,
		Config:   ocispec.ImageConfig{Entrypoint: []string{"/headway", ExampleCommand}, User: "65532:65532", WorkingDir: "/"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := writeBlob(archive, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{described},
	})
	if err != nil {
		return err
	}
	manifest.Platform = &platform
	manifest.Annotations = map[string]string{"io.containerd.image.name": exampleImage, ocispec.AnnotationRefName: ExampleVersion}
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{manifest},
	})
	if err != nil {
		return err
	}
	return errors.Join(
		writeEntry(archive, ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`)),
		writeEntry(archive, ocispec.ImageIndexFile, index),
		layer.writeTo(archive),
		archive.Close(),
	)
}

func writeBlob(archive *tar.Writer, mediaType string, value any) (ocispec.Descriptor, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	sum := digest.FromBytes(content)
	return ocispec.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(content))}, writeEntry(archive, blobName(sum), content)
}

func blobName(sum digest.Digest) string { return "blobs/sha256/" + sum.Encoded() }

func writeEntry(archive *tar.Writer, name string, content []byte) error {
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

// layer is a tar archive of one program, made while it is read: the program is
// too large to be held in memory.
type layer struct {
	file       *os.File
	head, tail []byte
	size       int64
	digest     digest.Digest
}

func openLayer(program string) (_ *layer, err error) {
	file, err := os.Open(program)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close() // it was only read
		}
	}()
	if err := standsAlone(file); err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: "headway", Mode: 0o755, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	// The file fills blocks of 512 bytes, and two empty ones end the archive.
	fill := (512 - info.Size()%512) % 512
	l := &layer{file: file, head: head.Bytes(), tail: make([]byte, fill+1024)}
	l.size = int64(len(l.head)) + info.Size() + int64(len(l.tail))
	content, err := l.reader()
	if err != nil {
		return nil, err
	}
	l.digest, err = digest.FromReader(content)
	return l, err
}

// standsAlone refuses a program that needs a loader and libraries, which an image
// of the program alone does not have: its containers would end at once.
func standsAlone(file io.ReaderAt) error {
	program, err := elf.NewFile(file)
	if err != nil {
		return err
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return errors.New("the program is linked dynamically: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

func (l *layer) reader() (io.Reader, error) {
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.MultiReader(bytes.NewReader(l.head), l.file, bytes.NewReader(l.tail)), nil
}

func (l *layer) writeTo(archive *tar.Writer) error {
	content, err := l.reader()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: blobName(l.digest), Mode: 0o644, Size: l.size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(archive, content)
	return err
}
