package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// kubectl creates objects without a manifest, restarts, pauses and resumes a
// Deployment, and deletes with and without what belongs to it. The Service is
// served by nftables.
func TestKubectlCreateRolloutAndDelete(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--proxy-mode", "nftables")
	k := func(args ...string) string { t.Helper(); return c.Kubectl(args...) }
	contains(t, "create namespace", k("create", "namespace", "team"), "namespace/team created")
	contains(t, "create configmap", k("create", "configmap", "settings", "-n", "team", "--from-literal=colour=blue"), "configmap/settings created")
	contains(t, "create secret", k("create", "secret", "generic", "keys", "-n", "team", "--from-literal=token=s3cret"), "secret/keys created")
	contains(t, "describe secret", k("describe", "secret", "keys", "-n", "team"), "token:  6 bytes")
	contains(t, "create service", k("create", "service", "clusterip", "web", "-n", "team", "--tcp=80:8080"), "service/web created")
	contains(t, "create deployment", k("create", "deployment", "web", "-n", "team", "--image=headway.dev/examples/web:1.0.0", "--port=8080"), "deployment.apps/web created")
	k("rollout", "status", "deploy/web", "-n", "team", "--timeout=60s")
	url := "http://" + k("get", "service", "web", "-n", "team", "-o", "jsonpath={.spec.clusterIP}")
	c.Eventually(20*time.Second, "the Service answers", func() error { return answers(c, url, "") })
	k("set", "env", "deploy/web", "-n", "team", "--from=configmap/settings", "MESSAGE=one")
	k("set", "resources", "deploy/web", "-n", "team", "--requests=cpu=10m")
	k("label", "deploy/web", "-n", "team", "tier=front")
	k("annotate", "deploy/web", "-n", "team", "note=mine")
	k("rollout", "status", "deploy/web", "-n", "team", "--timeout=60s")

	pods := func() string {
		return k("get", "pods", "-n", "team", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}")
	}
	onePod := func() string {
		t.Helper()
		var pod string
		// Longer than the grace period: the first process of a container that is
		// stopped before it handles SIGTERM does not get the signal.
		c.Eventually(60*time.Second, "one pod is left", func() error {
			if pod = pods(); pod == "" || strings.Contains(pod, " ") {
				return fmt.Errorf("there are %q", pod)
			}
			return nil
		})
		return pod
	}
	before := onePod()
	contains(t, "rollout restart", k("rollout", "restart", "deploy/web", "-n", "team"), "restarted")
	k("rollout", "status", "deploy/web", "-n", "team", "--timeout=60s")
	after := onePod()
	if after == before {
		t.Errorf("the restart left pod %s", before)
	}

	contains(t, "rollout pause", k("rollout", "pause", "deploy/web", "-n", "team"), "paused")
	k("set", "env", "deploy/web", "-n", "team", "MESSAGE=two")
	c.Eventually(20*time.Second, "the change of the paused Deployment is seen", func() error {
		if got := k("get", "deploy/web", "-n", "team", "-o", "jsonpath={.metadata.generation} {.status.observedGeneration}"); strings.Fields(got)[0] != strings.Fields(got)[1] {
			return fmt.Errorf("generations %s", got)
		}
		return nil
	})
	if got := pods(); got != after {
		t.Errorf("the paused Deployment's pods are %s, were %s", got, after)
	}
	contains(t, "the paused Deployment", k("describe", "deploy/web", "-n", "team"), "DeploymentPaused")
	contains(t, "rollout resume", k("rollout", "resume", "deploy/web", "-n", "team"), "resumed")
	k("rollout", "status", "deploy/web", "-n", "team", "--timeout=60s")
	c.Eventually(20*time.Second, "the Service has the change", func() error { return answers(c, url, "two") })

	// Orphans stay and are adopted; in the foreground the owner goes last.
	pod := onePod()
	k("delete", "deploy/web", "-n", "team", "--cascade=orphan")
	contains(t, "the orphans", k("get", "replicasets,pods", "-n", "team", "-o", "name"), "replicaset.apps/web-", "pod/"+pod)
	replicaSet := strings.TrimSpace(k("get", "replicasets", "-n", "team", "-o", "jsonpath={.items[?(@.status.replicas>0)].metadata.name}"))
	if owner := k("get", "rs", replicaSet, "-n", "team", "-o", "jsonpath={.metadata.ownerReferences}"); owner != "" {
		t.Errorf("the orphan has owners %s", owner)
	}
	k("delete", "rs", replicaSet, "-n", "team", "--cascade=foreground", "--timeout=60s")
	if got := pods(); got != "" {
		t.Errorf("after the foreground deletion there are pods %s", got)
	}

	contains(t, "whoami", k("auth", "whoami"), "kubernetes-admin", "system:masters")
	contains(t, "can-i", k("auth", "can-i", "create", "deployments"), "yes")
	contains(t, "can-i --list", k("auth", "can-i", "--list"), "*.*", "[*]")
	contains(t, "can-i --list of another", k("auth", "can-i", "--list", "--as=bob", "--as-group=system:authenticated"), "selfsubjectreviews.authentication.k8s.io", "[create]", "/healthz")
	denied := c.Run("", "kubectl", "auth", "can-i", "get", "secrets", "--as=bob")
	if denied.Code != 1 || !strings.Contains(denied.Stdout, "no") {
		t.Errorf("auth can-i --as=bob: exit code %d, want 1 and no\n%s%s", denied.Code, denied.Stdout, denied.Stderr)
	}
}

