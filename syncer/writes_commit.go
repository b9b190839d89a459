package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/tree"
)

// emailExtra is the user's extra value that has the e-mail address of their
// commits, and goes before the annotation flux.AuthorDomain.
const emailExtra = "headway.dev/email"

// intercept decides whether a write becomes a commit.
func (s *Syncer) intercept(ks *kustomizev1.Kustomization, key object.Key, w change.Request) (change.Elsewhere, error) {
	s.hands.mu.Lock()
	defer s.hands.mu.Unlock()
	item, _, err := s.declared(ks, key)
	if err != nil || item.Object == nil {
		return nil, err
	}
	if left, err := s.afterSync(ks, item, key, w.Old); err != nil || left == nil {
		return nil, err
	}
	h := &handWrite{s: s, ks: ks, key: key, request: w}
	if w.Next != nil {
		var here []string
		for _, c := range fieldChanges(w.Old, w.Next) {
			if s.staysHere(item, c) {
				here = append(here, c.path)
			} else {
				h.changes = append(h.changes, c)
			}
		}
		if len(h.changes) == 0 {
			return nil, nil
		}
		if here = slices.DeleteFunc(here, livesHere); len(here) > 0 {
			return nil, refusedWrite(key, fmt.Sprintf("%s is not declared in Git, and %s is: change them one after the other", strings.Join(here, ", "), h.changes[0].path))
		}
	}
	return h.carryOut, nil
}

// staysHere says that a change does not concern Git: the field is the cluster's
// own, or is taken away and was not from Git, or scales what Git does not.
func (s *Syncer) staysHere(item load.Item, c fieldChange) bool {
	if livesHere(c.path) {
		return true
	}
	if !c.removed && c.path != "spec.replicas" {
		return false
	}
	return !declares(item, c.path)
}

// declares says that Git sets the field or a part of it.
func declares(item load.Item, path string) bool {
	for _, f := range fieldChanges(nil, item.Object) {
		if partOf(f.path, path) || strings.HasPrefix(path, "data[") && f.path == "stringData"+path[len("data"):] || f.path == strings.Replace(path, "data.", "stringData.", 1) {
			return true
		}
	}
	return false
}

// handWrite is one write on its way to Git.
type handWrite struct {
	s       *Syncer
	ks      *kustomizev1.Kustomization
	key     object.Key
	request change.Request
	changes []fieldChange // none for a deletion
}

func (h *handWrite) conflict(format string, args ...any) error {
	return apierrors.NewConflict(plan.Resource(h.key), h.key.Name, fmt.Errorf(format, args...))
}

// carryOut commits the write, pushes it and waits until it is applied.
func (h *handWrite) carryOut(ctx context.Context) (object.Object, error) {
	src, obj, branch, err := h.target()
	if err != nil {
		return nil, refusedWrite(h.key, err.Error())
	}
	if src.LockBranch(ctx) != nil {
		return nil, apierrors.NewTimeoutError("other writes to the same source are under way", 1)
	}
	sha, err := h.push(ctx, src, obj, branch)
	src.UnlockBranch()
	if err != nil || h.request.DryRun {
		return h.request.Next, h.status(err)
	}
	src.Wake()
	return h.await(ctx, src, sha)
}

// status is an error as the API answers it.
func (h *handWrite) status(err error) error {
	if _, ok := errors.AsType[*apierrors.StatusError](err); ok || err == nil {
		return err
	}
	if errors.Is(err, write.ErrMoved) {
		return h.conflict("%w", err)
	}
	return refusedWrite(h.key, err.Error())
}

// target is the branch to write to.
func (h *handWrite) target() (*source.Source, *sourcev1.GitRepository, string, error) {
	if err := h.s.rights.MayWriteGit(h.ks); err != nil {
		return nil, nil, "", err
	}
	src := h.s.sources.Get(flux.SourceKey(h.ks))
	obj, ok := h.s.env.Store.Get(flux.SourceKey(h.ks)).(*sourcev1.GitRepository)
	if src == nil || !ok {
		return nil, nil, "", errors.New("the GitRepository of the Kustomization is gone")
	}
	if obj.Spec.Verification != nil && h.s.cfg.SigningKey == nil {
		return nil, nil, "", fmt.Errorf("the GitRepository %s verifies signatures, and commits made here carry none without headway up --git-signing-key: commit and sign it yourself", src.Name())
	}
	branch, err := flux.BranchOf(obj)
	if err != nil {
		return nil, nil, "", errors.New("the source follows no branch (spec.ref has a tag, semver, name or commit), so nothing can be committed to it")
	}
	return src, obj, branch, nil
}

