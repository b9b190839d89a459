package render

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
)

// Patience bounds the wait for another Kustomization's build: those that
// are slow to render must not hold up the others.
const Patience = 5 * time.Second

// ErrSlow reports that there was no time left to render something.
var ErrSlow = errors.New("there was no time to render it")

// Renderer turns heads of a source into the objects that one Kustomization
// declares, each content once. Its builds run one after the other.
type Renderer struct {
	env    *env.Env
	rights rights.Rights
	// forCaller is whom it renders for, if that is only to look at it.
	forCaller *Viewer
	// definitions are of custom resources, besides those of the cluster.
	definitions []*apiextensionsv1.CustomResourceDefinition

	// building is held by who builds: it guards builder, failed and hashes.
	building chan struct{}
	builder  builder
	failed   failedBuild
	hashes   fingerprints

	mu sync.Mutex
	// cancel ends the build that runs.
	cancel context.CancelCauseFunc
	reads  []object.Key // by the build
}

// New returns a renderer that has rendered nothing; r are the rights in the stored
// state.
func New(e *env.Env, r rights.Rights) *Renderer {
	return &Renderer{env: e, rights: r, building: make(chan struct{}, 1)}
}

// lock takes the builder; the caller must return it with unlock.
func (r *Renderer) lock(ctx context.Context) error {
	select {
	case r.building <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Renderer) unlock() { <-r.building }

// Fork returns a renderer that knows what r knows, and from which r learns
// nothing, for plans. It is a new one if r is busy for too long.
func (r *Renderer) Fork(ctx context.Context) *Renderer {
	next := New(r.env, r.rights)
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if r.lock(ctx) == nil {
		next.builder = r.builder.fork()
		r.unlock()
	}
	return next
}

// LookFor limits what it reads to what somebody may read.
func (r *Renderer) LookFor(o *Viewer) { r.forCaller = o }

// Define has it know the kinds of definitions that are not stored yet.
func (r *Renderer) Define(definitions []*apiextensionsv1.CustomResourceDefinition) {
	r.definitions = definitions
}

// Defined returns what was built with the namespaces that it has by definitions which
// come with it from elsewhere.
func (r *Renderer) Defined(ctx context.Context, out Built, definitions []*apiextensionsv1.CustomResourceDefinition) (Built, error) {
	if err := r.lock(ctx); err != nil {
		return Built{}, err
	}
	defer r.unlock()
	out.Items = r.builder.scopes.in(out.Items, r.kinds(out.Items, definitions))
	out.Digest = r.hashes.digest(out.Items)
	return out, nil
}

// Built is the result of a build.
type Built struct {
	Items []load.Item
	// Made is the number of items that had to be decoded or rendered.
	Made int
	// Digest identifies the items, in the form of Flux's history.
	Digest string
}

// errInterrupted ends a build whose Kustomization is deleted or suspended.
var errInterrupted = errors.New("the Kustomization is deleted or suspended")

// Build renders a head by render, which is not called for what is known to fail or
// to take too much, and ends when [Renderer.Interrupt] is called or wanted does not
// hold when it begins. What fails aside, in a group that tells nobody, fails once
// more without being built.
func (r *Renderer) Build(ctx context.Context, ks *kustomizev1.Kustomization, at source.Head, aside bool, wanted func() bool, render func(context.Context) ([]load.Item, error)) (Built, error) {
	if err := r.lock(ctx); err != nil {
		return Built{}, err
	}
	defer r.unlock()
	building, done := r.interruptible(ctx)
	defer done()
	if !wanted() { // since before it could be interrupted
		return Built{}, errInterrupted
	}
	if err := r.builtBefore(ctx, ks, at, aside); err != nil {
		return Built{}, err
	}
	items, err := r.sparing(ctx, ks, at, func() ([]load.Item, error) { return render(building) })
	r.note(building, ks, at, err)
	r.failed.aside = aside
	out := Built{Items: items, Made: r.builder.made}
	if err == nil {
		out.Digest = r.hashes.digest(items)
	}
	return out, err
}

// failedBuild is a build that failed: of what, and how.
type failedBuild struct {
	of  string
	err error
	// aside says that it was built in a group, and failed there without a word.
	aside bool
}

// note remembers what came of a build, under the builder's lock. A build that
// was cut off as ctx ended says nothing about the next.
func (r *Renderer) note(ctx context.Context, ks *kustomizev1.Kustomization, at source.Head, err error) {
	r.failed = failedBuild{}
	if err != nil && ctx.Err() == nil {
		r.failed = failedBuild{of: r.buildID(ctx, ks, at), err: err}
	}
}

// builtBefore is how a build has failed that was just made in a group: once,
// for the Kustomization to tell of it.
func (r *Renderer) builtBefore(ctx context.Context, ks *kustomizev1.Kustomization, at source.Head, aside bool) error {
	if aside || !r.failed.aside {
		return nil
	}
	r.failed.aside = false
	if r.failed.of != r.buildID(ctx, ks, at) {
		return nil
	}
	return r.failed.err
}

// buildID identifies all that a build depends on.
func (r *Renderer) buildID(ctx context.Context, ks *kustomizev1.Kustomization, at source.Head) string {
	spec, err := json.Marshal(ks.Spec)
	if err != nil {
		return "" // it is no object of the API
	}
	return strings.Join([]string{at.Revision(), at.Mark(), r.ignore(ks), r.InputsID(ctx, ks), string(spec)}, "\n")
}

// Shared builds for another loop, with the same builder, so that the work is
// done once, even for what cannot be built, of which there may be hundreds.
func (r *Renderer) Shared(ctx context.Context, ks *kustomizev1.Kustomization, at source.Head) ([]load.Item, error) {
	patience, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if err := r.lock(patience); err != nil {
		return nil, err
	}
	defer r.unlock()
	var items []load.Item
	err := fault.Catch(func() error {
		if r.failed.err != nil && r.failed.of == r.buildID(ctx, ks, at) {
			return r.failed.err
		}
		t, err := at.Tree(r.ignore(ks))
		if err == nil {
			items, err = r.sparing(ctx, ks, at, func() ([]load.Item, error) { return r.Render(patience, ks, t, at.Revision()) })
		}
		r.note(ctx, ks, at, err) // also that it took too long: others do not wait for it again
		return err
	})
	return items, err
}
