package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/up"
	"headway.dev/manifests/model/object"
	"headway.dev/nodes/hollow"
)

// hollowWorkload is a Deployment and a Job that run on hollow nodes.
func hollowWorkload(image string, replicas int) map[string]string {
	const pod = "tolerations: [{key: headway.dev/hollow, operator: Exists}], containers: [{name: main, image: %q, readinessProbe: {tcpSocket: {port: 80}}}]"
	spec := fmt.Sprintf(pod, image)
	return map[string]string{
		"web.yaml": fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec: {replicas: %d, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {%s}}}\n", replicas, spec),
		"sum.yaml": fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: sum, namespace: default}\nspec: {completions: 6, parallelism: 3, template: {spec: {restartPolicy: Never, initContainers: [{name: first, image: first:1}], %s}}}\n", fmt.Sprintf(pod, "sum:1")),
	}
}

// pods are the pods of the store.
func (s *story) pods() []*corev1.Pod {
	list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: "Pod"}, "")
	var pods []*corev1.Pod
	for _, o := range list {
		pods = append(pods, o.(*corev1.Pod))
	}
	return pods
}

// ready counts the ready pods of an image, by their nodes.
func (s *story) ready(image string) map[string]int {
	count := map[string]int{}
	for _, p := range s.pods() {
		if p.DeletionTimestamp == nil && p.Spec.Containers[0].Image == image && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			count[p.Spec.NodeName]++
		}
	}
	return count
}

// openNodes are the nodes that are ready and have lost the taint of those that are not,
// which is a moment later.
func (s *story) openNodes() int {
	list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: "Node"}, "")
	closed := 0
	for _, o := range list {
		if slices.ContainsFunc(o.(*corev1.Node).Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady }) {
			closed++
		}
	}
	return s.readyNodes() - closed
}

func (s *story) readyNodes() int {
	list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: "Node"}, "")
	ready := 0
	for _, o := range list {
		for _, c := range o.(*corev1.Node).Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	return ready
}

func total(count map[string]int) int {
	n := 0
	for _, c := range count {
		n += c
	}
	return n
}

// watches is how many watches of a resource the server serves.
func (s *story) watches(resource string) int {
	s.t.Helper()
	_, text := s.ask("", http.MethodGet, "/metrics", "", nil)
	all := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "apiserver_longrunning_requests{") || !strings.Contains(line, `resource="`+resource+`"`) || !strings.Contains(line, `verb="WATCH"`) {
			continue
		}
		n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1 : len(line)-1])
		if err != nil {
			s.t.Fatal(err)
		}
		all += n
	}
	return all
}

// The command runs what a commit wants on nodes that only pretend: a Deployment is
// rolled, a Job comes to its end, and Ctrl-C leaves no nodes.
func TestHollow(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var out, errOut bytes.Buffer
	var code int
	wg.Go(func() {
		code = run(ctx, []string{"headway", "--data-dir", s.Cfg.DataDir, "hollow", "--nodes", "4", "--labels", "pool=try", "--run-for", "10ms", "--own-watches"}, strings.NewReader(""), &out, &errOut)
	})
	defer wg.Wait()
	defer interrupt()

	s.eventually("four nodes are ready", func() bool { return s.openNodes() == 4 })
	for _, resource := range []string{"nodes", "pods"} {
		s.eventually("each watches for itself", func() bool { return s.watches(resource) >= 4 })
	}
	s.deployed(s.push(hollowWorkload("web:1", 12)))
	first := s.ready("web:1")
	if names := slices.Sorted(maps.Keys(first)); total(first) != 12 || fmt.Sprint(names) != "[hollow-0 hollow-1 hollow-2 hollow-3]" {
		t.Errorf("ready pods by node: %v, want 12 on all four", first)
	}
	addresses := map[string]bool{}
	for _, p := range s.pods() {
		if strings.HasPrefix(p.Name, "web-") {
			addresses[p.Status.PodIP] = true
		}
	}
	if len(addresses) != 12 {
		t.Errorf("12 pods have the addresses %v", slices.Sorted(maps.Keys(addresses)))
	}
	if code, got := s.ask("", http.MethodGet, "/api/v1/nodes?labelSelector=pool%3Dtry,headway.dev/hollow%3Dtrue", "", nil); code != http.StatusOK || strings.Count(got, `"reason":"KubeletReady"`) != 4 {
		t.Errorf("nodes with the labels: %d\n%s", code, got)
	}
	s.eventually("the Job has come to its end", func() bool {
		done := 0
		for _, p := range s.pods() {
			if p.Status.Phase == corev1.PodSucceeded {
				done++
			}
		}
		return done == 6
	})

	s.deployed(s.push(hollowWorkload("web:2", 8)))
	s.eventually("the Deployment is rolled", func() bool { return total(s.ready("web:2")) == 8 && total(s.ready("web:1")) == 0 })

	interrupt()
	wg.Wait()
	if want := "4 hollow nodes are removed\n"; code != cli.ExitOK || !strings.HasSuffix(out.String(), want) || errOut.Len() > 0 {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errOut.String())
	}
	if nodes, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: "Node"}, ""); len(nodes) > 0 {
		t.Errorf("%d nodes are left", len(nodes))
	}
}

