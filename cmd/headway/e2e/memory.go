package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is the program's resident memory that is no file's: now, and at most
// since ForgetPeak or the start.
type Memory struct{ Anonymous, Peak int64 }

// Memory reads proc(5)'s status. The peak includes the program's own pages, of
// which there are less than 200 MB.
func (c *Cluster) Memory() Memory {
	c.tb.Helper()
	content, err := os.ReadFile(c.proc("status"))
	if err != nil {
		c.tb.Fatal(err)
	}
	var m Memory
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "RssAnon:":
			m.Anonymous = kib << 10
		case "VmHWM:":
			m.Peak = kib << 10
		}
	}
	if m.Anonymous == 0 || m.Peak == 0 {
		c.tb.Fatalf("no memory in\n%s", content)
	}
	return m
}

// ForgetPeak begins to measure the peak anew.
func (c *Cluster) ForgetPeak() {
	c.tb.Helper()
	if err := os.WriteFile(c.proc("clear_refs"), []byte("5"), 0); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *Cluster) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid), file)
}