// A namespace goes with its pods and all else, and nothing new comes into it
// meanwhile. A cordoned node takes no new pod and keeps its own.
func TestNamespaceDeletionAndCordon(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Kubectl("create", "namespace", "team")
	c.KubectlIn(strings.Replace(shell, "terminationGracePeriodSeconds: 2", "terminationGracePeriodSeconds: 1", 1)+`---
apiVersion: v1
kind: ConfigMap
metadata: {name: held, finalizers: [example.com/hold]}
`, "apply", "-n", "team", "-f", "-")
	c.Kubectl("rollout", "status", "deploy/web", "-n", "team", "--timeout=60s")

	contains(t, "cordon", c.Kubectl("cordon", "node-1"), "node/node-1 cordoned")
	contains(t, "get nodes", c.Kubectl("get", "nodes"), "Ready,SchedulingDisabled")
	c.Kubectl("scale", "deploy/web", "-n", "team", "--replicas=3")
	c.Eventually(20*time.Second, "the new pod waits", func() error {
		return holds(c.Kubectl("describe", "pods", "-n", "team"), "0/1 nodes are available: 1 node(s) were unschedulable")
	})
	contains(t, "the Deployment", c.Kubectl("get", "deploy/web", "-n", "team"), "2/3")
	contains(t, "uncordon", c.Kubectl("uncordon", "node-1"), "node/node-1 uncordoned")
	c.Kubectl("rollout", "status", "deploy/web", "-n", "team", "--timeout=60s")

	c.Kubectl("delete", "namespace", "team", "--wait=false")
	c.Eventually(30*time.Second, "the pods are gone", func() error {
		if left := c.Kubectl("get", "pods,deployments,replicasets", "-n", "team", "-o", "name"); left != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
	for _, pod := range c.Processes.Hostnames("/web-") {
		if strings.HasPrefix(pod, "web-") {
			t.Errorf("a process of pod %s is left", pod)
		}
	}
	if r := c.Run("", "kubectl", "create", "configmap", "late", "-n", "team"); r.Code != 1 || !strings.Contains(r.Stderr, "because it is being terminated") {
		t.Errorf("create in a terminating namespace: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.Eventually(20*time.Second, "the namespace tells what holds it", func() error {
		return holds(c.Kubectl("get", "namespace", "team", "-o", "yaml"), "phase: Terminating", "NamespaceFinalizersRemaining", "example.com/hold")
	})
	c.Kubectl("patch", "configmap", "held", "-n", "team", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	c.Eventually(20*time.Second, "the namespace is gone", func() error {
		_, err := c.Client().CoreV1().Namespaces().Get(t.Context(), "team", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there (%w)", err)
		}
		return nil
	})
}

// holds fails if one of the texts is missing.
func holds(got string, wants ...string) error {
	for _, want := range wants {
		if !strings.Contains(got, want) {
			return fmt.Errorf("no %q in:\n%s", want, got)
		}
	}
	return nil
}
