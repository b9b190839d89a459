package up

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/engine"
	"headway.dev/examples"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/git"
	gitremote "headway.dev/syncer/git/remote"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/wire"
)

// source is the Git source given on the command line.
type source struct {
	cfg *Config
	// url is what the GitRepository says; dir is set if it is on this machine.
	url, dir string
}

// openSource checks the source: a repository on this machine must have the
// branch and the path, so that a typing error is answered at once.
func openSource(cfg *Config) (*source, error) {
	if address := sshURL(cfg.Repo); strings.Contains(address, "://") && !strings.HasPrefix(address, "file://") {
		if err := gitremote.CheckURL(address); err != nil {
			return nil, fmt.Errorf("--repo: %w", err)
		}
		return &source{cfg: cfg, url: address}, nil
	}
	dir := strings.TrimPrefix(cfg.Repo, "file://")
	if dir == "" {
		dir = filepath.Join(cfg.DataDir, "repo.git")
		// Only for a new cluster: one that has lost its repository keeps what
		// it runs until that is back, instead of following a new beginning.
		if datadir.Missing(dir) && datadir.Missing(filepath.Join(cfg.DataDir, engine.StoreFile)) {
			if err := write.Create(dir, cfg.Branch, examples.Repo(),
				git.Signature{Name: "Headway", Email: "headway@localhost"}, "Start from the example repository"); err != nil {
				return nil, fmt.Errorf("create the repository: %w", err)
			}
		}
		if cfg.Repo == "" && !datadir.Missing(dir) {
			if err := write.Durable(dir); err != nil {
				return nil, err
			}
		}
		return &source{cfg: cfg, url: "file://" + dir, dir: dir}, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("--repo: %w", err)
	}
	if err := checkLocal(dir, cfg); err != nil {
		return nil, err
	}
	return &source{cfg: cfg, url: "file://" + dir, dir: dir}, nil
}

// sshURL writes [user@]host:path, which Git takes for ssh, as the URL that the
// GitRepository must have. As for Git a slash before the colon makes it a path.
func sshURL(repo string) string {
	host, path, ok := strings.Cut(repo, ":")
	if !ok || host == "" || strings.Contains(host, "/") || strings.HasPrefix(path, "//") {
		return repo
	}
	return "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
}

func checkLocal(dir string, cfg *Config) error {
	if datadir.Missing(dir) {
		return fmt.Errorf("--repo: %s does not exist", dir)
	}
	repo, err := git.Open(dir)
	if err != nil {
		return fmt.Errorf("--repo: %w", err)
	}
	defer func() { _ = repo.Close() }() // it was only read
	head, err := repo.Fetch(context.Background(), git.Ref{Branch: cfg.Branch}, nil)
	if err != nil {
		return fmt.Errorf("--branch: %w", err)
	}
	tree, err := repo.Tree(head.Commit, "")
	if err != nil {
		return fmt.Errorf("--repo: %w", err)
	}
	if info, err := fs.Stat(tree, filepath.ToSlash(filepath.Clean(cfg.Path))); err != nil || !info.IsDir() {
		return fmt.Errorf("--path: %s is no directory of branch %s in %s", cfg.Path, cfg.Branch, dir)
	}
	return nil
}

// repositories are those that the syncer may open in place.
func (s *source) repositories() map[string]string {
	local := maps.Clone(s.cfg.Local)
	if s.dir == "" {
		return local
	}
	if local == nil {
		local = map[string]string{}
	}
	local[wire.Root] = s.dir
	return local
}

// committer is what declare needs of the store.
type committer interface {
	object.Reader
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
}

// declare writes the GitRepository and the Kustomization that the flags ask
// for. What else a user set on them (annotations, suspend) stays.
func (s *source) declare(ctx context.Context, store committer) error {
	meta := metav1.ObjectMeta{Namespace: wire.SystemNamespace, Name: wire.RootName}
	repository := &sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{
		URL:       s.url,
		Interval:  metav1.Duration{Duration: s.cfg.Interval},
		Reference: &sourcev1.GitRepositoryRef{Branch: s.cfg.Branch},
	}}
	kustomization := &kustomizev1.Kustomization{ObjectMeta: meta, Spec: kustomizev1.KustomizationSpec{
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: wire.RootName},
		Path:      "./" + strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(s.cfg.Path)), "/"),
		Interval:  metav1.Duration{Duration: 10 * time.Minute},
		Timeout:   &metav1.Duration{Duration: 5 * time.Minute},
		Prune:     true,
		Wait:      true,
	}}
	now := time.Now()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: wire.SystemNamespace}}
	// A controller would make it in a moment. The first commit may be there
	// before that, and would be refused for want of it.
	ofUsers := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceDefault}}
	var changes []change.Change
	for _, want := range []object.Object{namespace, ofUsers, repository, kustomization} {
		key, err := scheme.KeyOf(want)
		if err != nil {
			return err
		}
		if store.Get(key) == nil {
			changes = append(changes, change.Create(want, now))
			continue
		}
		changes = append(changes, change.Patch(key, func(obj object.Object) bool {
			switch obj := obj.(type) {
			case *sourcev1.GitRepository:
				obj.Spec.URL, obj.Spec.Reference, obj.Spec.Interval = repository.Spec.URL, repository.Spec.Reference, repository.Spec.Interval
			case *kustomizev1.Kustomization:
				obj.Spec.Path = kustomization.Spec.Path
			default:
				return false
			}
			return true
		}))
	}
	if _, err := store.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("declare the source: %w", err)
	}
	return nil
}
