package nodes

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/slot"
)

// parallelPulls bounds how many images are pulled side by side. Not one, the
// kubelet's default: a registry that hangs would hold up all others.
const parallelPulls = 4

// pullTime is the longest that one pull keeps others waiting: a registry may
// send a byte now and then.
const pullTime = 2 * time.Minute

// images gets images into the store: by pulling them, each image by one pod at
// a time, and by importing the archives of a directory.
type images struct {
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

func newImages(r runtime.Interface, dir string, changed func(), log *slog.Logger) *images {
	return &images{
		runtime: r, dir: dir, changed: changed, log: log,
		pulling: slot.New(parallelPulls, pullTime), turns: map[string]*turn{},
	}
}

// take waits for the turn to pull an image.
func (i *images) take(ctx context.Context, image string) (release func(), err error) {
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

// pullPolicy applies the default: Always for the tag latest, else IfNotPresent.
func pullPolicy(c *corev1.Container) corev1.PullPolicy {
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

// image makes a container's image present by its pull policy.
func (w *worker) image(ctx context.Context, p *corev1.Pod, c *corev1.Container) error {
	a, ref := w.agent, containerRef(p, c.Name)
	if _, err := reference.ParseDockerRef(c.Image); err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", c.Image, c.Image, err)
		a.events.Event(ref, corev1.EventTypeWarning, "InspectFailed", message)
		a.events.Event(ref, corev1.EventTypeWarning, "Failed", "Error: InvalidImageName")
		return w.fail(c.Name, "InvalidImageName", message, pullRetry, pullRetryMax)
	}
	policy := pullPolicy(c)
	if policy != corev1.PullAlways {
		_, ok, err := a.cfg.Runtime.Image(ctx, c.Image)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			message := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err)
			a.events.Event(ref, corev1.EventTypeWarning, "InspectFailed", message)
			return w.fail(c.Name, "ImageInspectError", message, configRetry, retryMax)
		case ok:
			a.events.Eventf(ref, corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine", c.Image)
			return nil
		case policy == corev1.PullNever:
			message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
			a.events.Event(ref, corev1.EventTypeWarning, "ErrImageNeverPull", message)
			a.events.Event(ref, corev1.EventTypeWarning, "Failed", "Error: ErrImageNeverPull")
			return w.fail(c.Name, "ErrImageNeverPull", message, pullRetry, pullRetry)
		}
	}
	w.release() // a pull may take long and uses nothing the slots protect
	a.events.Eventf(ref, corev1.EventTypeNormal, "Pulling", "Pulling image %q", c.Image)
	began := time.Now()
	w.setPulling(true)
	info, err := a.images.pull(ctx, c.Image, policy, w.logins(ctx, p, c.Image))
	w.setPulling(false)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		message := err.Error()
		a.events.Eventf(ref, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %s", c.Image, message)
		a.events.Event(ref, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
		err = w.fail(c.Name, "ErrImagePull", message, pullRetry, pullRetryMax)
		f := w.failures[c.Name]
		f.Image = c.Image
		w.remember(c.Name, f)
		return err
	}
	took := time.Since(began).Truncate(time.Millisecond)
	a.events.Eventf(ref, corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", c.Image, took, took, info.Size)
	return nil
}

// pull fetches an image, after the pulls of the same image before it, which may
// have brought it.
func (i *images) pull(ctx context.Context, image string, policy corev1.PullPolicy, logins []runtime.Auth) (runtime.ImageInfo, error) {
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

// logins are the registry logins that the pod's imagePullSecrets hold for an
// image. A secret that is missing is reported and does not stop the pull.
func (w *worker) logins(ctx context.Context, p *corev1.Pod, image string) []runtime.Auth {
	var out []runtime.Auth
	for _, s := range p.Spec.ImagePullSecrets {
		secret, err := w.agent.objects.secret(ctx, w.uid, p.Namespace, s.Name)
		if err != nil {
			w.agent.events.Eventf(p, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", s.Name)
			continue
		}
		logins, err := parseLogins(secret, image)
		if err != nil {
			w.agent.log.Warn("image pull secret cannot be read", "pod", pod.Describe(p), "secret", s.Name, "err", err)
			continue
		}
		out = append(out, logins...)
	}
	return out
}

type registryLogin struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// parseLogins reads a dockerconfigjson or dockercfg secret. Its errors never
// hold the content.
func parseLogins(secret *corev1.Secret, image string) ([]runtime.Auth, error) {
	var auths map[string]registryLogin
	if data, ok := secret.Data[corev1.DockerConfigJsonKey]; ok {
		var file struct {
			Auths map[string]registryLogin `json:"auths"`
		}
		if json.Unmarshal(data, &file) != nil {
			return nil, fmt.Errorf("key %s is not valid JSON", corev1.DockerConfigJsonKey)
		}
		auths = file.Auths
	} else if data, ok := secret.Data[corev1.DockerConfigKey]; ok {
		if json.Unmarshal(data, &auths) != nil {
			return nil, fmt.Errorf("key %s is not valid JSON", corev1.DockerConfigKey)
		}
	} else {
		return nil, fmt.Errorf("neither key %s nor %s", corev1.DockerConfigJsonKey, corev1.DockerConfigKey)
	}
	ref, err := reference.ParseDockerRef(image)
	if err != nil {
		return nil, fmt.Errorf("image reference: %w", err)
	}
	var out []runtime.Auth
	for registry, login := range auths {
		if !loginMatches(registry, ref) {
			continue
		}
		if login.Auth != "" && login.Username == "" {
			plain, err := base64.StdEncoding.DecodeString(login.Auth)
			user, password, ok := strings.Cut(string(plain), ":")
			if err != nil || !ok {
				return nil, errors.New("an auth field is not base64 of user:password")
			}
			login.Username, login.Password = user, password
		}
		out = append(out, runtime.Auth{Username: login.Username, Password: login.Password, IdentityToken: login.IdentityToken})
	}
	return out, nil
}

// loginMatches compares a registry of a login with an image: the host has to be
// the same, a path has to be a prefix, and each part of the host may hold
// wildcards.
func loginMatches(registry string, image reference.Named) bool {
	registry = strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	host, path, _ := strings.Cut(registry, "/")
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	path = strings.Trim(path, "/")
	if path == "v1" || path == "v2" {
		path = "" // the API's version, as docker login writes it
	}
	wantParts, haveParts := strings.Split(host, "."), strings.Split(reference.Domain(image), ".")
	if len(wantParts) != len(haveParts) {
		return false
	}
	for i := range wantParts {
		if ok, err := filepath.Match(wantParts[i], haveParts[i]); err != nil || !ok {
			return false
		}
	}
	return path == "" || reference.Path(image) == path || strings.HasPrefix(reference.Path(image), path+"/")
}

// watch imports the archives of the directory and then those that appear. It
// calls imported when the first ones are in.
func (i *images) watch(ctx context.Context, imported func()) error {
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

func (i *images) importFile(ctx context.Context, name string) {
	if ctx.Err() != nil || filepath.Ext(name) != ".tar" {
		return
	}
	f, err := openRegular(name)
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
