package runtime

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
)

// ConfigError is an error of a container's configuration: trying again with
// the same configuration and image gives the same. The kubelet reports it as
// CreateContainerConfigError.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// execUser is who a container runs as.
type execUser struct {
	uid, gid uint32
	groups   []uint32
}

// userString is what to look up in the image's files: the pod's user counts
// before the image's, and a group of the pod's before the user's own.
func userString(s Security, imageUser string) string {
	name := imageUser
	if s.RunAsUser != nil {
		name = strconv.FormatInt(*s.RunAsUser, 10)
	}
	if s.RunAsGroup != nil {
		name, _, _ = strings.Cut(name, ":")
		if name == "" {
			name = "0"
		}
		name += ":" + strconv.FormatInt(*s.RunAsGroup, 10)
	}
	return name
}

// checkNonRoot is the kubelet's check of runAsNonRoot, in its words.
func checkNonRoot(pod PodRef, container string, s Security, imageUser string) error {
	if !s.RunAsNonRoot {
		return nil
	}
	where := fmt.Sprintf("(pod: %q, container: %s)", fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), container)
	if s.RunAsUser != nil {
		if *s.RunAsUser == 0 {
			return &ConfigError{fmt.Errorf("container's runAsUser breaks non-root policy %s", where)}
		}
		return nil
	}
	name, _, _ := strings.Cut(imageUser, ":")
	uid, err := strconv.ParseInt(name, 10, 64)
	switch {
	case name == "" || err == nil && uid == 0:
		return &ConfigError{fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)}
	case err != nil:
		return &ConfigError{fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", name, where)}
	}
	return nil
}

// resolveUser finds the IDs by /etc/passwd and /etc/group of the image. The
// result depends on the image and the string alone and is kept.
func (r *Runtime) resolveUser(ctx context.Context, img *cachedImage, spec string) (execUser, error) {
	if u, ok := img.users.Load(spec); ok {
		return u.(execUser), nil
	}
	var u execUser
	err := r.withRootfs(ctx, img, func(dir string) error {
		passwd, err := readImageFile(dir, "etc/passwd")
		if err != nil {
			return err
		}
		group, err := readImageFile(dir, "etc/group")
		if err != nil {
			return err
		}
		found, err := user.GetExecUser(spec, nil, bytes.NewReader(passwd), bytes.NewReader(group))
		if err != nil {
			return &ConfigError{err}
		}
		u = execUser{uid: uint32(found.Uid), gid: uint32(found.Gid)}
		for _, g := range found.Sgids {
			u.groups = append(u.groups, uint32(g))
		}
		return nil
	})
	if err != nil {
		return u, fmt.Errorf("find user %q of the image: %w", spec, err)
	}
	img.users.Store(spec, u)
	return u, nil
}
