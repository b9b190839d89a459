package e2e_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/cmd/headway/e2e"
)

// The commands that the other stories do not tell of: version, validate, sync,
// status for programs, image import, and the kubectl that is built in.
func TestCommands(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	head := c.Clone.Git("rev-parse", "HEAD")
	c.Deployed(head)

	var version struct{ Version, Kubernetes string }
	decode(t, c.Headway("version", "-o", "json"), &version)
	if version.Version == "" || !strings.HasPrefix(version.Kubernetes, "v1.37") {
		t.Errorf("version is %+v", version)
	}

	if r := c.Headway("validate", c.Clone.Dir); r.Code != 0 || !strings.Contains(r.Stdout, "4 objects, no fault") {
		t.Errorf("validate of the example: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.Clone.Write("bad/deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: bad\nspec:\n  replicas: -1\n")
	r := c.Headway("validate", filepath.Join(c.Clone.Dir, "bad"))
	if r.Code != 1 || !strings.Contains(r.Stderr, "bad/deployment.yaml:6: Deployment/bad: spec.replicas: Invalid value: -1: must be greater than or equal to 0") {
		t.Errorf("validate of a fault: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}

	if r := c.Headway("sync"); r.Code != 0 {
		t.Errorf("sync: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	var status struct {
		Sources []struct {
			Commit         struct{ SHA string }
			Kustomizations []struct {
				Sync    string
				Healthy bool
			}
		}
	}
	decode(t, c.Headway("status", "-o", "json"), &status)
	if len(status.Sources) != 1 || status.Sources[0].Commit.SHA != head || len(status.Sources[0].Kustomizations) != 1 ||
		status.Sources[0].Kustomizations[0].Sync != "Synced" || !status.Sources[0].Kustomizations[0].Healthy {
		t.Errorf("status is %+v", status)
	}

	archive := filepath.Join(e2e.BusyboxImages(t), "busybox.tar")
	imported := c.Headway("image", "import", archive)
	if imported.Code != 0 || !strings.Contains(imported.Stdout, "headway.dev/test/busybox:1") {
		t.Errorf("image import: exit code %d\n%s%s", imported.Code, imported.Stdout, imported.Stderr)
	}
	run := c.Headway("kubectl", "run", "box", "--image=headway.dev/test/busybox:1", "--restart=Never", "--", "echo", "hello from the image")
	if run.Code != 0 || !strings.Contains(run.Stdout, "pod/box created") {
		t.Errorf("headway kubectl run: exit code %d\n%s%s", run.Code, run.Stdout, run.Stderr)
	}
	c.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/box", "--timeout=30s")
	if got := c.Headway("kubectl", "logs", "box").Stdout; got != "hello from the image\n" {
		t.Errorf("the imported image printed %q", got)
	}
}

func decode(t *testing.T, r e2e.Result, into any) {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("exit code %d: %s", r.Code, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), into); err != nil {
		t.Fatalf("%v in %s", err, r.Stdout)
	}
}
