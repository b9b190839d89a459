package git

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// DefaultMaxPack bounds one fetched pack, in bytes.
const DefaultMaxPack = 1 << 30

// remoteName is the only remote of a mirror.
const remoteName = "origin"

// ErrNotRepository says that a path holds no Git repository.
var ErrNotRepository = errors.New("not a Git repository")

// ErrTooLarge says that a fetch brought more than the bound.
var ErrTooLarge = errors.New("the fetched pack is larger than allowed")

// Repository is a repository on this machine: the source itself if it is
// local, or the mirror of a remote one.
type Repository struct {
	// mu serialises go-git's storage, whose pack index is not safe to rebuild
	// while another goroutine reads.
	mu    sync.Mutex
	store *storage
	// network serialises fetches and pushes. They use a storage of their own,
	// so that a slow remote keeps nobody from reading.
	network sync.Mutex
	gitDir  string
	bare    bool
	url     string // empty for a local repository
	blames  blames
}

// storage bounds the packs that a fetch writes.
type storage struct {
	*filesystem.Storage
	maxPack int64
}

// PackfileWriter implements storer.PackfileWriter.
func (s *storage) PackfileWriter() (io.WriteCloser, error) {
	w, err := s.Storage.PackfileWriter()
	if err != nil {
		return nil, err
	}
	return &boundedWriter{WriteCloser: w, left: s.maxPack}, nil
}

type boundedWriter struct {
	io.WriteCloser
	left int64
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	if w.left -= int64(len(p)); w.left < 0 {
		return 0, ErrTooLarge
	}
	return w.WriteCloser.Write(p)
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
	return &Repository{store: &storage{Storage: fsStore, maxPack: DefaultMaxPack}, gitDir: dir, bare: cfg.Core.IsBare}, nil
}

// MirrorOptions shape a mirror.
type MirrorOptions struct {
	// MaxPack bounds one fetch, in bytes (default DefaultMaxPack).
	MaxPack int64
}

// Mirror opens or creates the bare repository in dir that mirrors remote, an
// http, https or ssh URL. Nothing is fetched yet.
func Mirror(dir, remote string, opts MirrorOptions) (*Repository, error) {
	if err := CheckURL(remote); err != nil {
		return nil, err
	}
	if opts.MaxPack == 0 {
		opts.MaxPack = DefaultMaxPack
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create mirror: %w", err)
	}
	store := newStorage(dir, opts.MaxPack)
	if _, err := gogit.Open(store, nil); err != nil {
		if !errors.Is(err, gogit.ErrRepositoryNotExists) {
			return nil, fmt.Errorf("open mirror %s: %w", dir, err)
		}
		if _, err := gogit.Init(store, nil); err != nil {
			return nil, fmt.Errorf("create mirror %s: %w", dir, err)
		}
	}
	return &Repository{store: store, gitDir: dir, bare: true, url: remote}, nil
}

func newStorage(dir string, maxPack int64) *storage {
	return &storage{
		Storage: filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRU(16*cache.MiByte), filesystem.Options{LargeObjectThreshold: 1 << 20}),
		maxPack: maxPack,
	}
}

// CheckURL says whether a mirror can follow the URL. Other schemes, file
// among them, are refused: an object of the cluster must not name files of
// the machine.
func CheckURL(remote string) error {
	u, err := url.Parse(remote)
	if err != nil {
		return fmt.Errorf("invalid Git URL: %w", errors.Unwrap(err))
	}
	switch u.Scheme {
	case "http", "https", "ssh":
	default:
		return fmt.Errorf("unsupported Git URL %q: use http://, https:// or ssh://", u.Redacted())
	}
	if u.Host == "" {
		return fmt.Errorf("invalid Git URL %q: it names no host", u.Redacted())
	}
	return nil
}

// Local says whether the repository is the source itself.
func (r *Repository) Local() bool { return r.url == "" }

// Close releases the repository's files.
func (r *Repository) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.store.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close repository: %w", err)
	}
	return nil
}

// remote calls f with the mirror's remote, one call at a time.
func (r *Repository) remote(f func(*gogit.Remote) error) error {
	r.network.Lock()
	defer r.network.Unlock()
	store := newStorage(r.gitDir, r.store.maxPack)
	defer func() { _ = store.Close() }()
	err := f(gogit.NewRemote(store, &config.RemoteConfig{Name: remoteName, URLs: []string{r.url}}))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.store.Reindex()
	return err
}

// read runs f under the lock, and once more after looking at the packs again
// if f fails: another process may have packed what f reads, or pushed a pack.
func (r *Repository) read(f func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := f()
	if err != nil {
		r.store.Reindex()
		err = f()
	}
	return err
}