// Pods with claims get volumes that are on no disk: each pod finds its own again where it
// was, and volumes are gone with the claims.
func TestHollowClaims(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		var out bytes.Buffer
		if code := run(ctx, []string{"headway", "--data-dir", s.Cfg.DataDir, "hollow", "--nodes", "3"}, strings.NewReader(""), &out, &out); code != cli.ExitOK {
			t.Errorf("exit code %d\n%s", code, out.String())
		}
	})
	defer wg.Wait()
	defer interrupt()
	s.eventually("three nodes are ready", func() bool { return s.openNodes() == 3 })

	set := func(image string, replicas int) map[string]string {
		return map[string]string{"db.yaml": fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  replicas: %d
  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete}
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      tolerations: [{key: headway.dev/hollow, operator: Exists}]
      containers: [{name: main, image: %q, volumeMounts: [{name: data, mountPath: /data}]}]
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
`, replicas, image)}
	}
	places := func() map[string]string {
		at := map[string]string{}
		for _, p := range s.pods() {
			at[p.Name] = p.Spec.NodeName
		}
		return at
	}
	count := func(kind string) int {
		list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: kind}, "")
		return len(list)
	}
	s.deployed(s.push(set("db:1", 12)))
	first := places()
	if nodes := slices.Compact(slices.Sorted(maps.Values(first))); len(first) != 12 || len(nodes) != 3 || count("PersistentVolume") != 12 {
		t.Errorf("pods by node: %v, %d volumes; want 12 on three nodes", first, count("PersistentVolume"))
	}
	s.deployed(s.push(set("db:2", 12)))
	s.eventually("the set is rolled", func() bool { return total(s.ready("db:2")) == 12 && total(s.ready("db:1")) == 0 })
	if now := places(); !maps.Equal(now, first) {
		t.Errorf("pods are not where their volumes are: %v, volumes %v", now, first)
	}
	s.deployed(s.push(set("db:2", 4)))
	s.eventually("claims and volumes of eight pods are gone", func() bool { return count("PersistentVolumeClaim") == 4 && count("PersistentVolume") == 4 })
}

// A node that goes silent loses its pods to others; it returns with none of them.
func TestHollowNodeFails(t *testing.T) {
	s := newStory(t, hollowWorkload("web:1", 6), func(_ *story, up *up.Options) {
		up.NodeGrace, up.NotReadySeconds, up.UnreachableSeconds = 15*time.Second, 1, 1
	})
	config, err := clientcmd.BuildConfigFromFlags("", s.Cfg.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := hollow.New(hollow.Config{
		Client: client, Nodes: 2, Prefix: "n-", Log: slog.New(slog.DiscardHandler), Version: "v1.37.2",
		Capacity: corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("20")},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := fleet.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	if err := fleet.Fail("n-0"); err != nil {
		t.Fatal(err)
	}
	s.eventually("all pods run on the other node", func() bool { return maps.Equal(s.ready("web:1"), map[string]int{"n-1": 6}) })
	if err := fleet.Return("n-0"); err != nil {
		t.Fatal(err)
	}
	s.eventually("what was on it is gone, and it is ready", func() bool {
		node, _ := s.Cluster.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Kind: "Node"}, Name: "n-0"}).(*corev1.Node)
		return node != nil && len(node.Spec.Taints) == 0 && !slices.ContainsFunc(s.pods(), func(p *corev1.Pod) bool {
			return p.Spec.NodeName == "n-0" && strings.HasPrefix(p.Name, "web-")
		})
	})
	if err := fleet.Fail("n-7"); err == nil {
		t.Error("a node that does not exist can fail")
	}
}

func TestHollowRefusesFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 "--nodes: name how many",
		"--nodes 100000":                   "from 1 to",
		"--nodes 1 --prefix A_":            `--prefix: "A_" is no beginning of a node's name`,
		"--nodes 1 --cpu many":             `--cpu: "many" is no amount`,
		"--nodes 1 --memory -1":            `--memory: "-1" is no amount`,
		"--nodes 1 --pods 0":               "--pods: a node takes 1 at least",
		"--nodes 1 --taint gpu":            `--taint: "gpu" is no taint`,
		"--nodes 1 --taint gpu:Never":      `--taint: "gpu:Never" is no taint`,
		"--nodes 1 --labels a":             "--labels: ",
		"--nodes 1 --run-for -1s":          "--run-for: -1s is less than nothing",
		"--nodes 1 --kubeconfig /dev/null": "no kubeconfig at /dev/null",
	} {
		code, out, errOut := headway(t, append([]string{"hollow"}, strings.Fields(args)...)...)
		if code != cli.ExitFailed || out != "" || !strings.Contains(errOut, want) {
			t.Errorf("hollow %s: exit code %d, want %q\n%s%s", args, code, want, out, errOut)
		}
	}
}
