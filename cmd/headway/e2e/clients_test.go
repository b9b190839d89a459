package e2e_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"headway.dev/cmd/headway/e2e"
)

// Programs that know nothing of Headway work with its API, unchanged. They
// share a cluster, and each has a namespace of its own.
func TestClients(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.AllImages(t), "--listen", "0.0.0.0:6443")
	// The programs run side by side, and the cluster ends after all of them. They
	// wait most of the time: -parallel, which is for what computes, is not for them.
	t.Run("side by side", func(t *testing.T) {
		var all sync.WaitGroup
		for name, run := range map[string]func(*testing.T, *e2e.Cluster){
			"Helm 3":     helm3,
			"Helm 4":     helm4,
			"kubectl":    kubectlVerbs,
			"operator":   operator,
			"Python":     python,
			"JavaScript": javascript,
		} {
			all.Go(func() {
				t.Run(name, func(t *testing.T) { run(t, c) })
			})
		}
		all.Wait()
	})
	t.Run("kubectl and the node", func(t *testing.T) { runVerbs(t, c, nodeVerbs, 1) })
}

// python is the distribution's python3-kubernetes.
func python(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	// The distribution's own Python, whatever else is installed, has the package.
	succeeds(t, c.Run(script(t, "python", "client.py"), "env", "PYTHONUNBUFFERED=1", "/usr/bin/python3", "-"))
}

// javascript is npm's @kubernetes/client-node.
func javascript(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	// Programs that are read from standard input find packages in the working
	// directory.
	succeeds(t, c.Run(script(t, "javascript", "client.mjs"), "env", "--chdir="+e2e.JavaScript(t), "node", "--input-type=module", "-"))
}

func script(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", filepath.Join(path...)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func succeeds(t *testing.T, r e2e.Result) {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	t.Log(r.Stdout)
}
