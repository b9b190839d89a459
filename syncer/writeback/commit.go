package writeback

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
)

// intercept decides whether a write becomes a commit.
func (s *Writeback) intercept(ctx context.Context, ks *kustomizev1.Kustomization, key object.Key, w change.Request) (change.Elsewhere, error) {
	item, v, err := s.declared(ks, key)
	if err != nil || item.Object == nil {
		return nil, err
	}
	if left, err := s.afterSync(ctx, v.ks, item, key, w.Old); err != nil || left == nil {
		return nil, err
	}
	u := &userWrite{s: s, ks: ks, key: key, request: w}
	if w.Next == nil {
		return u.carryOut, nil
	}
	states, err := s.asDeclared(ctx, item, w.Old, w.Next)
	if err != nil {
		return nil, refusedWrite(key, err.Error())
	}
	changes := forGit(s.changes(states[0], states[1]))
	ignored, err := s.ignored(v.ks, item, states[0], states[1], changes)
	if err != nil {
		return nil, refusedWrite(key, err.Error())
	}
	var here, there []string
	scales := s.scales(item.Object)
	for _, c := range changes {
		if ignored[c.path] || s.staysHere(item, c, scales) {
			here = append(here, c.path)
		} else {
			there = append(there, c.path)
		}
	}
	// What differs where Git has another version may be all that differs.
	u.changes = forGit(s.changes(w.Old, w.Next))
	lost := slices.IndexFunc(u.changes, func(c fieldChange) bool { return !c.removed })
	switch {
	case len(changes) == 0 && lost >= 0:
		return nil, refusedWrite(key, fmt.Sprintf("%s of %s is nothing in %s, in which %s declares the object: edit the file",
			u.changes[lost].path, apiVersion(w.Next), apiVersion(item.Object), item.Source.File))
	case len(there) == 0:
		return nil, nil
	case len(here) > 0 && ignored[here[0]]:
		return nil, refusedWrite(key, fmt.Sprintf("%s is left alone by spec.ignore, and %s is not: change them one after the other", strings.Join(here, ", "), there[0]))
	case len(here) > 0:
		return nil, refusedWrite(key, fmt.Sprintf("%s is not declared in Git, and %s is: change them one after the other", strings.Join(here, ", "), there[0]))
	}
	return u.carryOut, nil
}

// forGit are changes without those of what belongs to the cluster.
func forGit(changes []fieldChange) []fieldChange {
	return slices.DeleteFunc(changes, func(c fieldChange) bool { return livesHere(c.path) })
}

// staysHere reports whether a change does not concern Git: the field is taken away and
// was not from Git, or scales what Git does not.
func (s *Writeback) staysHere(item load.Item, c fieldChange, scales string) bool {
	if !c.removed && c.path != scales {
		return false
	}
	return !s.declares(item, c.path)
}

// scales is the field that the scale subresource of an object writes.
func (s *Writeback) scales(obj object.Object) string {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if k, ok := s.Env.Kinds.ForKind(gvk.GroupKind()); ok && k.Custom != nil {
		if version, ok := k.Custom.Version(gvk.Version); ok {
			return version.Replicas()
		}
	}
	return "spec.replicas"
}

// declares reports whether Git sets the field or a part of it.
func (s *Writeback) declares(item load.Item, path string) bool {
	for _, f := range s.changes(nil, item.Object) {
		if partOf(f.path, path) || strings.HasPrefix(path, "data[") && f.path == "stringData"+path[len("data"):] || f.path == strings.Replace(path, "data.", "stringData.", 1) {
			return true
		}
	}
	return false
}

// userWrite is one write on its way to Git.
type userWrite struct {
	s       *Writeback
	ks      *kustomizev1.Kustomization
	key     object.Key
	request change.Request
	changes []fieldChange // none for a deletion
	// named are the same by the names that Git has for them on the branch.
	named []fieldChange
}

func (u *userWrite) conflict(format string, args ...any) error {
	return apierrors.NewConflict(plan.Resource(u.key), u.key.Name, fmt.Errorf(format, args...))
}

// carryOut commits the write, pushes it and waits until it is applied.
func (u *userWrite) carryOut(ctx context.Context) (object.Object, error) {
	src, branch, err := u.target()
	if err != nil {
		return nil, refusedWrite(u.key, err.Error())
	}
	sha, err := u.push(ctx, src, branch)
	if err != nil || u.request.DryRun {
		return u.request.Next, u.status(err)
	}
	src.Wake()
	return u.await(ctx, src, sha)
}

