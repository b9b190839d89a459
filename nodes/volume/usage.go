package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// The bounds of one measurement: whoever makes more files than that is measured
// by those that were seen.
const (
	measureTime    = 5 * time.Second
	measureEntries = 500_000
	measureDepth   = 256
)

// Usage returns the disk space of a pod's emptyDirs by volume, that of the rest
// of its directory, and the number of all their inodes: a file counts once,
// however many names it has. Reading ends at the bounds above, and stays within
// the pod's own files: no link and no mount is followed.
func (m *Manager) Usage(p *corev1.Pod) (volumes map[string]int64, other, inodes int64, err error) {
	walk := &measure{deadline: time.Now().Add(measureTime), linked: map[uint64]bool{}}
	volumes = map[string]int64{}
	for _, v := range p.Spec.Volumes {
		if v.EmptyDir == nil || v.EmptyDir.Medium == corev1.StorageMediumMemory {
			continue
		}
		n, err := walk.dir(m.volumeDir(p.UID, v.Name))
		if err != nil {
			return nil, 0, 0, fmt.Errorf("measure volume %q: %w", v.Name, err)
		}
		volumes[v.Name] = n
	}
	for _, name := range []string{"containers", "etc-hosts"} {
		n, err := walk.dir(filepath.Join(m.PodDir(p.UID), name))
		if err != nil {
			return nil, 0, 0, fmt.Errorf("measure the pod's files: %w", err)
		}
		other += n
	}
	return volumes, other, walk.inodes, nil
}

// measure adds up blocks and inodes.
type measure struct {
	deadline time.Time
	entries  int // names that were seen, which are bounded
	inodes   int64
	device   uint64
	linked   map[uint64]bool // files with several names that were counted
}

// dir is the size of what is at path, 0 if nothing is.
func (m *measure) dir(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); errors.Is(err, unix.ENOENT) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	m.device = st.Dev
	m.inodes++
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return st.Blocks * 512, nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return st.Blocks*512 + m.below(os.NewFile(uintptr(fd), path), 0), nil
}

func (m *measure) over() bool {
	m.entries++
	return m.entries > measureEntries || m.entries%256 == 0 && time.Now().After(m.deadline)
}

// below adds up an open directory, and closes it. What changes meanwhile is
// counted as it was found.
func (m *measure) below(dir *os.File, depth int) (total int64) {
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			if m.over() {
				return total
			}
			var st unix.Stat_t
			if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT) != nil || st.Dev != m.device {
				continue
			}
			isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
			if !isDir && st.Nlink > 1 {
				if m.linked[st.Ino] {
					continue
				}
				m.linked[st.Ino] = true
			}
			m.inodes++
			total += st.Blocks * 512
			if !isDir || depth >= measureDepth {
				continue
			}
			fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				continue
			}
			total += m.below(os.NewFile(uintptr(fd), name), depth+1)
		}
		if err != nil {
			return total
		}
	}
}
