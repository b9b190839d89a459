package image

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/archive/compression"
	"github.com/containerd/containerd/platforms"
)

// Import loads the images of an OCI or Docker archive, plain or compressed,
// and unpacks them. An image is named by its annotation
// io.containerd.image.name or org.opencontainers.image.ref.name, or by its
// Docker RepoTags; an archive that names none is an error, because nothing
// could refer to what was loaded.
func Import(ctx context.Context, client *containerd.Client, archive io.Reader) ([]containerd.Image, error) {
	plain, err := compression.DecompressStream(archive)
	if err != nil {
		return nil, fmt.Errorf("read image archive: %w", err)
	}
	defer plain.Close()
	imported, err := client.Import(ctx, plain,
		containerd.WithAllPlatforms(false),
		containerd.WithImportPlatform(platforms.Default()),
		containerd.WithImageRefTranslator(func(ref string) string {
			name, err := Normalize(ref)
			if err != nil {
				return ""
			}
			return name
		}))
	if err != nil {
		return nil, fmt.Errorf("read image archive: %w", err)
	}
	if len(imported) == 0 {
		return nil, errors.New("the archive names no image: it needs RepoTags or the annotation org.opencontainers.image.ref.name")
	}
	var out []containerd.Image
	for _, i := range imported {
		img := containerd.NewImageWithPlatform(client, i, platforms.Default())
		if err := img.Unpack(ctx, Snapshotter); err != nil {
			return out, fmt.Errorf("unpack image %s: %w", i.Name, err)
		}
		out = append(out, img)
	}
	return out, nil
}