// push writes the commit on the newest state of the branch, again if that moved
// meanwhile, and returns its SHA.
func (h *handWrite) push(ctx context.Context, src *source.Source, obj *sourcev1.GitRepository, branch string) (string, error) {
	at, lastErr := src.Current()
	if at.Repo == nil {
		return "", errors.Join(fmt.Errorf("source %s is not fetched yet", src.Name()), lastErr)
	}
	auth := src.Auth()
	ctx, cancel := context.WithTimeout(ctx, flux.GitTimeout(obj))
	defer cancel()
	for range 5 {
		tip, err := at.Repo.Fetch(ctx, git.Ref{Branch: branch}, auth)
		if err != nil {
			return "", err
		}
		sha, err := h.write(at.At(tip), branch)
		if err != nil || h.request.DryRun {
			return sha, err
		}
		err = write.Advance(ctx, at.Repo, branch, tip.Commit, sha, auth)
		if errors.Is(err, write.ErrMoved) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("the commit cannot be pushed: %w; give the GitRepository's Secret the right to push to %s, or commit the change yourself", err, branch)
		}
		h.s.env.Log.Info("committed a write", "kustomization", h.ks.Namespace+"/"+h.ks.Name, "object", h.key.String(), "user", h.request.User, "commit", sha)
		h.s.env.Record(h.ks, corev1.EventTypeNormal, "Committed", fmt.Sprintf("commit %s: %s", sha, h.subject()))
		return sha, nil
	}
	return "", write.ErrMoved
}

// write makes the commit on top of a head, and checks what it would do. In a
// dry run it only checks.
func (h *handWrite) write(tip source.Head, branch string) (string, error) {
	h.s.hands.mu.Lock()
	defer h.s.hands.mu.Unlock()
	before, err := h.s.viewOf(h.ks, tip)
	if err != nil {
		return "", fmt.Errorf("the branch cannot be built, so nothing is added to it: %w", err)
	}
	item := before.items[h.key]
	if item.Object == nil {
		return "", h.conflict("%s is no longer declared on the branch", flux.Describe(h.key))
	}
	base, err := h.s.afterSync(h.ks, item, h.key, h.request.Old)
	if err != nil {
		return "", err
	}
	for _, moved := range fieldChanges(h.request.Old, base) {
		for _, c := range h.changes {
			if partOf(moved.path, c.path) || partOf(c.path, moved.path) {
				return "", h.conflict("%s was changed in Git meanwhile: look at it again", moved.path)
			}
		}
	}
	author, committer := h.author(), git.Signature{Name: h.s.cfg.Identity.Name, Email: h.s.cfg.Identity.Email, When: h.s.env.Now()}
	if sha, ok := h.asRevert(tip, branch, before, base, author, committer); ok {
		return sha, nil
	}
	m, err := newMapping(h.ks, before.tree, item)
	if err != nil {
		return "", err
	}
	if h.request.Next == nil {
		err = m.remove()
	} else {
		err = m.apply(h.written(item))
	}
	if err != nil {
		return "", err
	}
	for file := range m.edits {
		if from := tip.Form.IncludedFrom(file); from != "" {
			return "", fmt.Errorf("%s is included from the GitRepository %s: change it there", file, from)
		}
	}
	if err := h.check(tip, tree.NewEdited(before.tree, m.edits), before, base, slices.Sorted(maps.Keys(m.edits))); err != nil {
		return "", err
	}
	if h.request.DryRun {
		return "", nil
	}
	return write.Files(tip.Repo, tip.Commit, write.FilesOptions{Branch: branch, Edits: m.edits, Author: author, Committer: committer, Message: h.message(), Key: h.s.cfg.SigningKey})
}

