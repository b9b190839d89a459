package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/rights"
)

// Options are the options for following sources.
type Options struct {
	// DataDir keeps the mirrors of remote repositories.
	DataDir string
	// Local allows sources to be repositories on this machine: the path by
	// namespace/name of the GitRepository.
	Local map[string]string
	// Limits limit what is fetched from remote repositories.
	Limits git.MirrorOptions
	Rights rights.Rights
	// Apply applies the heads of a source as they come, until ctx ends. What it
	// starts is in wg.
	Apply func(ctx context.Context, src *Source, wg *sync.WaitGroup)
	// OnHead is called when a source may have another head than before.
	OnHead func(key object.Key)
	// Suspended makes a status agree with its object's spec.suspend.
	Suspended func(ctx context.Context, key object.Key, obj object.Object)
}

// Set is the set of sources that are followed.
type Set struct {
	env     *env.Env
	options Options
	// backoff counts failures by what is to blame: a source, or a host for all of
	// its sources, so that the sources of a host that is down do not try it one
	// after another.
	backoff *loop.Failures[string]

	mu    sync.Mutex
	byKey map[object.Key]*Source
}

// New returns an empty set. The caller of [Set.Ensure] that adds a source runs
// its loop.
func New(e *env.Env, options Options) *Set {
	return &Set{env: e, options: options, backoff: loop.NewFailures[string](env.Retry), byKey: map[object.Key]*Source{}}
}

// Get returns a source that is followed, or nil.
func (s *Set) Get(key object.Key) *Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byKey[key]
}

// All returns the sources that are followed.
func (s *Set) All() []*Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*Source
	for _, src := range s.byKey {
		list = append(list, src)
	}
	return list
}

// Ensure returns a source, and whether it is new: then the caller has to run
// its loop.
func (s *Set) Ensure(key object.Key) (src *Source, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.byKey[key]; src != nil {
		return src, false
	}
	src = newSource(s, key)
	s.byKey[key] = src
	return src, true
}

// Forget is called when the loop of a source has ended.
func (s *Set) Forget(key object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, key)
}

// WakeUsers wakes the sources that authenticate or verify with a Secret.
func (s *Set) WakeUsers(secret object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, src := range s.byKey {
		if spec, ok := src.Spec(); ok && key.Namespace == secret.Namespace && slices.Contains(spec.Secrets, secret.Name) {
			src.wake.Set()
		}
	}
}

// HeadOf is the accepted head of the source that a Kustomization follows. It fails
// with [ErrNotYet] before the first look, and if it may not follow it.
func (s *Set) HeadOf(ks *kustomizev1.Kustomization) (Head, error) {
	key := flux.SourceKey(ks)
	if !IsKind(key.GroupKind) {
		return Head{}, fmt.Errorf("source kind %s is not supported: use a GitRepository", key.Kind)
	}
	if err := s.options.Rights.MayFollow(ks); err != nil {
		return Head{}, err
	}
	src := s.Get(key)
	if src == nil && s.env.Store.Get(key) != nil {
		return Head{}, ErrNotYet // its loop has not begun yet
	}
	if src == nil {
		return Head{}, fmt.Errorf("Source '%s/%s/%s' not found", key.Kind, key.Namespace, key.Name)
	}
	h, _ := src.Current()
	if h.Commit == "" || !h.Fetched() {
		if !src.Looked() {
			return Head{}, ErrNotYet
		}
		return Head{}, errors.New("Source artifact not found, retrying when it is")
	}
	return h, nil
}
