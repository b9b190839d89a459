package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/images"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/fsutil"
)

// Image is the part of an image that is needed to create a container. It
// depends only on the digest, so it is read once.
type Image struct {
	Config  ocispec.ImageConfig
	ChainID string // of the unpacked layers
	size    int64
	users   sync.Map // string → IDs, resolved by the image's own files
}

// Store looks up the images in a namespace of containerd.
type Store struct {
	client    *containerd.Client
	namespace string
	log       *slog.Logger
	cache     sync.Map      // digest → *Image
	dir       string        // where images are mounted whose files are read
	views     atomic.Uint64 // numbers the temporary views of images
}

// New returns the store of a namespace. Images whose files are read are mounted
// below dir; what a process that was killed left there is unmounted first.
func New(client *containerd.Client, namespace, dir string, log *slog.Logger) (*Store, error) {
	if err := fsutil.UnmountBelow(dir); err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	return &Store{client: client, namespace: namespace, dir: dir, log: log}, nil
}

func (s *Store) namespaced(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, s.namespace)
}

// load returns what is known of an image, unpacking it if it is not yet.
func (s *Store) load(ctx context.Context, i images.Image) (*Image, error) {
	key := i.Target.Digest.String()
	if c, ok := s.cache.Load(key); ok {
		return c.(*Image), nil
	}
	img := containerd.NewImageWithPlatform(s.client, i, platforms.Default())
	if ok, err := img.IsUnpacked(ctx, Snapshotter); err != nil {
		return nil, fmt.Errorf("look at image %s: %w", i.Name, err)
	} else if !ok {
		if err := img.Unpack(ctx, Snapshotter); err != nil {
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
	c := &Image{Config: spec.Config, ChainID: identity.ChainID(spec.RootFS.DiffIDs).String(), size: size}
	actual, _ := s.cache.LoadOrStore(key, c)
	return actual.(*Image), nil
}

// Find looks an image up by any form of its name.
func (s *Store) Find(ctx context.Context, ref string) (images.Image, *Image, error) {
	name, err := Normalize(ref)
	if err != nil {
		return images.Image{}, nil, err
	}
	i, err := s.client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return i, nil, fmt.Errorf("image %q: %w", name, runtime.ErrNotFound)
	}
	if err != nil {
		return i, nil, fmt.Errorf("look up image %q: %w", name, err)
	}
	c, err := s.load(ctx, i)
	return i, c, err
}

func imageInfo(i images.Image, c *Image) runtime.ImageInfo {
	return runtime.ImageInfo{Name: i.Name, Digest: i.Target.Digest.String(), Size: c.size, User: c.Config.User}
}

// Image implements Interface. An image whose content is incomplete counts as
// missing: pulling repairs it.
func (s *Store) Image(ctx context.Context, ref string) (runtime.ImageInfo, bool, error) {
	ctx = s.namespaced(ctx)
	name, err := Normalize(ref)
	if err != nil {
		return runtime.ImageInfo{}, false, err
	}
	i, err := s.client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return runtime.ImageInfo{}, false, nil
	}
	if err != nil {
		return runtime.ImageInfo{}, false, fmt.Errorf("look up image %q: %w", name, err)
	}
	c, err := s.load(ctx, i)
	if errdefs.IsNotFound(err) {
		return runtime.ImageInfo{}, false, nil
	}
	if err != nil {
		return runtime.ImageInfo{}, false, err
	}
	return imageInfo(i, c), true, nil
}

// Pull implements Interface.
func (s *Store) Pull(ctx context.Context, ref string, auth []runtime.Auth) (runtime.ImageInfo, error) {
	ctx = s.namespaced(ctx)
	name, err := Normalize(ref)
	if err != nil {
		return runtime.ImageInfo{}, err
	}
	img, err := fetch(ctx, s.client, name, auth)
	if err != nil {
		return runtime.ImageInfo{}, err
	}
	c, err := s.load(ctx, img.Metadata())
	if err != nil {
		return runtime.ImageInfo{}, err
	}
	return imageInfo(img.Metadata(), c), nil
}

// Import implements Interface.
func (s *Store) Import(ctx context.Context, archive io.Reader) ([]runtime.ImageInfo, error) {
	ctx = s.namespaced(ctx)
	imported, err := Import(ctx, s.client, archive)
	if err != nil {
		return nil, err
	}
	var out []runtime.ImageInfo
	for _, img := range imported {
		c, err := s.load(ctx, img.Metadata())
		if err != nil {
			return out, err
		}
		out = append(out, imageInfo(img.Metadata(), c))
	}
	return out, nil
}

// Images implements Interface.
func (s *Store) Images(ctx context.Context) ([]runtime.ImageInfo, error) {
	ctx = s.namespaced(ctx)
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []runtime.ImageInfo
	for _, i := range all {
		c, err := s.load(ctx, i)
		if err != nil {
			// One broken image must not hide the others.
			s.log.Warn("leaving out an unreadable image", "image", i.Name, "err", err)
			continue
		}
		out = append(out, imageInfo(i, c))
	}
	return out, nil
}
