package kustomize

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// ErrBudget reports that a build was ended because it exceeded its budget. It
// would do so again, so it is not worth trying before something has changed.
var ErrBudget = errors.New("kustomize build takes too much")

// Resource is one object that a build produced.
type Resource struct {
	APIVersion, Kind, Namespace, Name string
	// JSON is the object, without kustomize's own annotations.
	JSON []byte
	// Path is the file that the object is from; ConfiguredIn is the file that
	// configures its generator or transformer.
	Path, ConfiguredIn string
}

// FS is what a build sees of the tree.
type FS interface {
	CleanedAbs(name string) (filesys.ConfirmedDir, string, error)
	ReadFile(name string) ([]byte, error)
	IsDir(name string) bool
	Exists(name string) bool
}

// Build renders the kustomization in a directory. keepOrigin reports whether
// the annotation that names an object's origin stays. It is called after the
// build, because the files may determine it.
func Build(ctx context.Context, files FS, dir string, keepOrigin func() bool) ([]Resource, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !isolated() {
		here.Lock()
		defer here.Unlock()
		return render(readOnly{files}, dir, keepOrigin)
	}
	return inChild(ctx, files, dir, keepOrigin)
}

// here is held during a build in this process: the library keeps the schema
// that a kustomization's openapi field sets in a global variable.
var here sync.Mutex

// render runs the library.
func render(files filesys.FileSystem, dir string, keepOrigin func() bool) ([]Resource, error) {
	rendered, err := krusty.MakeKustomizer(&krusty.Options{
		Reorder: krusty.ReorderOptionNone,
		// Files are confined to the tree by the file system, as Flux confines them
		// to the artifact, rather than to the directory of each kustomization.
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	}).Run(files, dir)
	if err != nil {
		return nil, err
	}
	keep := keepOrigin()
	list := make([]Resource, 0, rendered.Size())
	for _, res := range rendered.Resources() {
		out := Resource{APIVersion: res.GetApiVersion(), Kind: res.GetKind(), Namespace: res.GetNamespace(), Name: res.GetName()}
		if origin, err := res.GetOrigin(); err == nil && origin != nil {
			out.Path, out.ConfiguredIn = origin.Path, origin.ConfiguredIn
		}
		if !keep {
			if err := res.SetOrigin(nil); err != nil {
				return nil, fmt.Errorf("strip the origin annotation: %w", err)
			}
		}
		if out.JSON, err = res.MarshalJSON(); err != nil {
			return nil, fmt.Errorf("encode the rendered object: %w", err)
		}
		list = append(list, out)
	}
	return list, nil
}
