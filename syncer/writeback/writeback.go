package writeback

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/editors"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
	"headway.dev/syncer/history"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/progress"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
)

// accountsGroup is the group of all ServiceAccounts.
const accountsGroup = "system:serviceaccounts"

// Options are what writes are reviewed and committed with.
type Options struct {
	Env     *env.Env
	Rights  rights.Rights
	Sources *source.Set
	Owners  *owners.Index
	Journal *journal.Journal
	Editors *editors.Editors
	Loops   progress.Loops
	// Rendered is what a Kustomization applied last, as it was rendered: by then its
	// spec may be that of a newer commit, which cannot be applied.
	Rendered func(key object.Key) history.Rendered
	// Committer commits for users.
	Committer git.Identity
	// SigningKey signs the commits; nil leaves them unsigned.
	SigningKey *signature.SigningKey
}

// Writeback reviews users' writes to what Git declares, and commits them.
type Writeback struct {
	Options
	// mu guards what is below, and is held while something is rendered: never while
	// a webhook converts.
	mu sync.Mutex
	// views render for writes what the loops render for syncs.
	views map[object.Key]*view
}

// New has reviewed nothing yet.
func New(o Options) *Writeback {
	return &Writeback{Options: o, views: map[object.Key]*view{}}
}

// view is what a Kustomization declares at one revision.
type view struct {
	renderer *render.Renderer
	revision string
	head     source.Head
	items    map[object.Key]load.Item
	tree     tree.Tree
	// ks is the Kustomization as it was rendered.
	ks *kustomizev1.Kustomization
}

// Review decides about a user's write through the API, by the annotation
// headway.dev/git-writes of the Kustomization that applied the object: heal
// lets everything pass, reject refuses what the next sync would put back, and
// commit carries changes of people out as commits.
func (s *Writeback) Review(ctx context.Context, w change.Request) (change.Elsewhere, error) {
	s.Editors.NoteSuspender(w)
	if w.Old == nil || exempt(w) {
		return nil, nil
	}
	key, err := plan.KeyOf(w.Old)
	if err != nil {
		return nil, nil //nolint:nilerr // a kind that Git cannot declare
	}
	const most = 3 // judgements of what changes meanwhile
	for try := 1; ; try++ {
		ks := s.applier(key, w.Old)
		if ks == nil || ks.Spec.Suspend || ks.DeletionTimestamp != nil || w.Old.GetDeletionTimestamp() != nil {
			return nil, nil
		}
		elsewhere, err := s.review(ctx, ks, key, w)
		// Nobody waits for who is judging, which may ask a webhook, and so another
		// commit may be applied by now.
		if try == most || ctx.Err() != nil || judgedAlike(ks, s.applier(key, w.Old)) {
			return elsewhere, err
		}
	}
}

// judgedAlike reports whether a write means the same to two states of a Kustomization.
func judgedAlike(a, b *kustomizev1.Kustomization) bool {
	return b != nil && a.UID == b.UID && a.Generation == b.Generation && a.Status.LastAppliedRevision == b.Status.LastAppliedRevision &&
		a.DeletionTimestamp.IsZero() == b.DeletionTimestamp.IsZero() && maps.Equal(a.Annotations, b.Annotations)
}

// review decides about a write of what a Kustomization has applied.
func (s *Writeback) review(ctx context.Context, ks *kustomizev1.Kustomization, key object.Key, w change.Request) (change.Elsewhere, error) {
	switch flux.Of(ks).GitWrites.Value {
	case flux.WritesReject:
		return nil, s.reject(ctx, ks, key, w)
	case flux.WritesCommit:
		// Controllers do not write to Git.
		if !slices.Contains(w.Groups, accountsGroup) || mayCommit(ks, w.User) {
			return s.intercept(ctx, ks, key, w)
		}
	}
	s.Editors.NoteWrite(key, w)
	return nil, nil
}

// applier is the Kustomization that applied an object, or nil. Between the
// transaction that stored a new object and its loop's note of it the object's
// labels tell, which anyone may write, so the inventory has to agree.
func (s *Writeback) applier(key object.Key, obj object.Object) *kustomizev1.Kustomization {
	if noted, ok := s.Owners.Of(key); ok {
		return s.followed(noted)
	}
	owner, labelled := plan.OwnerOf(obj)
	if !labelled {
		return nil
	}
	ks := s.followed(owners.KeyOf(owner))
	if ks == nil || !slices.Contains(flux.InventoryOf(ks), key) {
		return nil
	}
	return ks
}

// followed is a Kustomization that has a loop, or nil.
func (s *Writeback) followed(key object.Key) *kustomizev1.Kustomization {
	if _, runs := s.Loops.State(key); !runs {
		return nil
	}
	ks, _ := s.Env.Store.Get(key).(*kustomizev1.Kustomization)
	return ks
}

// mayCommit reports whether a ServiceAccount writes commits, as people do.
func mayCommit(ks *kustomizev1.Kustomization, user string) bool {
	name := strings.Replace(strings.TrimPrefix(user, "system:serviceaccount:"), ":", "/", 1)
	return slices.Contains(flux.Of(ks).GitAccounts.Value, name)
}

