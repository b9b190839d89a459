package history

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
	"headway.dev/syncer/wire"
)

// History answers what Git declared, and who set a field.
type History struct {
	env      *env.Env
	rights   rights.Rights
	sources  *source.Set
	journal  *journal.Journal
	owners   *owners.Index
	rendered func(kustomization object.Key) Rendered
}

// New returns a History that answers from the sources' commits; rendered is what
// a Kustomization applied last, if that is remembered.
func New(e *env.Env, r rights.Rights, sources *source.Set, j *journal.Journal, x *owners.Index, rendered func(object.Key) Rendered) *History {
	return &History{e, r, sources, j, x, rendered}
}

// Version is the result of rendering one commit for a Kustomization.
type Version struct {
	key    object.Key
	spec   kustomizev1.KustomizationSpec
	repo   *git.Repository
	commit string
	tree   tree.Tree
	items  []load.Item
}

// MissingError reports that something that was asked for does not exist.
type MissingError struct{ what string }

// Error implements error.
func (e *MissingError) Error() string { return e.what }

// Missing returns the error that something that was asked for does not exist.
func Missing(format string, args ...any) error { return &MissingError{fmt.Sprintf(format, args...)} }

// appliedVersion is what is applied now.
func (s *History) appliedVersion(key object.Key) (*Version, error) {
	ks, _ := s.env.Store.Get(key).(*kustomizev1.Kustomization)
	if ks == nil {
		return nil, Missing("Kustomization %s/%s does not exist", key.Namespace, key.Name)
	}
	head, ok := git.ParseRevision(ks.Status.LastAppliedRevision)
	if !ok {
		return nil, Missing("Kustomization %s/%s has not applied anything yet", key.Namespace, key.Name)
	}
	repo, err := s.repository(ks)
	if err != nil {
		return nil, err
	}
	built := s.rendered(key)
	if built.Revision != ks.Status.LastAppliedRevision {
		return s.versionAt(context.Background(), ks, repo, head.Commit, ks.Spec)
	}
	if built.Items == nil {
		return s.versionAt(context.Background(), ks, repo, head.Commit, built.Spec)
	}
	t, err := s.treeAt(ks, head.Commit)
	if err != nil {
		return nil, err
	}
	return &Version{key: key, spec: built.Spec, repo: repo, commit: head.Commit, tree: t, items: built.Items}, nil
}

// repository is where a Kustomization's source keeps its commits.
func (s *History) repository(ks *kustomizev1.Kustomization) (*git.Repository, error) {
	h, err := s.headOf(ks)
	if err != nil {
		return nil, err
	}
	return h.Repository()
}

// headOf is the head of a Kustomization's source, which may have accepted no
// commit yet, but is open.
func (s *History) headOf(ks *kustomizev1.Kustomization) (source.Head, error) {
	src := s.sources.Get(flux.SourceKey(ks))
	if src == nil {
		return source.Head{}, Missing("the source of Kustomization %s/%s does not exist", ks.Namespace, ks.Name)
	}
	h, _, err := src.Repository()
	return h, err
}

// treeAt opens the files of a commit in the shape that the source has now.
func (s *History) treeAt(ks *kustomizev1.Kustomization, commit string) (tree.Tree, error) {
	h, err := s.headOf(ks)
	if err != nil {
		return nil, err
	}
	return h.At(git.Head{Commit: commit}).Tree(flux.Ignore(s.env.Store, flux.SourceKey(ks)))
}

