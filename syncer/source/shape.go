package source

import (
	"fmt"
	"path"
	"slices"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/status"
	"headway.dev/syncer/tree"
)

// checkout is the content of a GitRepository: its commits, in the shape that it asks
// for.
type checkout struct {
	repo *git.Repository
	shape
}

// Tree implements Content.
func (c checkout) Tree(at git.Head, ignore string) (tree.Tree, error) {
	t, err := c.repo.Tree(at.Commit, ignore)
	if err != nil {
		return nil, err
	}
	return c.apply(t)
}

// Repository implements Content.
func (c checkout) Repository() (*git.Repository, error) { return c.repo, nil }

// shape is what a source's tree is cut down to, and what of other sources is
// put into it.
type shape struct {
	sparse   []string
	includes []included
}

// included is a directory of another source at the commit that counts.
type included struct {
	src      *Source
	head     Head
	from, to string
}

// Mark implements Content.
func (s shape) Mark() string {
	lines := slices.Clone(s.sparse)
	for _, in := range s.includes {
		lines = append(lines, fmt.Sprintf("%s %s %q %q", in.src.Name(), in.head.Commit, in.from, in.to))
	}
	return strings.Join(lines, "\n")
}

// IncludedFrom implements Content.
func (s shape) IncludedFrom(file string) string {
	for _, in := range s.includes {
		if tree.Within(file, in.to) {
			return in.src.Name()
		}
	}
	return ""
}

// apply puts a tree into shape.
func (s shape) apply(t tree.Tree) (tree.Tree, error) {
	if len(s.sparse) > 0 {
		var list []tree.Mount
		for _, dir := range s.sparse {
			list = append(list, tree.Mount{At: dir, From: dir, Tree: t})
		}
		cut, err := tree.NewMounts(nil, list)
		if err != nil {
			return nil, fmt.Errorf("spec.sparseCheckout: %w", err)
		}
		t = cut
	}
	if len(s.includes) == 0 {
		return t, nil
	}
	var list []tree.Mount
	for _, in := range s.includes {
		now, _ := in.src.Current() // its repository may have been opened anew
		if !now.Fetched() {
			return nil, fmt.Errorf("no artifact available for include '%s'", in.src.Key.Name)
		}
		repo, err := now.Repository()
		if err != nil {
			return nil, fmt.Errorf("include '%s': %w", in.src.Key.Name, err)
		}
		// Without what it includes itself.
		other, err := repo.Tree(in.head.Commit, flux.Ignore(in.src.set.env.Store, in.src.Key))
		if err != nil {
			return nil, fmt.Errorf("include '%s': %w", in.src.Key.Name, err)
		}
		list = append(list, tree.Mount{At: in.to, From: in.from, Tree: other})
	}
	whole, err := tree.NewMounts(t, list)
	if err != nil {
		return nil, fmt.Errorf("spec.include: %w", err)
	}
	return whole, nil
}

// shape is what the spec asks for, with the heads that the included sources
// have now. What they include themselves is left out.
func (src *gitRepository) shape(obj *sourcev1.GitRepository) (shape, error) {
	var s shape
	for _, dir := range obj.Spec.SparseCheckout {
		s.sparse = append(s.sparse, path.Clean(dir))
	}
	for _, in := range obj.Spec.Include {
		name := in.GitRepositoryRef.Name
		other := src.set.Get(object.Key{GroupKind: flux.GitRepository, Namespace: obj.Namespace, Name: name})
		if other == nil {
			return s, fault.New(flux.IncludeNotFoundReason, fmt.Errorf("could not get resource for include '%s': gitrepositories.source.toolkit.fluxcd.io \"%s\" not found", name, name))
		}
		head, _ := other.Current()
		if head.Commit == "" || !head.Fetched() {
			return s, fault.New(flux.IncludeNoArtifactReason, fmt.Errorf("no artifact available for include '%s'", name))
		}
		s.includes = append(s.includes, included{src: other, head: head, from: path.Clean("./" + in.FromPath), to: path.Clean("./" + in.GetToPath())})
	}
	return s, nil
}

// included is what of other sources the tree has.
func (s shape) included() []status.Included {
	var list []status.Included
	for _, in := range s.includes {
		list = append(list, status.Included{Source: in.src.Key, Revision: in.head.Revision(), Commit: in.head.Commit})
	}
	return list
}

// wakeIncluders wakes the sources that include this one at another commit, or
// could not yet.
func (s *Set) wakeIncluders(source object.Key) {
	now := ""
	if src := s.Get(source); src != nil {
		head, _ := src.Current()
		now = head.Commit
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, src := range s.byKey {
		if key.Namespace != source.Namespace {
			continue
		}
		if obj := s.env.Store.Get(key); obj != nil && src.follower.Outdated(obj, source, now) {
			src.wake.Set()
		}
	}
}

// includedCommit is the commit of the ith include that the tree has.
func (src *gitRepository) includedCommit(i int) string {
	src.mu.Lock()
	defer src.mu.Unlock()
	if i >= len(src.form.includes) {
		return ""
	}
	return src.form.includes[i].head.Commit
}
