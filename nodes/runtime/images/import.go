package images

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/archive/compression"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/images"
	"github.com/containerd/platforms"
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
		if i, err = rename(ctx, client, i); err != nil {
			return out, err
		}
		img := containerd.NewImageWithPlatform(client, i, platforms.Default())
		if err := img.Unpack(ctx, Snapshotter); err != nil {
			return out, fmt.Errorf("unpack image %s: %w", i.Name, err)
		}
		out = append(out, img)
	}
	return out, nil
}

// rename gives an image the name it is looked up by: the annotation
// io.containerd.image.name is taken as it is, but people also write short
// names there.
func rename(ctx context.Context, client *containerd.Client, i images.Image) (images.Image, error) {
	name, err := Normalize(i.Name)
	if err != nil {
		return i, err
	}
	if name == i.Name {
		return i, nil
	}
	short := i.Name
	i.Name = name
	store := client.ImageService()
	renamed, err := store.Create(ctx, i)
	if errdefs.IsAlreadyExists(err) {
		renamed, err = store.Update(ctx, i, "target")
	}
	if err == nil {
		err = store.Delete(ctx, short)
	}
	if err != nil {
		return i, fmt.Errorf("name image %s: %w", name, err)
	}
	return renamed, nil
}
