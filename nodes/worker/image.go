package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/pull"
	"headway.dev/nodes/runtime"
)

// image makes a container's image present by its pull policy.
func (w *worker) image(ctx context.Context, p *corev1.Pod, c *corev1.Container) error {
	a, ref := w.env, containerRef(p, c.Name)
	if _, err := reference.ParseDockerRef(c.Image); err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", c.Image, c.Image, err)
		a.Events.Event(ref, corev1.EventTypeWarning, "InspectFailed", message)
		a.Events.Event(ref, corev1.EventTypeWarning, "Failed", "Error: InvalidImageName")
		return w.fail(c.Name, "InvalidImageName", message, pullRetry, pullRetryMax)
	}
	policy := pull.Policy(c)
	if policy != corev1.PullAlways {
		_, ok, err := a.Runtime.Image(ctx, c.Image)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			message := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err)
			a.Events.Event(ref, corev1.EventTypeWarning, "InspectFailed", message)
			return w.fail(c.Name, "ImageInspectError", message, configRetry, retryMax)
		case ok:
			a.Events.Eventf(ref, corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine", c.Image)
			return nil
		case policy == corev1.PullNever:
			message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
			a.Events.Event(ref, corev1.EventTypeWarning, "ErrImageNeverPull", message)
			a.Events.Event(ref, corev1.EventTypeWarning, "Failed", "Error: ErrImageNeverPull")
			return w.fail(c.Name, "ErrImageNeverPull", message, pullRetry, pullRetry)
		}
	}
	w.release() // a pull may take long and uses nothing the slots protect
	a.Events.Eventf(ref, corev1.EventTypeNormal, "Pulling", "Pulling image %q", c.Image)
	began := time.Now()
	w.setPulling(true)
	info, err := a.Images.Pull(ctx, c.Image, policy, a.logins(ctx, p, c.Image))
	w.setPulling(false)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		message := err.Error()
		a.Events.Eventf(ref, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %s", c.Image, message)
		a.Events.Event(ref, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
		err = w.fail(c.Name, "ErrImagePull", message, pullRetry, pullRetryMax)
		f := w.failures[c.Name]
		f.Image = c.Image
		w.remember(c.Name, f)
		return err
	}
	took := time.Since(began).Truncate(time.Millisecond)
	a.Events.Eventf(ref, corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", c.Image, took, took, info.Size)
	return nil
}

// logins are the registry logins that the pod's imagePullSecrets hold for an
// image. A secret that is missing is reported and does not stop the pull.
func (a *Env) logins(ctx context.Context, p *corev1.Pod, image string) []runtime.Auth {
	var out []runtime.Auth
	for _, s := range p.Spec.ImagePullSecrets {
		secret, err := a.Objects.Secret(ctx, p.UID, p.Namespace, s.Name)
		if err != nil {
			a.Events.Eventf(p, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", s.Name)
			continue
		}
		logins, err := pull.Logins(secret, image)
		if err != nil {
			a.Log.Warn("image pull secret cannot be read", "pod", pod.Describe(p), "secret", s.Name, "err", err)
			continue
		}
		out = append(out, logins...)
	}
	return out
}
