package syncer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/manifests/yaml/load"
)

// tree is what a source yields: the files of one revision, whatever they were
// fetched from. Hash identifies the content of a file or directory: equal
// hashes, equal contents, so that what did not change is not built again. Rules
// identifies the patterns of what is left out, which hashes do not tell.
type tree interface {
	fs.ReadDirFS
	fs.ReadFileFS
	fs.StatFS
	Hash(name string) (string, error)
	Rules() string
}

// tree opens the files of the head, without those that the source leaves out,
// of which ignore is its spec.ignore.
func (h head) tree(ignore string) (tree, error) {
	t, err := h.repo.Tree(h.Commit, ignore)
	if err != nil {
		return nil, err
	}
	return h.form.apply(t)
}

// render turns a revision's files into the objects that the Kustomization
// wants: the step between a source, of any kind, and a plan.
func (k *kustomization) render(ctx context.Context, ks *kustomizev1.Kustomization, t tree, revision string) ([]load.Item, error) {
	in, err := k.inputs(ks)
	if err != nil {
		return nil, fail(meta.BuildFailedReason, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, ks.GetTimeout(), fmt.Errorf("the build takes longer than spec.timeout, %s", ks.GetTimeout()))
	defer cancel()
	items, err := k.builder.build(ctx, t, revision, ks.Spec, in)
	if missing := (*errPath)(nil); errors.As(err, &missing) {
		return nil, fail(meta.ArtifactFailedReason, err)
	}
	if err != nil {
		return nil, fail(meta.BuildFailedReason, err)
	}
	return items, nil
}
