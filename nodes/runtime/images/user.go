package images

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	users "github.com/moby/sys/user"

	"headway.dev/nodes/runtime"
)

// IDs are the user and the groups that a container runs as.
type IDs struct {
	UID, GID uint32
	Groups   []uint32
}

// UserString returns the name to look up in the image's files: the pod's user
// takes precedence over the image's, and a group of the pod over the user's
// own.
func UserString(s runtime.Security, imageUser string) string {
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

// CheckNonRoot is the kubelet's check of runAsNonRoot, in its words.
func CheckNonRoot(pod runtime.PodRef, container string, s runtime.Security, imageUser string) error {
	if !s.RunAsNonRoot {
		return nil
	}
	where := fmt.Sprintf("(pod: %q, container: %s)", fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), container)
	if s.RunAsUser != nil {
		if *s.RunAsUser == 0 {
			return &runtime.ConfigError{Err: fmt.Errorf("container's runAsUser breaks non-root policy %s", where)}
		}
		return nil
	}
	name, _, _ := strings.Cut(imageUser, ":")
	uid, err := strconv.ParseInt(name, 10, 64)
	switch {
	case name == "" || err == nil && uid == 0:
		return &runtime.ConfigError{Err: fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)}
	case err != nil:
		return &runtime.ConfigError{Err: fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", name, where)}
	}
	return nil
}

// resolveUser finds the IDs by /etc/passwd and /etc/group of the image. The
// result depends on the image and the string alone and is kept.
func (s *Store) resolveUser(ctx context.Context, img *Image, spec string) (IDs, error) {
	if u, ok := img.users.Load(spec); ok {
		return u.(IDs), nil
	}
	var u IDs
	err := s.withRootfs(ctx, img, func(dir string) error {
		passwd, err := readImageFile(dir, "etc/passwd")
		if err != nil {
			return err
		}
		group, err := readImageFile(dir, "etc/group")
		if err != nil {
			return err
		}
		found, err := users.GetExecUser(spec, nil, bytes.NewReader(passwd), bytes.NewReader(group))
		if err != nil {
			return &runtime.ConfigError{Err: err}
		}
		u = IDs{UID: uint32(found.Uid), GID: uint32(found.Gid)}
		for _, g := range found.Sgids {
			u.Groups = append(u.Groups, uint32(g))
		}
		return nil
	})
	if err != nil {
		return u, fmt.Errorf("find user %q of the image: %w", spec, err)
	}
	img.users.Store(spec, u)
	return u, nil
}

// User finds the IDs of a user. If a group is named explicitly, the groups that
// the image gives the user apply as well.
func (s *Store) User(ctx context.Context, img *Image, spec string) (IDs, error) {
	u, err := s.resolveUser(ctx, img, spec)
	name, _, grouped := strings.Cut(spec, ":")
	if err != nil || !grouped || name == "" {
		return u, err
	}
	alone, err := s.resolveUser(ctx, img, name)
	if err != nil {
		return u, err
	}
	u.Groups = append(append([]uint32(nil), u.Groups...), alone.Groups...)
	return u, nil
}
