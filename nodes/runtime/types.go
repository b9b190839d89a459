package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// PodRef names a pod on this node, and determines its sandbox and log paths.
type PodRef struct {
	Namespace, Name, UID string
}

// Check rejects names that would lead out of the runtime's directories.
func (p PodRef) Check() error {
	for _, s := range []string{p.UID, p.Namespace, p.Name} {
		if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\x00") {
			return fmt.Errorf("invalid pod reference %q/%q uid %q", p.Namespace, p.Name, p.UID)
		}
	}
	return nil
}

// SandboxConfig describes what all containers of a pod share.
type SandboxConfig struct {
	PodRef
	Hostname string
	// HostNetwork, HostPID and HostIPC join the node's namespaces.
	HostNetwork, HostPID, HostIPC bool
	Sysctls                       map[string]string
	// ResolvConf is the content of /etc/resolv.conf, Hosts of /etc/hosts.
	ResolvConf, Hosts string
	// QOSClass (Guaranteed, Burstable, BestEffort) places the pod's cgroup;
	// Resources bound it; zero values are unlimited.
	QOSClass  string
	Resources Resources
	HostPorts []HostPort
	// Handler is the name of what runs the containers; empty for the default.
	Handler string `json:",omitempty"`
}

// HostPort maps a port of the node to the pod.
type HostPort struct {
	Protocol                string // TCP or UDP
	HostIP                  string
	HostPort, ContainerPort int32
}

// Resources are cgroup limits. Zero means none.
type Resources struct {
	CPUShares   uint64
	CPUQuota    int64 // microseconds of CPU in each CPUPeriod
	CPUPeriod   uint64
	MemoryBytes int64
	PidsLimit   int64
}

// Resize is what a running container is to have, and labels to keep with it.
type Resize struct {
	ID        string
	Resources Resources
	Labels    map[string]string
}

// Mount binds HostPath into a container. Propagation is "", "rprivate",
// "rslave" or "rshared".
type Mount struct {
	HostPath, ContainerPath string
	ReadOnly                bool
	Propagation             string
}

// ContainerConfig describes a container to create. Attempt counts its restarts;
// the log file is <logdir>/<Name>/<Attempt>.log, and when that is full it is
// rotated to <Attempt>.log.<time>.
type ContainerConfig struct {
	Name    string
	Attempt int
	Image   string // name in the image store
	// Command and Args replace the image's entrypoint and arguments as the
	// pod's command and args do.
	Command, Args []string
	WorkingDir    string
	Env           []string // NAME=value, in order
	Mounts        []Mount
	Resources     Resources
	OOMScoreAdj   int
	TTY, Stdin    bool
	StdinOnce     bool
	Security      Security
	// Target is a running container of the pod whose processes this one sees and
	// may signal; empty for its own alone.
	Target string
	// Labels are kept with the container and returned by List.
	Labels map[string]string
	// StopSignal overrides the image's, for example SIGTERM.
	StopSignal string
}

// Security is the container's part of the security contexts.
type Security struct {
	RunAsUser, RunAsGroup  *int64
	RunAsNonRoot           bool
	SupplementalGroups     []int64
	FSGroup                *int64
	Privileged             bool
	ReadOnlyRootFilesystem bool
	NoNewPrivileges        bool
	AddCapabilities        []string
	DropCapabilities       []string
	// Seccomp is "", "RuntimeDefault" or "Unconfined" ("" is Unconfined).
	Seccomp string
}

// ContainerState is a container's state.
type ContainerState string

// The states of a container.
const (
	Created ContainerState = "created"
	Running ContainerState = "running"
	Exited  ContainerState = "exited"
)

// Container is what is known of a container, running or not.
type Container struct {
	ID        string
	Pod       PodRef
	Name      string
	Attempt   int
	Image     string // as asked for
	ImageID   string // repository and digest
	User      *User  // nil if it is not known
	State     ContainerState
	CreatedAt time.Time
	StartedAt time.Time
	// Of an exited container:
	FinishedAt time.Time
	ExitCode   int32
	OOMKilled  bool
	// Reason is empty for a container that ran, StartError for one that could
	// not be started (ExitCode is then 128, as the kubelet reports it), and
	// ContainerStatusUnknown for one whose end was not observed (ExitCode is
	// 137). Message has the details.
	Reason, Message string
	LogPath         string
	Labels          map[string]string
}

// User is the user of the container's first process.
type User struct {
	UID, GID int64
	Groups   []int64
}

// Sandbox is what is known of a pod's sandbox.
type Sandbox struct {
	Pod       PodRef
	Ready     bool
	IPs       []string // empty for HostNetwork
	CreatedAt time.Time
	// Resources bound the whole pod.
	Resources Resources
	// CgroupPath is relative to the agent's cgroup root.
	CgroupPath string
	NetNSPath  string
}

// Pod is everything that the machine has of one pod.
type Pod struct {
	Sandbox    *Sandbox // nil if only containers are left
	Containers []Container
}

