package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/cmd/headway/e2e"
)

// A machine has one cluster: one of another data dir is refused with the reason,
// and cleaning up after it takes nothing from the first.
func TestTwoDataDirs(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	pods := readyPods(t, c, 3)
	before := c.Processes.List("/web-")
	url := "http://" + serviceIP(t, c)

	other := filepath.Join(t.TempDir(), "data")
	r := c.Run("", e2e.Binary(), "up", "--data-dir", other, "--listen", "127.0.0.1:7443")
	if r.Code == 0 || !strings.Contains(r.Stderr, "belongs to the cluster of the data dir "+c.DataDir+",") || !strings.Contains(r.Stderr, "headway cleanup --data-dir "+c.DataDir) {
		t.Errorf("up with another data dir: exit code %d\n%s", r.Code, r.Stderr)
	}
	r = c.Run("", e2e.Binary(), "cleanup", "--data-dir", other, "--yes")
	if r.Code != 0 || !strings.Contains(r.Stdout, "left the network, the rules and the cgroups: they are those of the cluster of "+c.DataDir) {
		t.Errorf("cleanup of the other data dir: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("the other data dir is still there")
	}
	if err := answers(c, url, "Hello"); err != nil {
		t.Errorf("the Service afterwards: %v", err)
	}
	if err := podsAre(c, pods); err != nil {
		t.Error(err)
	}
	if after := c.Processes.List("/web-"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("processes are %v, before they were %v", after, before)
	}
	if r := c.Headway("cleanup", "--yes"); r.Code == 0 || !strings.Contains(r.Stderr, "in use by another process") {
		t.Errorf("cleanup of what runs: exit code %d\n%s", r.Code, r.Stderr)
	}
}