// status is an error as the API answers it.
func (u *userWrite) status(err error) error {
	if _, ok := errors.AsType[*apierrors.StatusError](err); ok || err == nil {
		return err
	}
	if errors.Is(err, write.ErrMoved) {
		return u.conflict("%w", err)
	}
	return refusedWrite(u.key, err.Error())
}

var errSourceGone = errors.New("the GitRepository of the Kustomization is gone")

// target is the branch to write to.
func (u *userWrite) target() (*source.Source, source.Branch, error) {
	if err := u.s.Rights.MayWriteGit(u.ks); err != nil {
		return nil, source.Branch{}, err
	}
	src := u.s.Sources.Get(flux.SourceKey(u.ks))
	if src == nil {
		return nil, source.Branch{}, errSourceGone
	}
	branch, err := src.Branch()
	switch {
	case errors.Is(err, source.ErrGone):
		return nil, source.Branch{}, errSourceGone
	case branch.Verifies && u.s.SigningKey == nil:
		return nil, source.Branch{}, fmt.Errorf("the GitRepository %s verifies signatures, and commits made here carry none without headway up --git-signing-key: commit and sign it yourself", src.Name())
	case errors.Is(err, flux.ErrNoBranch):
		return nil, source.Branch{}, errors.New("the source follows no branch (spec.ref has a tag, semver, name or commit), so nothing can be committed to it")
	case err != nil:
		return nil, source.Branch{}, err
	}
	return src, branch, nil
}

// errBusy is the answer to a write that others to the same branch keep waiting.
var errBusy = apierrors.NewTimeoutError("other writes to the same source are under way", 1)

// converts reports whether a webhook is asked about the write: then other writes to
// the branch go first meanwhile, and it is written anew on top of them.
func (u *userWrite) converts() bool {
	k, ok := u.s.Env.Kinds.ForKind(u.key.GroupKind)
	return ok && k.Custom != nil && k.Custom.ByWebhook()
}

// advance has push called while nobody else commits to the branch; locked says that
// nobody does anyway.
func (u *userWrite) advance(ctx context.Context, src *source.Source, locked bool, push func() error) error {
	if !locked {
		if src.LockBranch(ctx) != nil {
			return errBusy
		}
		defer src.UnlockBranch()
	}
	return push()
}

// push writes the commit on the newest state of the branch, again if that moved
// meanwhile, and returns its SHA.
func (u *userWrite) push(ctx context.Context, src *source.Source, branch source.Branch) (string, error) {
	at, repo, err := src.Repository()
	if err != nil {
		return "", err
	}
	auth := src.Auth()
	locked := !u.converts() // as it is now: a definition may change meanwhile
	if locked {
		if src.LockBranch(ctx) != nil {
			return "", errBusy
		}
		defer src.UnlockBranch()
	}
	ctx, cancel := context.WithTimeout(ctx, branch.Timeout)
	defer cancel()
	for range 5 {
		tip, err := repo.Fetch(ctx, git.Ref{Branch: branch.Name}, auth)
		if err != nil {
			return "", err
		}
		sha, err := u.write(ctx, at.At(tip), branch.Name)
		if err != nil || u.request.DryRun {
			return sha, err
		}
		err = u.advance(ctx, src, locked, func() error { return write.Advance(ctx, repo, branch.Name, tip.Commit, sha, auth) })
		if errors.Is(err, write.ErrMoved) {
			continue
		}
		if errors.Is(err, errBusy) {
			return "", err
		}
		if err != nil {
			return "", fmt.Errorf("the commit cannot be pushed: %w; give the GitRepository's Secret the right to push to %s, or commit the change yourself", err, branch.Name)
		}
		u.s.Env.Log.Info("committed a write", "kustomization", u.ks.Namespace+"/"+u.ks.Name, "object", u.key.String(), "user", u.request.User, "commit", sha)
		u.s.Env.Record(u.ks, corev1.EventTypeNormal, "Committed", fmt.Sprintf("commit %s: %s", sha, u.subject()))
		return sha, nil
	}
	return "", write.ErrMoved
}

