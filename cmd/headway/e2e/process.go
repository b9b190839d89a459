package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Processes lists the processes of the cluster's containers whose program
// starts with prefix, as "pid program".
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
		if err == nil && strings.HasPrefix(program, prefix) && strings.Contains(string(cgroup), "/"+c.id+"/") {
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
