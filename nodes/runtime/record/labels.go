package record

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/containerd/containerd/containers"
	"github.com/distribution/reference"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/images"
	"headway.dev/nodes/runtime/spec"
)

// Our labels on containerd's containers; what the caller gave follows
// userLabel.
const (
	labelUID       = "headway.dev/pod-uid"
	labelNamespace = "headway.dev/pod-namespace"
	labelPod       = "headway.dev/pod-name"
	labelName      = "headway.dev/container-name"
	labelAttempt   = "headway.dev/attempt"
	labelImage     = "headway.dev/image"
	labelImageID   = "headway.dev/image-id"
	labelSignal    = "headway.dev/stop-signal"
	labelMode      = "headway.dev/mode"      // tty, stdin and once, as far as they apply
	labelQuota     = "headway.dev/cpu-quota" // microseconds in each period: 50000/100000
	labelUser      = "headway.dev/user"      // uid:gid:group,group
	userLabel      = "headway.dev/label."
)

// ID depends on pod, name and attempt, so that creating again after a lost
// answer finds the same container.
func ID(pod runtime.PodRef, name string, attempt int) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{pod.UID, name, strconv.Itoa(attempt)}, "/")))
	return hex.EncodeToString(sum[:])
}

// Labels returns what is kept of a container in containerd's store.
func Labels(pod runtime.PodRef, cfg runtime.ContainerConfig, imageName, imageID, stop string, user images.IDs) map[string]string {
	var mode []string
	for name, on := range map[string]bool{"tty": cfg.TTY, "stdin": cfg.Stdin, "once": cfg.StdinOnce} {
		if on {
			mode = append(mode, name)
		}
	}
	labels := map[string]string{
		labelUID: pod.UID, labelNamespace: pod.Namespace, labelPod: pod.Name,
		labelName: cfg.Name, labelAttempt: strconv.Itoa(cfg.Attempt),
		labelImage: cmp.Or(cfg.Image, imageName), labelImageID: imageID,
		labelSignal: stop, labelMode: strings.Join(mode, ","),
		labelUser: userLabelValue(user.UID, user.GID, spec.AdditionalGroups(user, cfg.Security)),
	}
	if q := cfg.Resources; q.CPUQuota > 0 {
		labels[labelQuota] = quota(q)
	}
	maps.Copy(labels, Marks(cfg.Labels))
	return labels
}

func quota(r runtime.Resources) string { return fmt.Sprintf("%d/%d", r.CPUQuota, r.CPUPeriod) }

// ResizedLabels returns what is kept of a container from now on that has been resized.
func ResizedLabels(r runtime.Resize) map[string]string {
	labels := map[string]string{labelQuota: ""}
	if r.Resources.CPUQuota > 0 {
		labels[labelQuota] = quota(r.Resources)
	}
	maps.Copy(labels, Marks(r.Labels))
	return labels
}

// Marks returns what is kept of a container that gets labels.
func Marks(given map[string]string) map[string]string {
	labels := map[string]string{}
	for k, v := range given {
		labels[userLabel+k] = v
	}
	return labels
}

func userLabelValue(uid, gid uint32, groups []uint32) string {
	list := make([]string, len(groups))
	for i, g := range groups {
		list[i] = strconv.FormatUint(uint64(g), 10)
	}
	return fmt.Sprintf("%d:%d:%s", uid, gid, strings.Join(list, ","))
}

// parseUserLabel is nil for a container made before the label was kept.
func parseUserLabel(value string) *runtime.User {
	f := strings.Split(value, ":")
	if len(f) != 3 {
		return nil
	}
	number := func(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
	u := &runtime.User{UID: number(f[0]), GID: number(f[1])}
	for g := range strings.SplitSeq(f[2], ",") {
		if g != "" {
			u.Groups = append(u.Groups, number(g))
		}
	}
	return u
}

// Stored is what containerd's store contains about a container.
type Stored struct {
	// Info has State Created, and no LogPath.
	Info runtime.Container
	// Signal is the signal that stops it.
	Signal                string
	TTY, Stdin, StdinOnce bool
	// Quota contains its limits of CPU time.
	Quota runtime.Resources
}

// PodUID returns the pod of a container with these labels, empty if the
// container is not ours.
func PodUID(labels map[string]string) string { return labels[labelUID] }

// Parse reads what Labels has written.
func Parse(stored containers.Container) (Stored, error) {
	l := stored.Labels
	attempt, err := strconv.Atoi(l[labelAttempt])
	pod := runtime.PodRef{Namespace: l[labelNamespace], Name: l[labelPod], UID: l[labelUID]}
	if err = errors.Join(err, pod.Check()); err != nil || l[labelName] == "" {
		return Stored{}, fmt.Errorf("container %s has not the labels it should have: %w", stored.ID, err)
	}
	labels := map[string]string{}
	for k, v := range l {
		if name, ok := strings.CutPrefix(k, userLabel); ok {
			labels[name] = v
		}
	}
	s := Stored{
		Info: runtime.Container{
			ID: stored.ID, Pod: pod, Name: l[labelName], Attempt: attempt,
			Image: l[labelImage], ImageID: repoDigest(stored.Image, l[labelImageID]), State: runtime.Created, CreatedAt: stored.CreatedAt,
			Labels: labels, User: parseUserLabel(l[labelUser]),
		},
		Signal: l[labelSignal],
	}
	if q := l[labelQuota]; q != "" {
		if _, err := fmt.Sscanf(q, "%d/%d", &s.Quota.CPUQuota, &s.Quota.CPUPeriod); err != nil {
			return Stored{}, fmt.Errorf("container %s has the CPU quota %q: %w", stored.ID, q, err)
		}
	}
	for mode := range strings.SplitSeq(l[labelMode], ",") {
		s.TTY, s.Stdin, s.StdinOnce = s.TTY || mode == "tty", s.Stdin || mode == "stdin", s.StdinOnce || mode == "once"
	}
	return s, nil
}

// repoDigest names an image by its repository and digest, as a registry would.
func repoDigest(name, digest string) string {
	ref, err := reference.ParseDockerRef(name)
	if err != nil || digest == "" {
		return digest
	}
	return ref.Name() + "@" + digest
}