// write makes the commit on top of a head, and checks what it would do. In a
// dry run it only checks.
func (u *userWrite) write(ctx context.Context, tip source.Head, branch string) (string, error) {
	ignore := flux.Ignore(u.s.Env.Store, flux.SourceKey(u.ks))
	before, err := u.s.viewOf(u.ks, tip, ignore)
	if err != nil {
		return "", fmt.Errorf("the branch cannot be built, so nothing is added to it: %w", err)
	}
	item := before.items[u.key]
	if item.Object == nil {
		return "", u.conflict("%s is no longer declared on the branch", flux.Describe(u.key))
	}
	base, err := u.s.afterSync(ctx, u.ks, item, u.key, u.request.Old)
	if err != nil {
		return "", err
	}
	for _, moved := range u.s.changes(u.request.Old, base) {
		for _, c := range u.changes {
			if partOf(moved.path, c.path) || partOf(c.path, moved.path) {
				return "", u.conflict("%s was changed in Git meanwhile: look at it again", moved.path)
			}
		}
	}
	if u.request.Next != nil {
		states, err := u.s.asDeclared(ctx, item, u.request.Old, u.request.Next)
		if err != nil {
			return "", err
		}
		u.named = forGit(u.s.changes(states[0], states[1]))
	}
	author, committer := u.author(), u.s.Committer.At(u.s.Env.Now())
	if sha, ok := u.asRevert(ctx, tip, branch, before, base, author, committer); ok {
		return sha, nil
	}
	m, err := newMapping(u.ks, before.tree, item)
	if err != nil {
		return "", err
	}
	if u.request.Next == nil {
		err = m.remove()
	} else {
		err = m.apply(u.written(item, u.named))
	}
	if err != nil {
		return "", err
	}
	for file := range m.edits {
		if from := tip.IncludedFrom(file); from != "" {
			return "", fmt.Errorf("%s is included from the GitRepository %s: change it there", file, from)
		}
	}
	if err := u.verify(ctx, tip, tree.NewEdited(before.tree, m.edits), before, base, slices.Sorted(maps.Keys(m.edits))); err != nil {
		return "", err
	}
	if u.request.DryRun {
		return "", nil
	}
	repo, err := tip.Repository()
	if err != nil {
		return "", err
	}
	return write.Files(repo, tip.Commit, write.FilesOptions{Branch: branch, Edits: m.edits, Author: author, Committer: committer, Message: u.message(), Key: u.s.SigningKey})
}

// verify builds what the edited files declare, for every Kustomization of the
// source, and fails unless exactly the change that was asked for comes out.
func (u *userWrite) verify(ctx context.Context, tip source.Head, edited tree.Tree, before *view, base object.Object, files []string) error {
	var after load.Item
	for _, ks := range flux.Followers(u.s.Env.Store, flux.SourceKey(u.ks)) {
		same := ks.Namespace == u.ks.Namespace && ks.Name == u.ks.Name
		was, err := u.s.viewOf(ks, tip, flux.Ignore(u.s.Env.Store, flux.SourceKey(ks)))
		if same {
			was, err = before, nil
		}
		if err != nil {
			continue // it is broken already
		}
		items, err := u.s.render(was, ks, edited, "the edited "+strings.Join(files, ", "))
		if err != nil {
			return fmt.Errorf("with the change in %s the Kustomization %s/%s cannot be built: %w; edit the files", strings.Join(files, ", "), ks.Namespace, ks.Name, err)
		}
		for key := range union(was.items, items) {
			if same && key == u.key {
				after = items[key]
				continue
			}
			if !reflect.DeepEqual(was.items[key].Object, items[key].Object) {
				return fmt.Errorf("the change in %s would also change %s of the Kustomization %s/%s: edit the files", strings.Join(files, ", "), flux.Describe(key), ks.Namespace, ks.Name)
			}
		}
	}
	if u.request.Next == nil {
		if after.Object != nil {
			return fmt.Errorf("%s is still declared in %s: edit the files", flux.Describe(u.key), after.Source)
		}
		return nil
	}
	if after.Object == nil {
		return fmt.Errorf("with the change in %s the object would be gone: edit the files", strings.Join(files, ", "))
	}
	result, err := u.s.afterSync(ctx, u.ks, after, u.key, base)
	if err != nil {
		return err
	}
	if result == nil {
		return fmt.Errorf("with the change in %s the object would no longer be applied: edit the files", strings.Join(files, ", "))
	}
	got := map[string]fieldChange{}
	for _, c := range u.s.changes(base, result) {
		got[c.path] = c
	}
	for _, c := range u.changes {
		if g, ok := got[c.path]; !ok || !reflect.DeepEqual(g, c) {
			if other := u.s.otherVersion(after); other != "" {
				return fmt.Errorf("%s of %s cannot be changed so in %s, where it is in %s: edit the files", c.path, apiVersion(base), strings.Join(files, ", "), other)
			}
			return fmt.Errorf("%s cannot be changed so in %s: something else sets it, too; edit the files", c.path, strings.Join(files, ", "))
		}
		delete(got, c.path)
	}
	for path := range got {
		return fmt.Errorf("the change in %s would also change %s: edit the files", strings.Join(files, ", "), path)
	}
	return nil
}

func union(a, b map[object.Key]load.Item) map[object.Key]bool {
	all := make(map[object.Key]bool, len(a))
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}
