package git

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git/remote"
)

// Ref is what to follow, with the precedence of GitRepository's spec.ref:
// Commit, then Name, SemVer, Tag and Branch (default master).
type Ref struct {
	Branch, Tag, SemVer, Name, Commit string
}

// Head is what a Ref points at.
type Head struct {
	// Name is the branch's or tag's short name, the full name of another
	// reference, or empty for a commit on its own.
	Name string
	// Branch reports whether Name is a branch, whose history may only grow.
	Branch bool
	Commit string
	// Tag is the tag through which the commit was found, if any.
	Tag Tag
}

// Tag is a tag's short name and the SHA of its object, which is empty for a
// lightweight tag.
type Tag struct{ Name, Object string }

func (t Tag) String() string {
	if t.Object == "" {
		return t.Name
	}
	return t.Name + "@" + t.Object
}

// Revision is Flux's notation: main@sha1:<commit>.
func (h Head) Revision() string {
	if h.Name == "" {
		return "sha1:" + h.Commit
	}
	return h.Name + "@sha1:" + h.Commit
}

// ParseRevision splits a Revision; it reports false for other strings.
func ParseRevision(revision string) (Head, bool) {
	name, commit, found := strings.Cut(revision, "@sha1:")
	if !found {
		commit, found = strings.CutPrefix(revision, "sha1:")
		name = ""
	}
	if !found || !plumbing.IsHash(commit) {
		return Head{}, false
	}
	return Head{Name: name, Commit: commit}, true
}

// ErrEmpty reports that a repository has no commits yet.
var ErrEmpty = errors.New("the repository has no commits yet: push a first one")

// RefError reports that a reference does not exist, and lists the branches that
// do.
type RefError struct {
	Ref      string
	Branches []string
}

func (e *RefError) Error() string {
	msg := fmt.Sprintf("couldn't find remote ref %q", e.Ref)
	if len(e.Branches) > 0 {
		msg += ": the branches are " + strings.Join(e.Branches, ", ")
	}
	return msg
}

// Fetch brings what ref points at into the repository (nothing, for a local
// one) and returns where it points. A branch comes with its whole history,
// which reverts and the detection of a rewritten one need; a tag comes alone.
func (r *Repository) Fetch(ctx context.Context, ref Ref, auth *remote.Auth) (Head, error) {
	if err := ref.check(); err != nil {
		return Head{}, err
	}
	refs, from, err := r.references(ctx, auth)
	if err != nil {
		return Head{}, err
	}
	defer from.close()
	if ref.Commit != "" {
		return r.fetchCommit(ctx, ref, refs, from)
	}
	want, err := choose(ref, refs)
	if err != nil {
		return Head{}, err
	}
	head := Head{Name: want.Name().Short(), Branch: want.Name().IsBranch() && ref.Name == ""}
	if ref.Name != "" {
		head.Name = ref.Name
	}
	if from != nil {
		if err := from.fetch(ctx, []target{follow(want)}, head.Branch); err != nil {
			return Head{}, err
		}
	}
	head.Commit, err = r.peel(want.Hash())
	if err != nil {
		return Head{}, fmt.Errorf("read %s: %w", want.Name(), err)
	}
	if want.Name().IsTag() {
		head.Tag.Name = want.Name().Short()
		if object := want.Hash().String(); object != head.Commit {
			head.Tag.Object = object
		}
	}
	return head, nil
}

// check refuses names that no reference can have, which would be a path out
// of where references are kept.
func (ref Ref) check() error {
	for _, name := range []plumbing.ReferenceName{
		plumbing.ReferenceName(ref.Name), plumbing.NewBranchReferenceName(ref.Branch), plumbing.NewTagReferenceName(ref.Tag),
	} {
		switch name {
		case "", "refs/heads/", "refs/tags/":
		default:
			if !validRef(name) {
				return fmt.Errorf("invalid reference name %q", remote.Printable(name.String(), 100))
			}
		}
	}
	if ref.Commit != "" && !plumbing.IsHash(ref.Commit) {
		return fmt.Errorf("spec.ref.commit %q is not a full SHA", remote.Printable(ref.Commit, 100))
	}
	return nil
}

// validRef reports whether a reference may have the name, by Git's rules.
func validRef(name plumbing.ReferenceName) bool {
	const longest = 512
	return len(name) <= longest && strings.HasPrefix(name.String(), "refs/") && name.Validate() == nil
}

// CheckBranch returns an error if Git does not allow the name for a branch.
func CheckBranch(name string) error {
	if name == "" {
		return errors.New("it is empty: give the name of a branch, such as main")
	}
	if err := plumbing.NewBranchReferenceName(name).Validate(); err != nil {
		return fmt.Errorf("no name of a branch in Git: %q", name)
	}
	return nil
}

