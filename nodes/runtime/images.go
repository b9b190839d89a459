package runtime

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"headway.dev/nodes/image"
)

// cachedImage is what is needed of an image to make a container. It depends on
// the digest alone, so it is read once.
type cachedImage struct {
	config  ocispec.ImageConfig
	chainID string // of the unpacked layers
	size    int64
	users   sync.Map // string → execUser, resolved by the image's own files
}

// imageCache keeps images by digest.
type imageCache struct{ m sync.Map }

// load returns what is known of an image, unpacking it if it is not yet.
func (r *Runtime) load(ctx context.Context, i images.Image) (*cachedImage, error) {
	key := i.Target.Digest.String()
	if c, ok := r.images.m.Load(key); ok {
		return c.(*cachedImage), nil
	}
	img := containerd.NewImageWithPlatform(r.client, i, platforms.Default())
	if ok, err := img.IsUnpacked(ctx, image.Snapshotter); err != nil {
		return nil, fmt.Errorf("look at image %s: %w", i.Name, err)
	} else if !ok {
		if err := img.Unpack(ctx, image.Snapshotter); err != nil {
			return nil, fmt.Errorf("unpack image %s: %w", i.Name, err)
		}
	}
	spec, err := img.Spec(ctx)
	if err != nil {
		return nil, fmt.Errorf("read config of image %s: %w", i.Name, err)
	}
	size, err := img.Size(ctx)
	if err != nil {
		return nil, fmt.Errorf("read size of image %s: %w", i.Name, err)
	}
	c := &cachedImage{config: spec.Config, chainID: identity.ChainID(spec.RootFS.DiffIDs).String(), size: size}
	actual, _ := r.images.m.LoadOrStore(key, c)
	return actual.(*cachedImage), nil
}

// find looks an image up by any form of its name.
func (r *Runtime) find(ctx context.Context, ref string) (images.Image, *cachedImage, error) {
	name, err := image.Normalize(ref)
	if err != nil {
		return images.Image{}, nil, err
	}
	i, err := r.client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return i, nil, fmt.Errorf("image %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return i, nil, fmt.Errorf("look up image %q: %w", name, err)
	}
	c, err := r.load(ctx, i)
	return i, c, err
}

func imageInfo(i images.Image, c *cachedImage) ImageInfo {
	return ImageInfo{Name: i.Name, Digest: i.Target.Digest.String(), Size: c.size, User: c.config.User}
}

// Image implements Interface. An image whose content is incomplete counts as
// not there: pulling repairs it.
func (r *Runtime) Image(ctx context.Context, ref string) (ImageInfo, bool, error) {
	ctx = r.namespaced(ctx)
	name, err := image.Normalize(ref)
	if err != nil {
		return ImageInfo{}, false, err
	}
	i, err := r.client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return ImageInfo{}, false, nil
	}
	if err != nil {
		return ImageInfo{}, false, fmt.Errorf("look up image %q: %w", name, err)
	}
	c, err := r.load(ctx, i)
	if errdefs.IsNotFound(err) {
		return ImageInfo{}, false, nil
	}
	if err != nil {
		return ImageInfo{}, false, err
	}
	return imageInfo(i, c), true, nil
}

// Pull implements Interface.
func (r *Runtime) Pull(ctx context.Context, ref string, auth []Auth) (ImageInfo, error) {
	ctx = r.namespaced(ctx)
	name, err := image.Normalize(ref)
	if err != nil {
		return ImageInfo{}, err
	}
	logins := make([]image.Auth, 0, len(auth))
	for _, a := range auth {
		logins = append(logins, image.Auth(a))
	}
	img, err := image.Pull(ctx, r.client, name, logins)
	if err != nil {
		return ImageInfo{}, err
	}
	c, err := r.load(ctx, img.Metadata())
	if err != nil {
		return ImageInfo{}, err
	}
	return imageInfo(img.Metadata(), c), nil
}

// Import implements Interface.
func (r *Runtime) Import(ctx context.Context, archive io.Reader) ([]ImageInfo, error) {
	ctx = r.namespaced(ctx)
	imported, err := image.Import(ctx, r.client, archive)
	if err != nil {
		return nil, err
	}
	var out []ImageInfo
	for _, img := range imported {
		c, err := r.load(ctx, img.Metadata())
		if err != nil {
			return out, err
		}
		out = append(out, imageInfo(img.Metadata(), c))
	}
	return out, nil
}

// Images implements Interface.
func (r *Runtime) Images(ctx context.Context) ([]ImageInfo, error) {
	ctx = r.namespaced(ctx)
	all, err := r.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []ImageInfo
	for _, i := range all {
		c, err := r.load(ctx, i)
		if err != nil {
			// One broken image must not hide the others.
			r.log.Warn("leaving out an unreadable image", "image", i.Name, "err", err)
			continue
		}
		out = append(out, imageInfo(i, c))
	}
	return out, nil
}
