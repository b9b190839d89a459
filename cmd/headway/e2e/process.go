package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Processes lists the processes of the cluster's containers whose command line,
// with a NUL after each argument, starts with prefix, as "pid program".
func (c *Cluster) Processes(prefix string) []string {
	c.tb.Helper()
	var found []string
	c.eachProcess(prefix, func(pid, program string) { found = append(found, pid+" "+program) })
	slices.Sort(found)
	return found
}

// Hostnames lists the hostname that each such process sees: its pod's name.
func (c *Cluster) Hostnames(prefix string) []string {
	c.tb.Helper()
	var found []string
	c.eachProcess(prefix, func(pid, _ string) {
		r := c.Run("", "nsenter", "--uts=/proc/"+pid+"/ns/uts", "hostname")
		if r.Code == 0 {
			found = append(found, strings.TrimSpace(r.Stdout))
		}
	})
	return found
}

func (c *Cluster) eachProcess(prefix string, visit func(pid, program string)) {
	c.tb.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		c.tb.Fatal(err)
	}
	for _, file := range files {
		cmdline, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		program, _, _ := strings.Cut(string(cmdline), "\x00")
		pid := filepath.Base(filepath.Dir(file))
		cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%s/cgroup", pid))
		if err == nil && strings.HasPrefix(string(cmdline), prefix) && strings.Contains(string(cgroup), "/"+c.id+"/") {
			visit(pid, program)
		}
	}
}

// CgroupValue reads a cgroup file of the container of a pod that runs sleep.
func (c *Cluster) CgroupValue(pod, controller, file string) string {
	c.tb.Helper()
	value := "no container process of the pod found"
	c.eachProcess("sleep", func(pid, _ string) {
		r := c.Run("", "nsenter", "--uts=/proc/"+pid+"/ns/uts", "hostname")
		if strings.TrimSpace(r.Stdout) != pod {
			return
		}
		cgroups, err := os.ReadFile("/proc/" + pid + "/cgroup")
		if err != nil {
			c.tb.Fatal(err)
		}
		for line := range strings.Lines(string(cgroups)) {
			_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
			controllers, path, _ := strings.Cut(rest, ":")
			if !slices.Contains(strings.Split(controllers, ","), controller) {
				continue
			}
			content, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, path, file))
			if err != nil {
				c.tb.Fatal(err)
			}
			value = strings.TrimSpace(string(content))
		}
	})
	return value
}

// PidsCgroup is the directory of the cluster's pods in the cgroups that bound
// the number of processes.
func (c *Cluster) PidsCgroup() string {
	for _, dir := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(dir, c.id)); err == nil {
			return filepath.Join(dir, c.id)
		}
	}
	return ""
}

// KillContainerd ends the cluster's private containerd with SIGKILL.
func (c *Cluster) KillContainerd() {
	c.tb.Helper()
	var pid int
	c.Eventually(30*time.Second, "containerd runs", func() error {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, file := range files {
			cmdline, err := os.ReadFile(file)
			if err != nil {
				continue // ended meanwhile
			}
			program, arguments, _ := strings.Cut(string(cmdline), "\x00")
			if filepath.Base(program) == "containerd" && strings.Contains(arguments, c.DataDir) {
				pid, err = strconv.Atoi(filepath.Base(filepath.Dir(file)))
				return err
			}
		}
		return errors.New("there is no such process")
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		c.tb.Fatalf("kill containerd: %v", err)
	}
}

// KillOne ends one of the cluster's processes that has the given command name's
// prefix with SIGKILL, as soon as there is one. pick chooses among n.
func (c *Cluster) KillOne(prefix string, pick func(n int) int) {
	c.tb.Helper()
	c.Eventually(30*time.Second, prefix+" runs", func() error {
		pids := c.named(prefix)
		if len(pids) == 0 {
			return errors.New("there is no such process")
		}
		return syscall.Kill(pids[pick(len(pids))], syscall.SIGKILL)
	})
}

// Shims is how many shims of containerd run for the cluster.
func (c *Cluster) Shims() int {
	c.tb.Helper()
	return len(c.named("containerd-shim"))
}

// named are the processes of the cluster, those of containers included, whose
// command name begins with prefix.
func (c *Cluster) named(prefix string) (pids []int) {
	c.tb.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		c.tb.Fatal(err)
	}
	for _, dir := range dirs {
		name, errName := os.ReadFile(filepath.Join(dir, "comm"))
		cgroup, errCgroup := os.ReadFile(filepath.Join(dir, "cgroup"))
		pid, errPid := strconv.Atoi(filepath.Base(dir))
		if errors.Join(errName, errCgroup, errPid) != nil {
			continue // ended meanwhile
		}
		ours := strings.Contains(string(cgroup), "/"+c.id+"/") || strings.Contains(string(cgroup), "/"+c.id+"-self")
		if ours && strings.HasPrefix(string(name), prefix) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Background is a command that runs beside the test.
type Background struct {
	cmd    *exec.Cmd
	output *output
	done   chan struct{}
}

// Background starts a shell script in the cluster's network namespace. It is
// ended by Stop or with the test.
func (c *Cluster) Background(script string) *Background {
	c.tb.Helper()
	b := &Background{cmd: c.in(context.Background(), "sh", "-c", script), output: &output{}, done: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = b.output, b.output
	// A group of its own, so that what the script starts ends with it.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		c.tb.Fatalf("start %s: %v", script, err)
	}
	go func() {
		defer close(b.done)
		_ = b.cmd.Wait() // it is ended by a signal
	}()
	c.tb.Cleanup(b.Stop)
	return b
}

// Stop ends it.
func (b *Background) Stop() {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-b.done
}

// Has fails if what it printed so far has no such text.
func (b *Background) Has(text string) error {
	if got := b.output.String(); !strings.Contains(got, text) {
		return fmt.Errorf("no %q in:\n%s", text, got)
	}
	return nil
}