// references are those of the source by name, without symbolic ones; and,
// for a remote, the conversation in which it listed them.
func (r *Repository) references(ctx context.Context, auth *remote.Auth) (map[plumbing.ReferenceName]*plumbing.Reference, *incoming, error) {
	if r.Local() {
		refs, err := r.localRefs()
		return refs, nil, err
	}
	from, err := r.ask(ctx, auth)
	if err != nil {
		return nil, nil, err
	}
	return from.refs, from, nil
}

// localRefs reads the references of a local repository, without symbolic ones.
func (r *Repository) localRefs() (map[plumbing.ReferenceName]*plumbing.Reference, error) {
	refs := map[plumbing.ReferenceName]*plumbing.Reference{}
	r.mu.Lock()
	defer r.mu.Unlock()
	iter, err := r.store.IterReferences()
	if err != nil {
		return nil, fmt.Errorf("list references: %w", err)
	}
	err = iter.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() == plumbing.HashReference {
			refs[ref.Name()] = ref
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list references: %w", err)
	}
	if len(refs) == 0 {
		return nil, ErrEmpty
	}
	return refs, nil
}

// choose is the reference that ref names.
func choose(ref Ref, refs map[plumbing.ReferenceName]*plumbing.Reference) (*plumbing.Reference, error) {
	var name plumbing.ReferenceName
	switch {
	case ref.Name != "":
		name = plumbing.ReferenceName(ref.Name)
	case ref.SemVer != "":
		return newest(ref.SemVer, refs)
	case ref.Tag != "":
		name = plumbing.NewTagReferenceName(ref.Tag)
	case ref.Branch != "":
		name = plumbing.NewBranchReferenceName(ref.Branch)
	default:
		name = plumbing.Master
	}
	if found := refs[name]; found != nil {
		return found, nil
	}
	return nil, &RefError{Ref: name.String(), Branches: branches(refs)}
}

func branches(refs map[plumbing.ReferenceName]*plumbing.Reference) []string {
	const most = 20
	var names []string
	for name := range refs {
		if name.IsBranch() {
			names = append(names, name.Short())
		}
	}
	sort.Strings(names)
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return names
}

// newest is the tag of the highest version within a range.
func newest(expr string, refs map[plumbing.ReferenceName]*plumbing.Reference) (*plumbing.Reference, error) {
	within, err := semver.NewConstraint(expr)
	if err != nil {
		return nil, fmt.Errorf("spec.ref.semver %q: %w", expr, err)
	}
	var best *plumbing.Reference
	var bestVersion *semver.Version
	for name, ref := range refs {
		if !name.IsTag() {
			continue
		}
		v, err := semver.NewVersion(name.Short())
		if err != nil || !within.Check(v) {
			continue
		}
		// Equal versions (v1.0.0 and 1.0.0): any, but always the same.
		if bestVersion == nil || v.GreaterThan(bestVersion) || v.Equal(bestVersion) && name < best.Name() {
			best, bestVersion = ref, v
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no tag matches the version range %q", expr)
	}
	return best, nil
}

// tracking is where a mirror keeps a reference of its remote.
func tracking(name plumbing.ReferenceName) plumbing.ReferenceName {
	if name.IsBranch() {
		return plumbing.NewRemoteReferenceName(remoteName, name.Short())
	}
	return name
}

// fetchCommit brings a branch, or all of them, in which the commit must be.
func (r *Repository) fetchCommit(ctx context.Context, ref Ref, refs map[plumbing.ReferenceName]*plumbing.Reference, from *incoming) (Head, error) {
	head := Head{Name: ref.Branch, Commit: ref.Commit}
	if _, err := r.Commit(ref.Commit); err == nil {
		return head, nil
	}
	if from != nil {
		var wants []target
		if ref.Branch != "" {
			want, err := choose(Ref{Branch: ref.Branch}, refs)
			if err != nil {
				return Head{}, err
			}
			wants = append(wants, follow(want))
		} else {
			for name, branch := range refs {
				if name.IsBranch() {
					wants = append(wants, follow(branch))
				}
			}
		}
		if err := from.fetch(ctx, wants, true); err != nil {
			return Head{}, err
		}
	}
	if _, err := r.Commit(ref.Commit); err != nil {
		return Head{}, fmt.Errorf("commit %s is in no branch: %w", ref.Commit, err)
	}
	return head, nil
}

// peel follows annotated tags to their commit.
func (r *Repository) peel(hash plumbing.Hash) (string, error) {
	err := r.Read(func(*Storage) error {
		for {
			obj, err := r.store.EncodedObject(plumbing.AnyObject, hash)
			if err != nil {
				return err
			}
			switch obj.Type() {
			case plumbing.CommitObject:
				return nil
			case plumbing.TagObject:
				tag, err := object.DecodeTag(r.store, obj)
				if err != nil {
					return err
				}
				hash = tag.Target
			default:
				return fmt.Errorf("it names a %s, %s, and not a commit: point it at a commit", obj.Type(), hash)
			}
		}
	})
	return hash.String(), err
}
