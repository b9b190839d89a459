package pull

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/machine"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/slot"
)

// parallelPulls bounds how many images are pulled side by side. Not one, the
// kubelet's default: a registry that hangs would hold up all others.
const parallelPulls = 4

// pullTime is the longest that one pull keeps others waiting: a registry may
// send a byte now and then.
const pullTime = 2 * time.Minute

// Puller brings images into the store: by pulling them, each image for one pod
// at a time, and by importing the archives of a directory.
type Puller struct {
	runtime runtime.Interface
	dir     string
	log     *slog.Logger
	changed func()      // called when images were imported
	pulling *slot.Slots // for the pulls under way

	mu    sync.Mutex
	turns map[string]*turn // by image
}

// turn is taken by the one that pulls an image; users counts it and those who
// wait for it.
type turn struct {
	taken chan struct{}
	users int
}

// New returns a puller that imports the archives of dir, if there is one.
func New(r runtime.Interface, dir string, changed func(), log *slog.Logger) *Puller {
	return &Puller{
		runtime: r, dir: dir, changed: changed, log: log,
		pulling: slot.New(parallelPulls, pullTime), turns: map[string]*turn{},
	}
}

// take waits for the turn to pull an image.
func (i *Puller) take(ctx context.Context, image string) (release func(), err error) {
	i.mu.Lock()
	t := i.turns[image]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		i.turns[image] = t
	}
	t.users++
	i.mu.Unlock()
	leave := func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(i.turns, image)
		}
	}
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// Policy applies the default: Always for the tag latest, else IfNotPresent.
func Policy(c *corev1.Container) corev1.PullPolicy {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	if ref, err := reference.ParseDockerRef(c.Image); err == nil {
		if tagged, ok := ref.(reference.Tagged); ok && tagged.Tag() == "latest" {
			return corev1.PullAlways
		}
	}
	return corev1.PullIfNotPresent
}

// Pull fetches an image, after earlier pulls of the same image, which may have
// brought it.
func (i *Puller) Pull(ctx context.Context, image string, policy corev1.PullPolicy, logins []runtime.Auth) (runtime.ImageInfo, error) {
	release, err := i.take(ctx, image)
	if err != nil {
		return runtime.ImageInfo{}, err
	}
	defer release()
	done, err := i.pulling.Take(ctx)
	if err != nil {
		return runtime.ImageInfo{}, err
	}
	defer done()
	if policy != corev1.PullAlways {
		if info, ok, err := i.runtime.Image(ctx, image); err == nil && ok {
			return info, nil
		}
	}
	return i.runtime.Pull(ctx, image, logins)
}

// Watch imports the archives of the directory and then new ones as they appear.
// It calls imported when the first ones have been imported.
func (i *Puller) Watch(ctx context.Context, imported func()) error {
	if i.dir == "" {
		imported()
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		imported()
		return fmt.Errorf("watch the image directory: %w", err)
	}
	defer watcher.Close()
	if err := os.MkdirAll(i.dir, 0o755); err != nil {
		imported()
		return fmt.Errorf("make the image directory: %w", err)
	}
	// Watched before it is listed: nothing that appears in between is missed.
	if err := watcher.Add(i.dir); err != nil {
		imported()
		return fmt.Errorf("watch the image directory: %w", err)
	}
	entries, err := os.ReadDir(i.dir)
	if err != nil {
		imported()
		return fmt.Errorf("list the image directory: %w", err)
	}
	for _, e := range entries {
		i.importFile(ctx, filepath.Join(i.dir, e.Name()))
	}
	imported()
	// A file is imported when it has been quiet for a moment: until then its
	// writer may not be done.
	const quiet = 300 * time.Millisecond
	pending := map[string]time.Time{}
	tick := time.NewTicker(quiet)
	tick.Stop()
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-watcher.Events:
			if e.Has(fsnotify.Create) || e.Has(fsnotify.Write) {
				if len(pending) == 0 {
					tick.Reset(quiet)
				}
				pending[e.Name] = time.Now()
			}
		case err := <-watcher.Errors:
			i.log.Warn("watching the image directory", "err", err)
		case now := <-tick.C:
			for name, changed := range pending {
				if now.Sub(changed) >= quiet {
					delete(pending, name)
					i.importFile(ctx, name)
				}
			}
			if len(pending) == 0 {
				tick.Stop()
			}
		}
	}
}

func (i *Puller) importFile(ctx context.Context, name string) {
	if ctx.Err() != nil || filepath.Ext(name) != ".tar" {
		return
	}
	f, err := machine.OpenRegular(name)
	if err != nil {
		i.log.Warn("image archive cannot be opened", "file", name, "err", err)
		return
	}
	defer f.Close()
	list, err := i.runtime.Import(ctx, f)
	if err != nil {
		i.log.Warn("image archive cannot be imported", "file", name, "err", err)
		return
	}
	for _, image := range list {
		i.log.Info("image imported", "image", image.Name, "file", filepath.Base(name))
	}
	i.changed()
}
