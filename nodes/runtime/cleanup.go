package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Cleanup removes every trace of the runtime with this configuration from the
// machine: containers, sandboxes, network, cgroups, mounts, the private
// containerd with its images, state and logs. It fails while an agent uses the
// same Root.
func Cleanup(ctx context.Context, cfg Config) error {
	r, err := Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	err = r.removeAll(ctx)
	if cerr := r.shutdown(); err == nil {
		err = cerr
	}
	// The lock is held until everything is gone.
	defer r.lock.Close()
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	if r.daemon != nil {
		if err := r.daemon.stop(ctx); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	errs := []error{r.cgroups.remove("")}
	for _, dir := range []string{r.cfg.RunDir, r.cfg.Root} {
		errs = append(errs, unmountBelow(dir))
	}
	if err := errors.Join(errs...); err != nil {
		// With mounts left, removing files could reach what is mounted.
		return fmt.Errorf("clean up: %w", err)
	}
	for _, path := range []string{
		filepath.Join(r.cfg.RunDir, "sandboxes"), filepath.Join(r.cfg.RunDir, "runc"),
		filepath.Join(r.cfg.RunDir, "containerd"), filepath.Join(r.cfg.RunDir, "containerd.pid"),
		r.cfg.LogDir, filepath.Join(r.cfg.Root, "sandboxes"), filepath.Join(r.cfg.Root, "containerd"),
		filepath.Join(r.cfg.Root, "containerd.toml"), filepath.Join(r.cfg.Root, "containerd.log"), filepath.Join(r.cfg.Root, "lock"),
	} {
		errs = append(errs, os.RemoveAll(path))
	}
	// Only if nothing of others is in them.
	for _, dir := range []string{r.cfg.RunDir, r.cfg.Root} {
		_ = os.Remove(dir)
	}
	return errors.Join(errs...)
}

// removeAll removes every pod, then the network.
func (r *Runtime) removeAll(ctx context.Context) error {
	pods, err := r.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for uid, pod := range pods {
		ref := PodRef{UID: uid}
		if pod.Sandbox != nil {
			ref = pod.Sandbox.Pod
		} else if len(pod.Containers) > 0 {
			ref = pod.Containers[0].Pod
		}
		errs = append(errs, r.RemoveSandbox(ctx, ref), r.RemoveLogs(ref))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.cfg.Network.Cleanup(ctx)
}
