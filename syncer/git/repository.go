package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"gopkg.in/ini.v1"

	"headway.dev/manifests/egress"
	"headway.dev/syncer/git/odb"
	"headway.dev/syncer/git/remote"
)

// Default limits of a fetch: the bytes of one pack and of each object in it,
// and the number of its objects.
const (
	DefaultMaxPack    = 4 << 30
	DefaultMaxObjects = 2_000_000
)

// remoteName is the only remote of a mirror.
const remoteName = "origin"

// ErrNotRepository reports that a path contains no Git repository.
var ErrNotRepository = errors.New("not a Git repository")

// Repository is a repository on this machine: the source itself if it is
// local, or the mirror of a remote one.
type Repository struct {
	// mu serialises go-git's storage, whose pack index is not safe to rebuild
	// while another goroutine reads.
	mu    sync.Mutex
	store *Storage
	// network holds one token, of who writes what a remote gave. Who waits for
	// it can give up.
	network chan struct{}
	gitDir  string
	bare    bool
	remote  *remote.Remote // nil for a local repository
	memos   sync.Map       // by their keys
	limits  odb.Limits
	dirs    directories
	ignores ignoreFiles
}

// Open opens the repository at path in place, bare or with a working tree.
// It fails with ErrNotRepository if there is none.
func Open(path string) (*Repository, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", path, err)
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	if sha256Named(abs) {
		return nil, fmt.Errorf("open repository: %w", remote.SHA256Error(path))
	}
	repo, err := gogit.PlainOpenWithOptions(abs, &gogit.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w (%w); create one with git init", path, ErrNotRepository, err)
	}
	fsStore, ok := repo.Storer.(*filesystem.Storage)
	if !ok {
		return nil, fmt.Errorf("open repository %s: unexpected storage %T", path, repo.Storer)
	}
	cfg, err := repo.Config()
	if err != nil {
		return nil, fmt.Errorf("open repository %s: read its configuration: %w", path, err)
	}
	// go-git takes any directory with a HEAD file; Git wants these as well.
	dir := fsStore.Filesystem().Root()
	if _, err := os.Stat(filepath.Join(commonDir(dir), "objects")); err != nil {
		return nil, fmt.Errorf("open repository %s: %w; create one with git init", path, ErrNotRepository)
	}
	store := &Storage{Storage: fsStore, Objects: odb.Open(filepath.Join(commonDir(dir), "objects"))}
	return &Repository{store: store, network: make(chan struct{}, 1), gitDir: dir, bare: cfg.Core.IsBare}, nil
}

// sha256Named reports whether the repository at path has SHA-256 object names,
// which go-git only says by an error about an extension.
func sha256Named(path string) bool {
	for _, file := range []string{filepath.Join(path, "config"), filepath.Join(path, ".git", "config")} {
		cfg, err := ini.Load(file)
		if err == nil && strings.EqualFold(cfg.Section("extensions").Key("objectformat").String(), "sha256") {
			return true
		}
	}
	return false
}

// MirrorOptions are the options of a mirror.
type MirrorOptions struct {
	// MaxPack bounds one fetch and each object in it, in bytes (default
	// DefaultMaxPack).
	MaxPack int64
	// MaxObjects bounds the objects of one fetch (default DefaultMaxObjects).
	MaxObjects int64
	// Egress denies addresses of remotes and their proxies; nil denies none.
	Egress *egress.Policy
}

// Mirror opens or creates the bare repository in dir that mirrors a remote at
// an http, https or ssh URL. Nothing is fetched yet. Only one Repository may be
// open for dir.
func Mirror(dir, address string, opts MirrorOptions) (*Repository, error) {
	if err := remote.CheckURL(address); err != nil {
		return nil, err
	}
	limits := odb.Limits{Bytes: opts.MaxPack, Objects: opts.MaxObjects}
	if limits.Bytes == 0 {
		limits.Bytes = DefaultMaxPack
	}
	if limits.Objects == 0 {
		limits.Objects = DefaultMaxObjects
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create mirror: %w", err)
	}
	store := newStorage(dir)
	if _, err := gogit.Open(store, nil); err != nil {
		if !errors.Is(err, gogit.ErrRepositoryNotExists) {
			return nil, fmt.Errorf("open mirror %s: %w", dir, err)
		}
		if _, err := gogit.Init(store, nil); err != nil {
			return nil, fmt.Errorf("create mirror %s: %w", dir, err)
		}
	}
	if err := odb.Clean(filepath.Join(dir, "objects", "pack")); err != nil {
		return nil, fmt.Errorf("open mirror %s: %w", dir, err)
	}
	return &Repository{store: store, network: make(chan struct{}, 1), gitDir: dir, bare: true, remote: remote.New(address, dir, opts.Egress), limits: limits}, nil
}

// Local reports whether the repository is the source itself.
func (r *Repository) Local() bool { return r.remote == nil }

// Close releases the repository's files and connections.
func (r *Repository) Close() error {
	if !r.Local() {
		r.remote.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.store.Close()
}

// writing calls f while no other fetch or push writes to the repository.
func (r *Repository) writing(ctx context.Context, f func() error) error {
	select {
	case r.network <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.network }()
	return f()
}

// Read calls f with the repository's objects and references, one call at a
// time. If f fails, Read reads the list of packs again and calls f once more:
// another process may have packed what f reads, or pushed a pack.
func (r *Repository) Read(f func(*Storage) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := f(r.store)
	if err != nil {
		r.store.reindex()
		err = f(r.store)
	}
	return err
}

// Memo returns what a package built on this one remembers of the repository
// under its key, made at first use. It lasts as long as the repository is open.
func (r *Repository) Memo(key any, make func() any) any {
	memo, found := r.memos.Load(key)
	if !found {
		memo, _ = r.memos.LoadOrStore(key, make())
	}
	return memo
}

// Remote returns the remote that the repository mirrors; nil if it is local.
func (r *Repository) Remote() *remote.Remote { return r.remote }

// CommonDir returns the directory with the objects and references; for a linked
// working tree, that of the main one.
func (r *Repository) CommonDir() string { return commonDir(r.gitDir) }

// WorkTree reports whether the branch is checked out in a working tree, and in
// which.
func (r *Repository) WorkTree(branch string) (dir string, out bool) {
	if !r.Local() || r.bare {
		return "", false
	}
	ref, err := r.store.Reference(plumbing.HEAD)
	return filepath.Dir(r.gitDir), err == nil && ref.Target() == plumbing.NewBranchReferenceName(branch)
}