// Event reports that something about a pod changed, so that it should be
// observed again. Without a pod it reports that another process imported
// images.
type Event struct {
	PodUID string
}

// ImageInfo is an image of the local store.
type ImageInfo struct {
	Name   string // normalised reference
	Digest string
	Size   int64
	User   string
}

// Auth is a registry login; empty fields are anonymous.
type Auth struct{ Username, Password, IdentityToken string }

// ExecOptions are the streams of an exec or attach. Resize carries terminal
// sizes and may be nil.
type ExecOptions struct {
	Command        []string
	TTY            bool
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan TerminalSize
	Timeout        time.Duration // zero: none
}

// TerminalSize in characters.
type TerminalSize struct{ Width, Height uint16 }

// Stats are the usage figures of one container, from its cgroup.
type Stats struct {
	CPUNanos          uint64
	WorkingSetBytes   uint64
	MemoryUsageBytes  uint64
	ContainerID, Name string
}

// ErrNotFound is wrapped by the errors for containers and images that do not
// exist.
var ErrNotFound = errors.New("not found")

// ConfigError is an error of a container's configuration: trying again with the
// same configuration and image gives the same error. The kubelet reports it as
// CreateContainerConfigError.
type ConfigError struct{ Err error }

// Error implements error.
func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap implements errors.
func (e *ConfigError) Unwrap() error { return e.Err }

// InterruptedError reports that a container was not started for a reason that
// is not its own: it is unchanged and can be started again.
type InterruptedError struct{ Err error }

// Error implements error.
func (e *InterruptedError) Error() string { return e.Err.Error() }

// Unwrap implements errors.
func (e *InterruptedError) Unwrap() error { return e.Err }

// Interface is what the agent asks of the machine. Every method may be called
// from many goroutines and repeated: asking for something that exists returns
// it, and removing something that does not succeeds.
type Interface interface {
	// List returns every pod of this agent, including those of a previous run.
	List(ctx context.Context) (map[string]Pod, error)
	// Get returns one pod by UID; a zero Pod if nothing of it exists.
	Get(ctx context.Context, podUID string) (Pod, error)
	// Events delivers a hint for each container that started, exited or ran out
	// of memory. Hints can be lost if the reader is slow for long: List is the
	// truth. The channel closes when the runtime ends.
	Events() <-chan Event

	EnsureSandbox(ctx context.Context, cfg SandboxConfig) (Sandbox, error)
	// RemoveSandbox kills what still runs in the pod and removes its
	// containers, network, namespaces, cgroup and run directory. Logs stay
	// until RemoveLogs.
	RemoveSandbox(ctx context.Context, pod PodRef) error
	RemoveLogs(pod PodRef) error
	// LoggedPods lists the pods with logs on disk.
	LoggedPods() ([]PodRef, error)

	// Image finds an image in the local store by reference; ok is false if it
	// does not exist.
	Image(ctx context.Context, ref string) (info ImageInfo, ok bool, err error)
	// Pull fetches an image from its registry.
	Pull(ctx context.Context, ref string, auth []Auth) (ImageInfo, error)
	// Import loads an OCI or Docker archive, and returns the images' names.
	Import(ctx context.Context, archive io.Reader) ([]ImageInfo, error)
	Images(ctx context.Context) ([]ImageInfo, error)

	// CreateContainer creates and returns a container in state Created.
	CreateContainer(ctx context.Context, pod SandboxConfig, cfg ContainerConfig) (Container, error)
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the stop signal, waits up to grace, then kills.
	// It returns when the container has exited.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	// Mark adds labels to those that are kept with a container that runs; it leaves
	// others as they are.
	Mark(ctx context.Context, id string, labels map[string]string) error
	// Resize gives a pod and running containers of it other amounts of CPU and
	// memory, in an order in which the pod always has what its containers have. It
	// changes no container, and takes nothing from the pod, if one would have less
	// memory than it uses.
	Resize(ctx context.Context, podUID string, pod Resources, containers []Resize) error
	// RemoveContainer removes a container that does not run, and its log.
	RemoveContainer(ctx context.Context, id string) error

	// Exec runs a command in a running container and returns its exit code.
	Exec(ctx context.Context, id string, opts ExecOptions) (int, error)
	Attach(ctx context.Context, id string, opts ExecOptions) error
	Stats(ctx context.Context, podUID string) ([]Stats, error)
	// StorageUsage returns the disk space that the writable layers and logs of
	// a pod's containers take, by container name, in bytes, and the number of
	// all their files.
	StorageUsage(ctx context.Context, podUID string) (bytes map[string]int64, inodes int64, err error)
	// LogPath returns the path of a container's log file, whether it exists or
	// not.
	LogPath(pod PodRef, container string, attempt int) string
	// DialPod connects to a port on the pod's loopback, for port-forward.
	DialPod(ctx context.Context, podUID string, port int32) (io.ReadWriteCloser, error)
}
