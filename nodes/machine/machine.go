package machine

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Machine describes this machine and its resources.
type Machine struct {
	Memory                int64 // bytes
	Capacity, Allocatable corev1.ResourceList
	Info                  corev1.NodeSystemInfo
	dir                   string // on the file system that pods use
}

// Read reads the properties of the machine. dir is on the file system that
// contains the pods' data.
func Read(dir string, reserved corev1.ResourceList) (Machine, error) {
	m := Machine{dir: existing(dir)}
	mem, err := meminfo()
	if err != nil {
		return m, err
	}
	m.Memory = mem["MemTotal"]
	var fs unix.Statfs_t
	if err := unix.Statfs(m.dir, &fs); err != nil {
		return m, fmt.Errorf("size of the file system of %s: %w", dir, err)
	}
	m.Capacity = corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(goruntime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(m.Memory, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(int64(fs.Blocks)*fs.Bsize, resource.BinarySI),
	}
	m.Allocatable = m.Capacity.DeepCopy()
	for name, quantity := range reserved {
		if have, ok := m.Allocatable[name]; ok {
			have.Sub(quantity)
			if have.Sign() < 0 {
				have = resource.Quantity{}
			}
			m.Allocatable[name] = have
		}
	}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return m, fmt.Errorf("kernel version: %w", err)
	}
	m.Info = corev1.NodeSystemInfo{
		MachineID:       firstLine("/etc/machine-id"),
		SystemUUID:      firstLine("/sys/class/dmi/id/product_uuid"),
		BootID:          firstLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion:   string(bytes.TrimRight(uname.Release[:], "\x00")),
		OSImage:         osImage(),
		OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
	}
	if m.Info.SystemUUID == "" {
		m.Info.SystemUUID = m.Info.MachineID
	}
	return m, nil
}

// existing is the deepest directory of path that exists already.
func existing(path string) string {
	for path != "/" {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 1)]
		if path != "/" {
			path = strings.TrimSuffix(path, "/")
		}
	}
	return path
}

// meminfo is /proc/meminfo in bytes.
func meminfo() (map[string]int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, fmt.Errorf("read memory size: %w", err)
	}
	out := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			out[strings.TrimSuffix(fields[0], ":")] = n << 10
		}
	}
	return out, nil
}

func firstLine(name string) string {
	line, _, _ := strings.Cut(ReadSmall(name), "\n")
	return strings.TrimSpace(line)
}

func osImage() string {
	for line := range strings.Lines(ReadSmall("/etc/os-release")) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return "Linux"
}

// memoryLow is the kubelet's default threshold.
const memoryLow = 100 << 20

// MemoryPressure reports whether the machine is short of memory.
func (m Machine) MemoryPressure() bool {
	mem, err := meminfo()
	return err == nil && mem["MemAvailable"] < memoryLow
}

// Disk is the state of a file system.
type Disk struct{ Size, Available, Inodes, InodesFree int64 }

// Disk reads the state of the file system that pods use.
func (m Machine) Disk() (Disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(m.dir, &fs); err != nil {
		return Disk{}, fmt.Errorf("look at the file system of %s: %w", m.dir, err)
	}
	return Disk{
		Size: int64(fs.Blocks) * fs.Bsize, Available: int64(fs.Bavail) * fs.Bsize,
		Inodes: int64(fs.Files), InodesFree: int64(fs.Ffree),
	}, nil
}