// versionAt renders a commit with a spec, for the caller of a request.
func (s *History) versionAt(ctx context.Context, ks *kustomizev1.Kustomization, repo *git.Repository, commit string, spec kustomizev1.KustomizationSpec) (*Version, error) {
	v := &Version{key: flux.KeyOf(ks), spec: spec, repo: repo, commit: commit}
	renderer := render.New(s.env, s.rights)
	renderer.LookFor(render.NewViewer(ctx, s.rights, s.rights))
	then := ks.DeepCopy()
	then.Spec = spec
	t, err := s.treeAt(ks, commit)
	if err != nil {
		return nil, err
	}
	v.tree = t
	err = fault.Catch(func() (err error) {
		v.items, err = renderer.Render(ctx, then, t, "sha1:"+commit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("render %s at %s: %w", v.name(), commit, err)
	}
	return v, nil
}

// PastVersion renders a commit with the spec that the Kustomization had in it,
// if it is declared in the same source, and otherwise with its current one.
func (s *History) PastVersion(ctx context.Context, ks *kustomizev1.Kustomization, commit string) (*Version, error) {
	repo, err := s.repository(ks)
	if err != nil {
		return nil, err
	}
	return s.versionAt(ctx, ks, repo, commit, s.specAt(ctx, ks, repo, commit, 0))
}

// specAt finds the spec. Kustomizations that declare each other are followed a
// few steps.
func (s *History) specAt(ctx context.Context, ks *kustomizev1.Kustomization, repo *git.Repository, commit string, depth int) kustomizev1.KustomizationSpec {
	key := flux.KeyOf(ks)
	parent, ok := s.owners.Of(key)
	if !ok || depth > 4 {
		return ks.Spec
	}
	declared, _ := s.env.Store.Get(parent).(*kustomizev1.Kustomization)
	if declared == nil || flux.SourceKey(declared) != flux.SourceKey(ks) {
		return ks.Spec
	}
	spec := declared.Spec
	if parent != key {
		spec = s.specAt(ctx, declared, repo, commit, depth+1)
	}
	v, err := s.versionAt(ctx, declared, repo, commit, spec)
	if err != nil {
		return ks.Spec
	}
	if it, ok := v.find(key); ok {
		if then, ok := it.Object.(*kustomizev1.Kustomization); ok {
			return then.Spec
		}
	}
	return ks.Spec
}

// name is NAMESPACE/NAME of the Kustomization.
func (v *Version) name() string { return v.key.Namespace + "/" + v.key.Name }

// find is the item of a key.
func (v *Version) find(key object.Key) (load.Item, bool) {
	for _, it := range v.items {
		if it.Object.GetName() != key.Name {
			continue
		}
		if k, err := plan.KeyOf(it.Object); err == nil && k == key {
			return it, true
		}
	}
	return load.Item{}, false
}

func (v *Version) describe() *wire.Commit {
	c, err := v.repo.Commit(v.commit)
	if err != nil {
		return nil
	}
	return source.Commit(c)
}

// dir is the directory that is rendered.
func (v *Version) dir() string { return cmp.Or(render.CleanDir(v.spec.Path), ".") }

// servedKind finds what a user calls a kind.
func (s *History) servedKind(name string) (*kind.Kind, error) {
	word, group, _ := strings.Cut(name, ".")
	for _, k := range s.env.Kinds.Kinds() {
		if (group == "" || group == k.Group) && (strings.EqualFold(word, k.Kind) || strings.EqualFold(word, k.Plural) || slices.Contains(k.ShortNames, strings.ToLower(word))) {
			return k, nil
		}
	}
	return nil, Missing("the server doesn't have a resource type %q", name)
}

// Live finds the one object that is meant.
func (s *History) Live(q wire.ObjectQuery) (object.Key, object.Object, error) {
	kind, err := s.servedKind(q.Kind)
	if err != nil {
		return object.Key{}, nil, err
	}
	key := object.Key{GroupKind: kind.GroupKind(), Namespace: q.Namespace, Name: q.Name}
	if !kind.Namespaced {
		key.Namespace = ""
	}
	if !kind.Namespaced || key.Namespace != "" {
		obj := s.env.Store.Get(key)
		if obj == nil {
			return key, nil, Missing("%s %q not found", kind.Resource().GroupResource(), q.Name)
		}
		return key, obj, nil
	}
	var found []object.Object
	var in []string
	list, _ := s.env.Store.List(key.GroupKind, "")
	for _, obj := range list {
		if obj.GetName() == q.Name {
			found, in = append(found, obj), append(in, obj.GetNamespace())
		}
	}
	switch len(found) {
	case 0:
		return key, nil, Missing("%s %q not found in any namespace", kind.Resource().GroupResource(), q.Name)
	case 1:
		key.Namespace = in[0]
		return key, found[0], nil
	}
	return key, nil, fmt.Errorf("%s/%s is in %s: name the namespace", kind.Kind, q.Name, strings.Join(in, ", "))
}

// commitAt finds the commit that a question about a Kustomization means.
func (s *History) commitAt(ks *kustomizev1.Kustomization, at string) (string, error) {
	if at == "" {
		head, ok := git.ParseRevision(ks.Status.LastAppliedRevision)
		if !ok {
			return "", Missing("Kustomization %s/%s has not applied anything yet", ks.Namespace, ks.Name)
		}
		return head.Commit, nil
	}
	if t, ok := parseTime(at, s.env.Now()); ok {
		return s.appliedAt(ks.Namespace+"/"+ks.Name, t)
	}
	if _, err := s.repository(ks); err != nil {
		return "", err
	}
	h, _ := s.sources.Get(flux.SourceKey(ks)).Current()
	return h.Resolve(at)
}

// appliedAt is the commit that was applied at a time, as the journal tells.
func (s *History) appliedAt(kustomization string, t time.Time) (string, error) {
	commit := ""
	err := s.journal.Backwards(func(e wire.Entry) bool {
		if e.Kustomization == kustomization && e.Type == wire.EntryApplied && !e.Time.After(t) {
			if head, ok := git.ParseRevision(e.Revision); ok {
				commit = head.Commit
			}
		}
		return commit == ""
	})
	if err == nil && commit == "" {
		err = Missing("Kustomization %s had not applied anything yet at %s", kustomization, t.Format(time.RFC3339))
	}
	return commit, err
}

// parseTime reads a time as a person writes it; without a zone it is local. A
// duration is that long ago.
func parseTime(text string, now time.Time) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, true
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), true
	}
	return time.Time{}, false
}

// hiddenValue stands for the values of a Secret.
const hiddenValue = "(hidden)"

// WithoutSecrets returns an object's JSON, without the values of a Secret and
// those that come from one.
func WithoutSecrets(obj object.Object) (map[string]any, error) {
	raw, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode the object: %w", err)
	}
	m, err := maskHidden(obj, raw)
	if err != nil {
		return nil, fmt.Errorf("encode the object: %w", err)
	}
	if _, secret := obj.(*corev1.Secret); !secret {
		return m, nil
	}
	for _, field := range []string{"data", "stringData"} {
		if values, ok := m[field].(map[string]any); ok {
			for k := range values {
				values[k] = hiddenValue
			}
		}
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		if a, ok := meta["annotations"].(map[string]any); ok {
			if _, ok := a[corev1.LastAppliedConfigAnnotation]; ok {
				a[corev1.LastAppliedConfigAnnotation] = hiddenValue
			}
		}
	}
	return m, nil
}
