package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/examples"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
)

// Cluster is a running `headway up` with what is around it.
type Cluster struct {
	*Node
	Program   *Program
	Processes *Processes
	Traces    *Traces
	// Remote is the repository that the cluster follows, Clone a clone of it
	// to work in.
	Remote *Remote
	Clone  *Clone

	// kube is made at the first use, and kept: a handshake for each question
	// would take much of the machine.
	mu   sync.Mutex
	kube kubernetes.Interface
}

// Start runs a cluster on the example repository and waits until it answers.
// flags are added to those of `headway up`.
func Start(tb testing.TB, flags ...string) *Cluster {
	tb.Helper()
	c := New(tb, flags...)
	c.Up()
	c.cloneRemote()
	return c
}

// New prepares a cluster's directories and network and starts nothing.
func New(tb testing.TB, flags ...string) *Cluster {
	tb.Helper()
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		tb.Fatal(err)
	}
	id := "hwe2e" + hex.EncodeToString(random[:])
	// Not t.TempDir(): its long path does not leave room for socket names.
	dir, err := os.MkdirTemp("", "hw-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	node := &Node{DataDir: filepath.Join(dir, "data"), tb: tb, id: id, output: &output{}}
	node.HTTP = node.http()
	processes := &Processes{node}
	c := &Cluster{
		Node:      node,
		Program:   &Program{node: node, flags: flags},
		Processes: processes,
		Traces:    &Traces{node, processes},
		Remote:    &Remote{filepath.Join(node.DataDir, "repo.git"), node},
		Clone:     &Clone{filepath.Join(dir, "clone"), node},
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("leftovers in the test's directory: %v", err)
		}
	})
	newNetNS(tb, id)
	tb.Cleanup(c.cleanup)
	return c
}

// Up starts the program and waits until the API answers.
func (c *Cluster) Up() {
	c.tb.Helper()
	c.Program.Spawn()
	c.Eventually(time.Minute, "the API answers", func() error {
		if err := c.Program.Running(); err != nil {
			c.tb.Fatalf("%v\n%s", err, c.output)
		}
		client, err := c.client()
		if err != nil {
			return err
		}
		_, err = client.Discovery().ServerVersion()
		return err
	})
}

// Headway runs a headway command against the cluster.
func (c *Cluster) Headway(args ...string) Result {
	c.tb.Helper()
	return c.Run("", append([]string{headway, "--data-dir", c.DataDir}, args...)...)
}

// Kubectl runs the machine's kubectl and fails the test if that fails.
func (c *Cluster) Kubectl(args ...string) string {
	c.tb.Helper()
	return c.must(c.Run("", append([]string{"kubectl"}, args...)...), "kubectl", args)
}

// KubectlIn is Kubectl with a standard input.
func (c *Cluster) KubectlIn(stdin string, args ...string) string {
	c.tb.Helper()
	return c.must(c.Run(stdin, append([]string{"kubectl"}, args...)...), "kubectl", args)
}

func (c *Cluster) client() (kubernetes.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kube != nil {
		return c.kube, nil
	}
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c.kube = client
	return client, nil
}

// Config reaches the API from inside the cluster's network namespace.
func (c *Cluster) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.DataDir, "kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.Dial = c.dial
	config.QPS = -1
	return config, nil
}

// Client reaches the API as the administrator.
func (c *Cluster) Client() kubernetes.Interface {
	c.tb.Helper()
	client, err := c.client()
	if err != nil {
		c.tb.Fatal(err)
	}
	return client
}

// cleanup ends the cluster and finds what it leaves behind.
func (c *Cluster) cleanup() {
	if c.Program.cmd != nil {
		if c.tb.Failed() {
			c.tb.Logf("--- pods and events:\n%s", c.Run("", "kubectl", "get", "pods,events", "-A", "-o", "wide", "--request-timeout=10s").Stdout)
		}
		c.Program.Stop()
	}
	if c.tb.Failed() {
		c.tb.Logf("--- headway's output:\n%s", c.output.tail(200))
	}
	if strings.Contains(c.output.String(), "WARNING: DATA RACE") {
		c.tb.Errorf("headway has a data race:\n%s", c.output)
	}
	if c.Program.cmd == nil {
		return
	}
	if r := c.Headway("cleanup", "--yes"); r.Code != 0 {
		c.tb.Errorf("headway cleanup: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.Traces.nothingLeft(func() []string {
		if err := os.Remove(c.cpuacct()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return []string{err.Error()}
		}
		return nil
	})
	c.Traces.None(c.DataDir)
}

// Deployed waits until the commit is applied and everything of it is healthy.
func (c *Cluster) Deployed(commit string) {
	c.tb.Helper()
	c.Eventually(90*time.Second, "commit "+commit+" is deployed", func() error {
		return c.kustomization(func(k kustomization) error { return k.deployed(commit) })
	})
}

type kustomization struct{ kustomizev1.Kustomization }

func (c *Cluster) kustomization(check func(kustomization) error) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	data, err := client.Discovery().RESTClient().Get().AbsPath("/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/headway-system/kustomizations/cluster").DoRaw(context.Background())
	if err != nil {
		return err
	}
	var k kustomization
	if err := json.Unmarshal(data, &k); err != nil {
		return err
	}
	return check(k)
}

// deployed reports whether the commit is applied and healthy.
func (k kustomization) deployed(commit string) error {
	ready := meta.FindStatusCondition(k.Status.Conditions, "Ready")
	if ready == nil {
		return fmt.Errorf("no Ready condition")
	}
	if !strings.HasSuffix(k.Status.LastAppliedRevision, commit) || ready.Status != "True" {
		return fmt.Errorf("applied %s, attempted %s, Ready %s: %s: %s", k.Status.LastAppliedRevision,
			k.Status.LastAttemptedRevision, ready.Status, ready.Reason, ready.Message)
	}
	return nil
}

// Metric is the value of one of the program's own metrics without labels.
func (c *Cluster) Metric(name string) (float64, error) {
	client, err := c.client()
	if err != nil {
		return 0, err
	}
	data, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(context.Background())
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	lines.Buffer(nil, len(data)+1)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("the program has no metric %s", name)
}

// NewRemote makes a bare repository from the example beside the data dir, for
// a server to serve, and clones it.
func (c *Cluster) NewRemote() {
	c.tb.Helper()
	c.Remote.Dir = filepath.Join(filepath.Dir(c.DataDir), "remote.git")
	if err := write.Create(c.Remote.Dir, "main", examples.Repo(), git.Signature{Name: "Ada", Email: "ada@example.com"}, "Start"); err != nil {
		c.tb.Fatal(err)
	}
	c.cloneRemote()
}

// cloneRemote clones the repository that the cluster follows.
func (c *Cluster) cloneRemote() {
	c.tb.Helper()
	c.must(c.Run("", "git", "clone", "-q", c.Remote.Dir, c.Clone.Dir), "git clone", nil)
}