// exempt are the writes of the cluster's own parts.
func exempt(w change.Request) bool {
	return w.User == "" || strings.HasPrefix(w.User, "system:kube-") || strings.HasPrefix(w.User, "system:node:") ||
		slices.Contains(w.Groups, "system:nodes") || slices.Contains(w.Groups, "system:serviceaccounts:kube-system")
}

// declared is the item of an object at the applied revision, and what else is
// rendered there. It is looked up in the repository, which needs no network.
func (s *Writeback) declared(ks *kustomizev1.Kustomization, key object.Key) (load.Item, *view, error) {
	applied, ok := git.ParseRevision(ks.Status.LastAppliedRevision)
	src := s.Sources.Get(flux.SourceKey(ks))
	if !ok || src == nil {
		return load.Item{}, nil, apierrors.NewServiceUnavailable("what Git declares is not known yet: try again in a moment")
	}
	now, _ := src.Current()
	if !now.Fetched() {
		return load.Item{}, nil, apierrors.NewServiceUnavailable("the Git repository is not open yet: try again in a moment")
	}
	ignore := flux.Ignore(s.Env.Store, flux.SourceKey(ks))
	if last := s.Rendered(flux.KeyOf(ks)); last.Revision == ks.Status.LastAppliedRevision {
		account := ks.Spec.ServiceAccountName
		ks, ignore = ks.DeepCopy(), last.Ignore
		ks.Spec = *last.Spec.DeepCopy()
		ks.Spec.ServiceAccountName = account
	}
	v, err := s.viewOf(ks, now.At(applied), ignore)
	if err != nil {
		return load.Item{}, nil, fmt.Errorf("read what Git declares: %w", err)
	}
	return v.items[key], v, nil
}

// viewOf renders a Kustomization at a head, unless that is known; ignore is what the
// source leaves out of the files.
func (s *Writeback) viewOf(ks *kustomizev1.Kustomization, h source.Head, ignore string) (*view, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := flux.KeyOf(ks)
	known := s.views[key]
	spec, err := json.Marshal(ks.Spec)
	if err != nil {
		return nil, err
	}
	at := fmt.Sprintf("%s %q %s", h.ID(), ignore, spec)
	if known != nil && known.revision == at {
		return known, nil
	}
	if known == nil {
		known = &view{renderer: render.New(s.Env, s.Rights)}
	}
	t, err := h.Tree(ignore)
	if err != nil {
		return nil, err
	}
	items, err := renderView(known.renderer, ks, t, h.Revision())
	if err != nil {
		return nil, err
	}
	next := &view{renderer: known.renderer, revision: at, head: h, items: items, tree: t, ks: ks}
	for other := range s.views {
		if s.Env.Store.Get(other) == nil {
			delete(s.views, other)
		}
	}
	s.views[key] = next
	return next, nil
}

// render renders what a tree declares for a Kustomization of which there is a view.
func (s *Writeback) render(of *view, ks *kustomizev1.Kustomization, t tree.Tree, revision string) (map[object.Key]load.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return renderView(of.renderer, ks, t, revision)
}

func renderView(r *render.Renderer, ks *kustomizev1.Kustomization, t tree.Tree, revision string) (map[object.Key]load.Item, error) {
	var items []load.Item
	err := fault.Catch(func() (err error) {
		items, err = r.Render(context.Background(), ks, t, revision)
		return err
	})
	if err != nil {
		return nil, err
	}
	byKey := make(map[object.Key]load.Item, len(items))
	for _, it := range items {
		if key, err := plan.KeyOf(it.Object); err == nil {
			byKey[key] = it
		}
	}
	return byKey, nil
}

// afterSync is what a sync would make of live, given what Git declares of it; nil
// if the object is one that the syncer leaves alone. It may ask a webhook.
func (s *Writeback) afterSync(ctx context.Context, ks *kustomizev1.Kustomization, item load.Item, key object.Key, live object.Object) (object.Object, error) {
	bare, _ := live.DeepCopyObject().(object.Object)
	bare.SetResourceVersion("")
	if _, custom := bare.(*unstructured.Unstructured); custom {
		bare.SetResourceVersion("1") // these have to have one
	}
	in := plan.Input{Items: []load.Item{item}, Owner: plan.Owner{Namespace: ks.Namespace, Name: ks.Name}, Force: ks.Spec.Force, Ignore: ks.Spec.Ignore}
	res := plan.NewConverting(s.Env.Kinds, s.Env.Convert).Plan(ctx, in, rights.NewAfterwards(s.Env.Store, map[object.Key]object.Object{key: bare}))
	if len(res.Errors) > 0 {
		return nil, res.Errors[0]
	}
	for _, a := range res.Actions {
		switch {
		case a.Key != key || a.Type == plan.Skip:
			return nil, nil
		case a.Object != nil:
			return a.Object, nil
		}
	}
	return bare, nil
}
