package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/cmd/headway/e2e"
)

// plainRepo replaces the example by ten plain manifests, one ConfigMap each,
// and returns the commit.
func plainRepo(t *testing.T, c *e2e.Cluster) string {
	t.Helper()
	c.Clone.Git("rm", "-r", "-q", ".")
	for i := range 10 {
		c.Clone.Write(fmt.Sprintf("config-%d.yaml", i), configMap(i, "one"))
	}
	return c.Clone.Push("Ten ConfigMaps")
}

func configMap(i int, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-%d\n  namespace: default\ndata:\n  key: %s\n", i, value)
}

func configValue(t *testing.T, c *e2e.Cluster, name string) (string, error) {
	t.Helper()
	cm, err := c.Client().CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return cm.Data["key"], nil
}

func wantValue(t *testing.T, c *e2e.Cluster, name, want string) {
	t.Helper()
	c.Eventually(20*time.Second, fmt.Sprintf("ConfigMap %s holds %q", name, want), func() error {
		got, err := configValue(t, c, name)
		if err == nil && got != want {
			err = fmt.Errorf("holds %q", got)
		}
		return err
	})
}

// A commit with one invalid manifest among ten changes nothing; status names
// file, line and field; the next good commit deploys.
func TestInvalidManifestChangesNothing(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	good := plainRepo(t, c)
	c.Deployed(good)

	for i := range 9 {
		c.Clone.Write(fmt.Sprintf("config-%d.yaml", i), configMap(i, "two"))
	}
	c.Clone.Write("config-9.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-9\n  namespace: default\ndata:\n  key: two\nimmutible: true\n")
	bad := c.Clone.Push("Misspell a field")
	var status e2e.Result
	c.Eventually(30*time.Second, "status names the fault", func() error {
		status = c.Headway("status")
		for _, want := range []string{"config-9.yaml:8", "immutible", bad[:7]} {
			if !strings.Contains(status.Stdout, want) {
				return fmt.Errorf("no %q in:\n%s", want, status.Stdout)
			}
		}
		return nil
	})
	for i := range 10 {
		if got, err := configValue(t, c, fmt.Sprintf("config-%d", i)); err != nil || got != "one" {
			t.Errorf("config-%d holds %q, %v; the bad commit must change nothing", i, got, err)
		}
	}

	c.Clone.Write("config-9.yaml", configMap(9, "three"))
	c.Deployed(c.Clone.Push("Spell it right"))
	wantValue(t, c, "config-0", "two")
	wantValue(t, c, "config-9", "three")
}

