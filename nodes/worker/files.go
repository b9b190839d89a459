package worker

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/logs"
	"headway.dev/nodes/machine"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// podDir is a pod's directory on this machine.
type podDir string

// hosts is the file that is mounted at /etc/hosts.
func (d podDir) hosts() string { return filepath.Join(string(d), "etc-hosts") }

// writeHosts writes in place: running containers have the file bound.
func writeHosts(name, content string) error {
	if machine.ReadSmall(name) == content {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make the pod's directory: %w", err)
	}
	if err := os.WriteFile(name, []byte(content), hostsFileMode); err != nil {
		return fmt.Errorf("write the pod's hosts file: %w", err)
	}
	return nil
}

func terminationPath(c *corev1.Container) string {
	if c.TerminationMessagePath != "" {
		return c.TerminationMessagePath
	}
	return corev1.TerminationMessagePathDefault
}

func (d podDir) terminationFile(name string, attempt int) string {
	return filepath.Join(string(d), "containers", name, strconv.Itoa(attempt))
}

// terminationLog makes the file a container may leave its last words in;
// whatever user it runs as must be able to write it.
func (d podDir) terminationLog(name string, attempt int) (string, error) {
	file := d.terminationFile(name, attempt)
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return "", fmt.Errorf("make the termination log: %w", err)
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return "", fmt.Errorf("make the termination log: %w", err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		return "", fmt.Errorf("make the termination log: %w", err)
	}
	return file, nil
}

// The kubelet's bounds of a termination message.
const (
	maxMessage      = 4096
	maxLogMessage   = 2048
	maxLogLines     = 80
	maxProbeCapture = 10 << 10
)

// readMessages fetches the termination messages of containers that have died
// since the last look.
func (l *learned) readMessages(p *corev1.Pod, observed runtime.Pod, dir podDir, log func(runtime.Container) string) {
	specs := map[string]*corev1.Container{}
	for c := range pod.Containers(p) {
		specs[c.Name] = c
	}
	alive := map[string]bool{}
	for _, c := range observed.Containers {
		alive[c.ID] = true
		spec := specs[c.Name]
		if _, have := l.messages[c.ID]; have || spec == nil || c.State != runtime.Exited {
			continue
		}
		message := tailOf(dir.terminationFile(c.Name, c.Attempt))
		if message == "" && spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError && c.ExitCode != 0 {
			message = logs.Tail(log(c), maxLogLines, maxLogMessage)
		}
		l.messages[c.ID] = message
	}
	for id := range l.messages {
		if !alive[id] {
			delete(l.messages, id)
		}
	}
	for id := range l.hooks {
		if !alive[id] {
			delete(l.hooks, id)
		}
	}
}

// tailOf is the end of a file that a container wrote: at most maxMessage bytes,
// whatever is there.
func tailOf(name string) string {
	f, err := machine.OpenRegular(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	if info.Size() > maxMessage {
		if _, err := f.Seek(-maxMessage, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxMessage))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}