// check builds what the edited files declare, for every Kustomization of the
// source, and fails unless exactly the change that was asked for comes out.
func (h *handWrite) check(tip source.Head, edited tree.Tree, before *view, base object.Object, files []string) error {
	var after load.Item
	for _, ks := range flux.Followers(h.s.env.Store, flux.SourceKey(h.ks)) {
		same := ks.Namespace == h.ks.Namespace && ks.Name == h.ks.Name
		was, err := h.s.viewOf(ks, tip)
		if same {
			was, err = before, nil
		}
		if err != nil {
			continue // it is broken already
		}
		items, err := h.s.renderView(was.k, ks, edited, "the edited "+strings.Join(files, ", "))
		if err != nil {
			return fmt.Errorf("with the change in %s the Kustomization %s/%s cannot be built: %w; edit the files", strings.Join(files, ", "), ks.Namespace, ks.Name, err)
		}
		for key := range union(was.items, items) {
			if same && key == h.key {
				after = items[key]
				continue
			}
			if !reflect.DeepEqual(was.items[key].Object, items[key].Object) {
				return fmt.Errorf("the change in %s would also change %s of the Kustomization %s/%s: edit the files", strings.Join(files, ", "), flux.Describe(key), ks.Namespace, ks.Name)
			}
		}
	}
	if h.request.Next == nil {
		if after.Object != nil {
			return fmt.Errorf("%s is still declared in %s: edit the files", flux.Describe(h.key), after.Source)
		}
		return nil
	}
	if after.Object == nil {
		return fmt.Errorf("with the change in %s the object would be gone: edit the files", strings.Join(files, ", "))
	}
	result, err := h.s.afterSync(h.ks, after, h.key, base)
	if err != nil {
		return err
	}
	if result == nil {
		return fmt.Errorf("with the change in %s the object would no longer be applied: edit the files", strings.Join(files, ", "))
	}
	got := map[string]fieldChange{}
	for _, c := range fieldChanges(base, result) {
		got[c.path] = c
	}
	for _, c := range h.changes {
		if g, ok := got[c.path]; !ok || !reflect.DeepEqual(g, c) {
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

// author is the user, in whose name the commit is.
func (h *handWrite) author() git.Signature {
	name := cmp.Or(git.OneLine(h.request.User), "unknown")
	email := name
	if extra := h.request.Extra[emailExtra]; len(extra) > 0 {
		email = git.OneLine(extra[0])
	} else if !strings.Contains(name, "@") {
		email = strings.NewReplacer(":", ".", " ", ".").Replace(name) + "@" + cmp.Or(git.OneLine(h.ks.Annotations[flux.AuthorDomain]), "cluster.local")
	}
	return git.Signature{Name: name, Email: email, When: h.s.env.Now()}
}

func (h *handWrite) subject() string {
	name := flux.Describe(h.key)
	switch {
	case h.request.Next == nil:
		return "Delete " + name
	case len(h.changes) == 1 && h.changes[0].removed:
		return "Remove " + h.changes[0].path + " of " + name
	case len(h.changes) == 1:
		return "Set " + h.changes[0].path + " of " + name
	}
	return fmt.Sprintf("Change %d fields of %s", len(h.changes), name)
}

// message names the fields, never their values: they may be secret.
func (h *handWrite) message() string {
	lines := []string{h.subject(), ""}
	if len(h.changes) > 1 {
		for _, c := range h.changes {
			verb := "set "
			if c.removed {
				verb = "remove "
			}
			lines = append(lines, "- "+verb+c.path)
		}
		lines = append(lines, "")
	}
	by := "Written through the API by " + git.OneLine(h.request.User)
	if h.request.Manager != "" {
		by += " with " + git.OneLine(h.request.Manager)
	}
	return strings.Join(append(lines, by+".", ""), "\n")
}

// await waits until the commit is applied, and returns the object as it is
// stored then.
func (h *handWrite) await(ctx context.Context, src *source.Source, sha string) (object.Object, error) {
	events, stop := h.s.Subscribe()
	defer stop()
	k := h.kustomization()
	for {
		ks := k.get()
		if ks == nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("commit %s is pushed, and the Kustomization that would apply it is gone", sha))
		}
		at, _ := src.Current()
		applied, _ := git.ParseRevision(ks.Status.LastAppliedRevision)
		if at.Repo != nil && applied.Commit != "" {
			if ok, err := history.IsAncestor(at.Repo, sha, applied.Commit); err == nil && ok {
				return h.s.env.Store.Get(h.key), nil
			}
		}
		if tried, ok := git.ParseRevision(ks.Status.LastAttemptedRevision); ok && tried.Commit == sha {
			if why := h.notApplied(ks); why != "" {
				return nil, apierrors.NewInternalError(fmt.Errorf("commit %s is pushed, and was not applied: %s", sha, why))
			}
		}
		select {
		case <-ctx.Done():
			return nil, apierrors.NewTimeoutError(fmt.Sprintf("commit %s is pushed, and not applied yet; see headway status", sha), 0)
		case <-events:
		case <-time.After(100 * time.Millisecond): // an event may have been missed
		}
	}
}

// notApplied is why the commit that was tried last is not applied, or empty if
// it may still be: what it waits for has not failed.
func (h *handWrite) notApplied(ks *kustomizev1.Kustomization) string {
	c := (flux.Conditions{List: &ks.Status.Conditions}).Get(meta.ReadyCondition)
	if c == nil || c.Status != metav1.ConditionFalse || ks.Status.LastAppliedRevision == ks.Status.LastAttemptedRevision {
		return ""
	}
	if c.Reason != meta.DependencyNotReadyReason {
		return c.Message
	}
	h.s.mu.Lock()
	k := h.s.kustomizations[flux.KeyOf(ks)]
	h.s.mu.Unlock()
	if k == nil {
		return c.Message
	}
	if dep := h.s.blockedBy(k, ks.Status.LastAttemptedRevision); dep != "" {
		return "it waits for the Kustomization " + dep + ", which failed"
	}
	return ""
}

func (h *handWrite) kustomization() *kustomization {
	return newKustomization(h.s, object.Key{GroupKind: flux.Kustomization, Namespace: h.ks.Namespace, Name: h.ks.Name})
}