// Removing a file prunes its objects and nothing else; what nobody declared in
// Git is not touched; a hand edit of a field that Git manages is put back.
func TestPruneAndDrift(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(plainRepo(t, c))
	c.Kubectl("create", "configmap", "by-hand", "-n", "default", "--from-literal=key=mine")

	c.Clone.Git("rm", "-q", "config-3.yaml")
	c.Deployed(c.Clone.Push("Remove one"))
	c.Eventually(20*time.Second, "config-3 is pruned", func() error {
		if _, err := configValue(t, c, "config-3"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("get config-3: %w", err)
		}
		return nil
	})
	for i := range 10 {
		if _, err := configValue(t, c, fmt.Sprintf("config-%d", i)); i != 3 && err != nil {
			t.Errorf("config-%d: %v", i, err)
		}
	}
	wantValue(t, c, "by-hand", "mine")

	// A field that Git manages comes back, one that it does not stays.
	configMaps := c.Client().CoreV1().ConfigMaps("default")
	patch := `{"metadata":{"annotations":{"example.com/owner":"ada"}},"data":{"key":"edited"}}`
	if _, err := configMaps.Patch(t.Context(), "config-0", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, c, "config-0", "one")
	cm, err := configMaps.Get(t.Context(), "config-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := cm.Annotations["example.com/owner"]; got != "ada" {
		t.Errorf("an annotation that Git does not manage is %q, want it left alone", got)
	}
	wantValue(t, c, "by-hand", "mine")

	// A deleted object comes back too.
	if err := configMaps.Delete(t.Context(), "config-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, c, "config-1", "one")
}

// A rollback is a revert commit on the branch that the cluster follows, and
// the log of the Deployment lists both commits.
func TestRollbackIsARevertCommit(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	first := c.Clone.Git("rev-parse", "HEAD")
	c.Deployed(first)
	c.Clone.Replace(overlayFile, "count: 3", "count: 2")
	second := c.Clone.Push("Run two replicas")
	c.Deployed(second)
	readyPods(t, c, 2)

	r := c.Headway("rollback")
	if r.Code != 0 {
		t.Fatalf("headway rollback: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.Clone.Git("pull", "-q", "--ff-only")
	log := c.Clone.Git("log", "-1", "--format=%s%n%b")
	if !strings.Contains(log, `Revert "Run two replicas"`) || !strings.Contains(log, "This reverts commit "+second+".") {
		t.Errorf("the newest commit is not the revert:\n%s", log)
	}
	if parent := c.Clone.Git("rev-parse", "HEAD^"); parent != second {
		t.Errorf("the revert's parent is %s, want %s", parent, second)
	}
	if diff := c.Clone.Git("diff", "--stat", first, "HEAD"); diff != "" {
		t.Errorf("the revert is not the tree of before:\n%s", diff)
	}
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	readyPods(t, c, 3)

	journal := c.Headway("log", "deploy/hello")
	for _, want := range []string{second[:7], c.Clone.Git("rev-parse", "--short=7", "HEAD"), "Run two replicas", "Revert"} {
		if !strings.Contains(journal.Stdout, want) {
			t.Errorf("headway log deploy/hello has no %q:\n%s%s", want, journal.Stdout, journal.Stderr)
		}
	}
}

// plan prints what an unmerged branch or a working directory would change, and
// changes nothing; its exit code reports whether there is something.
func TestPlan(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	head := c.Clone.Git("rev-parse", "HEAD")
	c.Deployed(head)
	if r := c.Headway("plan", "main"); r.Code != 0 {
		t.Errorf("plan of what is deployed: exit code %d, want 0\n%s%s", r.Code, r.Stdout, r.Stderr)
	}

	c.Clone.Git("checkout", "-q", "-b", "fewer")
	c.Clone.Replace(overlayFile, "count: 3", "count: 1")
	c.Clone.Push("Run one replica")
	r := c.Headway("plan", "fewer")
	if r.Code != 2 {
		t.Errorf("plan of changes: exit code %d, want 2\n%s", r.Code, r.Stderr)
	}
	for _, want := range []string{"Deployment", "hello", "spec.replicas", "3", "1"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("plan has no %q:\n%s", want, r.Stdout)
		}
	}
	if r := c.Headway("plan", "--path", c.Clone.Dir); r.Code != 2 || !strings.Contains(r.Stdout, "spec.replicas") {
		t.Errorf("plan of a directory: exit code %d, want 2 and spec.replicas\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.Clone.Write(overlayFile, "resources: [")
	c.Clone.Push("Break it")
	if r := c.Headway("plan", "fewer"); r.Code != 1 || !strings.Contains(r.Stderr+r.Stdout, overlayFile) {
		t.Errorf("plan of a broken branch: exit code %d, want 1 and the file\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := c.Headway("plan", "no-such-branch"); r.Code != 1 || !strings.Contains(r.Stderr, "no-such-branch") {
		t.Errorf("plan of no branch: exit code %d, want 1 and the name\n%s", r.Code, r.Stderr)
	}

	deployment, err := c.Client().AppsV1().Deployments("hello").Get(t.Context(), "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := *deployment.Spec.Replicas; got != 3 {
		t.Errorf("replicas are %d after plans, want 3", got)
	}
	c.Deployed(head)
}

// While Git cannot be reached everything keeps running, and status says since
// when and what is tried next; when Git is back the cluster catches up.
func TestGitUnreachable(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	before := readyPods(t, c, 3)
	url := "http://" + serviceIP(t, c)

	away := c.Remote.Dir + ".away"
	if err := os.Rename(c.Remote.Dir, away); err != nil {
		t.Fatal(err)
	}
	c.Headway("sync") // fails, and makes the cluster notice at once
	c.Eventually(30*time.Second, "status says that Git is unreachable, since when, and what is next", func() error {
		r := c.Headway("status")
		for _, want := range []string{"since", "next"} {
			if !strings.Contains(r.Stdout, want) {
				return fmt.Errorf("no %q in:\n%s%s", want, r.Stdout, r.Stderr)
			}
		}
		return nil
	})
	// Nor does a restart without Git stop anything.
	c.Program.Stop()
	c.Up()
	if err := answers(c, url, "Hello"); err != nil {
		t.Errorf("the Service while Git is away: %v", err)
	}
	if err := podsAre(c, before); err != nil {
		t.Errorf("pods while Git is away: %v", err)
	}

	if err := os.Rename(away, c.Remote.Dir); err != nil {
		t.Fatal(err)
	}
	c.Clone.Replace(overlayFile, "count: 3", "count: 2")
	commit := c.Clone.Push("Run two replicas")
	c.Headway("sync")
	c.Deployed(commit)
	readyPods(t, c, 2)
}

// A push to the local repository is noticed by itself.
func TestPushIsNoticed(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(plainRepo(t, c))
	if _, err := os.Stat(filepath.Join(c.Remote.Dir, "HEAD")); err != nil {
		t.Fatalf("the repository is not bare: %v", err)
	}
	c.Clone.Write("config-0.yaml", configMap(0, "two"))
	c.Clone.Push("Change one line")
	wantValue(t, c, "config-0", "two")
}
