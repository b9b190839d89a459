package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/remote"
)

// open opens the repository, again if the URL changed or a local one failed:
// another may be in its place, which the old watch would not see.
func (src *gitRepository) open(ctx context.Context, obj *sourcev1.GitRepository, wg *sync.WaitGroup) (*git.Repository, error) {
	src.mu.Lock()
	repo, same, again := src.repo, src.url == obj.Spec.URL, src.reopen
	src.mu.Unlock()
	if repo != nil && same && !again {
		return repo, nil
	}
	path, local := src.set.options.Local[src.Name()]
	var err error
	if local && strings.TrimPrefix(obj.Spec.URL, "file://") == path {
		repo, err = git.Open(path)
	} else {
		repo, err = openMirror(src.set.MirrorDir(src.Key), obj.Spec.URL, src.set.options.Limits)
	}
	if err != nil {
		if !same {
			src.Close() // of the old URL nothing may be applied any more
		}
		return nil, err
	}
	at := restored(obj, repo)
	src.mu.Lock()
	src.replace(repo, at)
	src.url, src.reopen = obj.Spec.URL, false
	src.mu.Unlock()
	src.set.options.OnHead(src.Key)
	if repo.Local() {
		watchCtx, cancel := context.WithCancel(ctx)
		ready := make(chan struct{})
		src.mu.Lock()
		src.watch = cancel
		src.mu.Unlock()
		wg.Go(func() { guard.Do(watchCtx, "watch a repository", func() { src.watchLocal(watchCtx, repo, ready) }) })
		// A push from now on is either seen by this look or reported.
		select {
		case <-ready:
		case <-ctx.Done():
		}
	}
	return repo, nil
}

// mirrorMark is the file in a mirror that says which URL it is of.
const mirrorMark = "headway-url"

// restored is the head that was accepted before a restart, so that drift is
// corrected even while Git is down or its history was rewritten.
func restored(obj *sourcev1.GitRepository, repo *git.Repository) git.Head {
	if len(obj.Spec.Include)+len(obj.Spec.SparseCheckout) > 0 {
		return git.Head{} // of the other sources nothing is known yet
	}
	before, ok := git.ParseRevision(flux.Fetched(obj))
	if !ok {
		return git.Head{}
	}
	if _, err := repo.Commit(before.Commit); err != nil {
		return git.Head{}
	}
	return before
}

// openMirror opens the mirror of a URL, and starts it over if it was another
// URL's: objects of one source must never be offered to another's.
func openMirror(dir, address string, limits git.MirrorOptions) (*git.Repository, error) {
	if err := remote.CheckURL(address); err != nil {
		return nil, err
	}
	mark, want := filepath.Join(dir, mirrorMark), flux.Redacted(address)
	if have, err := os.ReadFile(mark); err != nil || string(have) != want {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("clear the mirror: %w", err)
		}
	}
	repo, err := git.Mirror(dir, address, limits)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(mark, []byte(want), 0o600); err != nil {
		return nil, fmt.Errorf("mark the mirror: %w", err)
	}
	return repo, nil
}

// watchLocal wakes the source at each change of a local repository's
// references, by looking every half second where that cannot be watched.
func (src *gitRepository) watchLocal(ctx context.Context, repo *git.Repository, ready chan struct{}) {
	var once sync.Once
	isReady := func() { once.Do(func() { close(ready) }) }
	defer isReady()
	err := repo.Watch(ctx, isReady, src.wake.Set)
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, git.ErrGone) {
		src.wake.Set() // the look will fail, and say so
		return
	}
	src.set.env.Log.Warn("cannot watch the repository, looking every 500ms instead", "source", src.Name(), "err", err)
	isReady()
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			src.wake.Set()
		}
	}
}

// checkHistory refuses a branch that does not descend from what was accepted
// before, until a user accepts that commit.
func checkHistory(stored object.Reader, obj *sourcev1.GitRepository, repo *git.Repository, fetched git.Head) error {
	if !fetched.Branch {
		return nil
	}
	before, ok := git.ParseRevision(flux.Fetched(obj))
	if !ok || before.Name != fetched.Name || before.Commit == fetched.Commit {
		return nil
	}
	descends, err := history.IsAncestor(repo, before.Commit, fetched.Commit)
	if err != nil {
		return fault.New(sourcev1.GitOperationFailedReason, err)
	}
	if descends || len(accepting(stored, obj, fetched.Commit)) > 0 {
		return nil
	}
	return fault.New(flux.HistoryRewrittenReason, fmt.Errorf("branch %s was rewritten: %s does not descend from %s, which stays applied. "+
		"To follow the new history run: %s",
		fetched.Name, fetched.Commit, before.Commit, flux.Of(obj).AcceptHistory.Command(obj, fetched.Commit)))
}

// accepting are the objects whose annotation accepts the commit.
func accepting(stored object.Reader, obj *sourcev1.GitRepository, commit string) []object.Key {
	key := object.KeyOf(flux.GitRepository, obj)
	var keys []object.Key
	if flux.Of(obj).AcceptHistory.Value.Names(commit) {
		keys = append(keys, key)
	}
	for _, ks := range flux.Followers(stored, key) {
		if flux.Of(ks).AcceptHistory.Value.Names(commit) {
			keys = append(keys, flux.KeyOf(ks))
		}
	}
	return keys
}

// acceptances removes the annotations that accepted a commit: another rewrite
// that ends at the same one is to be accepted by itself.
func acceptances(stored object.Reader, obj *sourcev1.GitRepository, commit string) []change.Change {
	var list []change.Change
	for _, key := range accepting(stored, obj, commit) {
		list = append(list, change.Patch(key, flux.Of(obj).AcceptHistory.Drop))
	}
	return list
}

// MirrorDir returns the directory of a source's mirror.
func (s *Set) MirrorDir(key object.Key) string {
	return filepath.Join(s.options.DataDir, "git", key.Namespace, key.Name)
}

// RemoveMirrors removes the mirrors of sources that were deleted while the
// syncer was not running.
func (s *Set) RemoveMirrors() {
	// The pattern is well-formed, and Glob has no other error.
	marks, _ := filepath.Glob(s.MirrorDir(object.Key{Namespace: "*", Name: "*"}) + "/" + mirrorMark)
	for _, mark := range marks {
		dir := filepath.Dir(mark)
		key := object.Key{GroupKind: flux.GitRepository, Namespace: filepath.Base(filepath.Dir(dir)), Name: filepath.Base(dir)}
		if s.env.Store.Get(key) == nil {
			s.RemoveMirror(dir)
		}
	}
}

// RemoveMirror removes a directory if it is a mirror.
func (s *Set) RemoveMirror(dir string) {
	if _, err := os.Stat(filepath.Join(dir, mirrorMark)); err != nil {
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		s.env.Log.Warn("remove the mirror of a deleted source", "dir", dir, "err", err)
	}
}
