package runtime

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// User is who the first process of a container runs as.
type User struct {
	UID, GID int64
	Groups   []int64
}

// findUser finds the IDs of a user. With a group of its own named, the groups the
// image says the user is in count all the same.
func (r *Runtime) findUser(ctx context.Context, img *cachedImage, spec string) (execUser, error) {
	u, err := r.resolveUser(ctx, img, spec)
	name, _, grouped := strings.Cut(spec, ":")
	if err != nil || !grouped || name == "" {
		return u, err
	}
	alone, err := r.resolveUser(ctx, img, name)
	if err != nil {
		return u, err
	}
	u.groups = append(append([]uint32(nil), u.groups...), alone.groups...)
	return u, nil
}

func userLabelValue(uid, gid uint32, groups []uint32) string {
	list := make([]string, len(groups))
	for i, g := range groups {
		list[i] = strconv.FormatUint(uint64(g), 10)
	}
	return fmt.Sprintf("%d:%d:%s", uid, gid, strings.Join(list, ","))
}

// parseUserLabel is nil for a container made before the label was kept.
func parseUserLabel(value string) *User {
	f := strings.Split(value, ":")
	if len(f) != 3 {
		return nil
	}
	number := func(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
	u := &User{UID: number(f[0]), GID: number(f[1])}
	for g := range strings.SplitSeq(f[2], ",") {
		if g != "" {
			u.Groups = append(u.Groups, number(g))
		}
	}
	return u
}
