package write

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-billy/v5/osfs"
	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"headway.dev/syncer/git"
)

// Create creates a bare repository at dir, which must not exist, whose branch
// has one commit with the given files. A crash leaves nothing at dir.
func Create(dir, branch string, files fs.FS, by git.Signature, subject string) error {
	unfinished := dir + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := create(unfinished, branch, files, by, subject); err != nil {
		return errors.Join(err, os.RemoveAll(unfinished))
	}
	if err := os.Rename(unfinished, dir); err != nil {
		return err
	}
	return syncPath(filepath.Dir(dir))
}

// Durable makes the git program write what is pushed to the repository in dir
// to disk before the branch that names it. Without that, a power cut can leave
// a branch with empty objects.
func Durable(dir string) error {
	repo, err := gogit.PlainOpen(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	cfg, err := repo.Config()
	if err != nil {
		return fmt.Errorf("read the configuration of %s: %w", dir, err)
	}
	if cfg.Raw.Section("core").HasOption("fsync") {
		return nil // its owner has decided
	}
	cfg.Raw.Section("core").SetOption("fsync", "all")
	if err := repo.SetConfig(cfg); err != nil {
		return fmt.Errorf("write the configuration of %s: %w", dir, err)
	}
	return nil
}

func create(dir, branch string, files fs.FS, by git.Signature, subject string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	store := filesystem.NewStorage(osfs.New(dir), cache.NewObjectLRUDefault())
	tree := memfs.New()
	repo, err := gogit.InitWithOptions(store, tree, gogit.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName(branch)})
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if err := copyFiles(tree, files); err != nil {
		return err
	}
	work, err := repo.Worktree()
	if err != nil {
		return err
	}
	if err := work.AddWithOptions(&gogit.AddOptions{All: true}); err != nil {
		return fmt.Errorf("add: %w", err)
	}
	signature := &object.Signature{Name: by.Name, Email: by.Email, When: time.Now()}
	if _, err := work.Commit(subject+"\n", &gogit.CommitOptions{Author: signature}); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	cfg, err := repo.Config()
	if err != nil {
		return err
	}
	cfg.Core.IsBare, cfg.Core.Worktree = true, ""
	// What pushes bring is closed to other users, whatever their umask.
	cfg.Raw.Section("core").SetOption("sharedRepository", "0600")
	if err := repo.SetConfig(cfg); err != nil {
		return fmt.Errorf("make it bare: %w", err)
	}
	// A bare repository has no index.
	if err := os.Remove(path.Join(dir, "index")); err != nil {
		return err
	}
	if err := Durable(dir); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
}

func copyFiles(to billy.Filesystem, from fs.FS) error {
	return fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		file, err := to.Create(name)
		if err != nil {
			return err
		}
		_, err = file.Write(content)
		return errors.Join(err, file.Close())
	})
}
