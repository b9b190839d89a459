package containerd

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd"
	containerdimages "github.com/containerd/containerd/images"
	"github.com/containerd/containerd/namespaces"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/images"
)

// ImportInto loads the images of an archive into the store of a running agent
// with this configuration, from another process.
func ImportInto(ctx context.Context, cfg Config, archive io.Reader) ([]runtime.ImageInfo, error) {
	address := cfg.ContainerdAddress
	if address == "" {
		address = daemon.SocketIn(cfg.RunDir)
	}
	namespace := cfg.Namespace
	if namespace == "" {
		namespace = defaultNamespace
	}
	client, err := daemon.Connect(ctx, address, namespace)
	if err != nil {
		return nil, fmt.Errorf("%w (is `headway up` running?)", err)
	}
	defer func() { _ = client.Close() }()
	ctx = namespaces.WithNamespace(ctx, namespace)
	imported, err := images.Import(ctx, client, archive)
	if err != nil {
		return nil, err
	}
	infos := make([]runtime.ImageInfo, 0, len(imported))
	for _, img := range imported {
		size, err := img.Size(ctx)
		if err != nil {
			return infos, fmt.Errorf("size of image %s: %w", img.Name(), err)
		}
		infos = append(infos, runtime.ImageInfo{Name: img.Name(), Digest: img.Target().Digest.String(), Size: size})
		if err := announce(ctx, client, img.Name()); err != nil {
			return infos, err
		}
	}
	return infos, nil
}

// labelImported is when an image was imported by another process: the change
// tells the agent that it is there, with everything in it.
const labelImported = "headway.dev/imported"

func announce(ctx context.Context, client *containerd.Client, name string) error {
	changed := containerdimages.Image{Name: name, Labels: map[string]string{labelImported: time.Now().UTC().Format("20060102T150405.000000000Z")}}
	if _, err := client.ImageService().Update(ctx, changed, "labels."+labelImported); err != nil {
		return fmt.Errorf("tell the agent of image %s: %w", name, err)
	}
	return nil
}

// Version is the container runtime's name and version, as a Node reports it:
// containerd://1.6.20.
func (r *Runtime) Version(ctx context.Context) (string, error) {
	version, err := r.client.Version(ctx)
	if err != nil {
		return "", fmt.Errorf("ask containerd for its version: %w", err)
	}
	return "containerd://" + version.Version, nil
}
