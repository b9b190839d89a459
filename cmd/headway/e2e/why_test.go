package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// asked is a workload of Git's: NAME asks for CPU and runs IMAGE.
const askedWorkload = `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: IMAGE
        imagePullPolicy: Never
        command: [sleep, "3600"]
        resources: {requests: {cpu: "CPU"}}
`

// headway why, on a node with containers: of a pod that is too large for it, one whose
// image is not there, and one that runs; each with the words of Kubernetes, the fix, and
// the commit. What the fix says helps.
func TestWhy(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t), "--settle=1s")
	write := func(name, image, cpu string) {
		c.Clone.Write(name+".yaml", strings.NewReplacer("NAME", name, "IMAGE", image, "CPU", cpu).Replace(askedWorkload))
	}
	const there, missing = "headway.dev/test/busybox:1", "headway.dev/test/none:1"
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	write("fits", there, "1m")
	write("large", there, "1m")
	write("lacks", missing, "1m")
	first := c.Clone.Push("Three workloads")
	why := func(what string, words ...string) {
		t.Helper()
		c.Eventually(time.Minute, "why "+what, func() error { return holds(c.Headway("why", what).Stdout, words...) })
	}
	since := func(commit string) string { return "since  " + commit[:7] + " " }
	why("deploy/fits", "Deployment/fits in default: Running: ", "Scheduled, 1 pod: fits-", "it has been bound to node-1: of 1 node, it is the only one that would take it", since(first))
	why("deploy/lacks", "Deployment/lacks in default: Waiting: ", "ErrImageNeverPull of container main, 1 pod: lacks-", `Container image "`+missing+`" is not present with pull policy of Never`,
		"fix    load "+missing+" into the node with `headway image import`", since(first), "lacks.yaml:", "spec.template.spec.containers[name=main].image: "+missing)

	node, err := c.Client().CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := node.Status.Allocatable.Cpu().String()
	write("large", there, "1000")
	second := c.Clone.Push("Ask for all there is and more")
	why("deploy/large", "Deployment/large in default: Waiting: ", "Unschedulable, 1 pod: large-",
		"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		"node-1   Insufficient cpu", fmt.Sprintf("fix    asks for 1k CPU, and node-1 has %s in all: lower the request, or add a larger node", all),
		since(second), "large.yaml:", "spec.template.spec.containers[name=main].resources.requests.cpu: ")

	write("large", there, "1m")
	write("lacks", there, "1m")
	c.Deployed(c.Clone.Push("As the fixes say"))
	for _, name := range []string{"large", "lacks"} {
		why("deploy/"+name, "Deployment/"+name+" in default: Running: ", "Scheduled, 1 pod: "+name+"-")
	}
	pod := strings.TrimSpace(c.Kubectl("get", "pods", "-l", "app=fits", "-o", "jsonpath={.items[0].metadata.name}"))
	why("pod/"+pod, "Pod/"+pod+" in default: Running: it runs on node-1 and is ready", "from Git by Deployment/fits in Kustomization headway-system/cluster")
}
