package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	resourcehelper "k8s.io/component-helpers/resource"

	"headway.dev/cmd/headway/up"
	"headway.dev/manifests/model/object"
	"headway.dev/nodes/hollow"
)

// The soak makes random commits, scales by hand, deletes and evicts pods, and lets
// nodes fall silent and return, on hollow nodes. What has to hold at every moment is
// looked at all the time; at the end everything has to be as Git says. `make soak`
// runs it for HEADWAY_SOAK_HOLLOW; HEADWAY_TEST_SEED repeats a run's choices.
const (
	soakNodes    = 6
	soakApps     = 8
	soakReplicas = 10                                // at most, of each
	soakSurged   = soakReplicas + (soakReplicas+3)/4 // a rollout may have a quarter more
	soakTime     = 20 * time.Second                  // more than the grace of a silent node
)

// soak is one run.
type soak struct {
	*story
	rand   *rand.Rand
	fleet  *hollow.Fleet
	files  map[string]string
	want   map[string]int // replicas by Deployment
	images int
	silent map[string]bool
	done   []string
}

func soakDeployment(name string, replicas int, image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: default}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: %[1]s}}}]
      containers: [{name: main, image: %[3]q, resources: {requests: {cpu: 250m, memory: 64Mi}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: %[1]s, namespace: default}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: %[1]s}}}
`, name, replicas, image)
}

func soakJob(name string, completions int) string {
	return fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: default}
spec:
  completions: %d
  parallelism: 3
  completionMode: Indexed
  backoffLimit: 1000
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "job:1", resources: {requests: {cpu: 250m, memory: 64Mi}}}]
`, name, completions)
}

func TestSoakOnHollowNodes(t *testing.T) {
	length, seed := soakTime, rand.Uint64()
	if text := os.Getenv("HEADWAY_SOAK_HOLLOW"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("HEADWAY_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HEADWAY_TEST_SEED=%d", seed)
	s := &soak{rand: rand.New(rand.NewPCG(seed, 1)), files: map[string]string{}, want: map[string]int{}, silent: map[string]bool{}} //nolint:gosec // not for secrets
	for i := range soakApps {
		s.app(fmt.Sprintf("app-%d", i))
	}
	s.story = newStory(t, s.files, func(_ *story, up *up.Options) {
		up.NodeGrace, up.NotReadySeconds, up.UnreachableSeconds = 15*time.Second, 1, 1
	})
	stop := s.run()
	defer stop()
	s.power("n-0", false)
	end := time.Now().Add(length)
	for time.Now().Before(end) && !t.Failed() {
		s.act()
		<-time.After(time.Duration(s.rand.IntN(400)) * time.Millisecond)
	}
	for name := range s.silent {
		s.power(name, true)
	}
	s.eventually("everything is as Git says", func() bool { return s.asGitSays() == "" })
	stop()
	if t.Failed() {
		t.Logf("what was done:\n%s\nand now: %s", strings.Join(s.done, "\n"), s.asGitSays())
	}
}

// run runs the nodes and looks at what has to hold, until the returned function is
// called.
func (s *soak) run() (stop func()) {
	s.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.Cfg.KubeconfigPath())
	if err != nil {
		s.t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.fleet, err = hollow.New(hollow.Config{
		Client: client, Nodes: soakNodes, Prefix: "n-", Log: slog.New(slog.DiscardHandler), Version: "v1.37.2", RunFor: 300 * time.Millisecond,
		Capacity: corev1.ResourceList{"cpu": resource.MustParse("6"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("30")},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.fleet.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	wg.Go(func() { s.watch(ctx) })
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

// act does one thing.
func (s *soak) act() {
	app := fmt.Sprintf("app-%d", s.rand.IntN(soakApps))
	switch s.rand.IntN(8) {
	case 0, 1:
		s.app(app)
		s.note("commit %s with %d replicas", app, s.want[app])
		s.push(map[string]string{app + ".yaml": s.files[app+".yaml"]})
	case 2:
		job := fmt.Sprintf("job-%d", len(s.done))
		s.files[job+".yaml"] = soakJob(job, 1+s.rand.IntN(6))
		s.note("commit %s", job)
		s.push(map[string]string{job + ".yaml": s.files[job+".yaml"]})
	case 3:
		n := s.rand.IntN(soakReplicas + 1)
		code, _ := s.ask("", http.MethodPatch, "/apis/apps/v1/namespaces/default/deployments/"+app+"/scale", fmt.Sprintf(`{"spec":{"replicas":%d}}`, n), mergePatch)
		s.note("scale %s by hand to %d: %d", app, n, code)
	case 4:
		if pods := s.pods(); len(pods) > 0 {
			p := pods[s.rand.IntN(len(pods))]
			code, _ := s.ask("", http.MethodDelete, "/api/v1/namespaces/default/pods/"+p.Name, "", nil)
			s.note("delete %s: %d", p.Name, code)
		}
	case 5:
		if pods := s.pods(); len(pods) > 0 {
			p := pods[s.rand.IntN(len(pods))]
			code, _ := s.ask("", http.MethodPost, "/api/v1/namespaces/default/pods/"+p.Name+"/eviction",
				fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q}}`, p.Name), http.Header{"Content-Type": {"application/json"}})
			s.note("evict %s: %d", p.Name, code)
		}
	case 6:
		if len(s.silent) < soakNodes/3 { // of what is left everything has room
			s.power(fmt.Sprintf("n-%d", s.rand.IntN(soakNodes)), false)
		}
	case 7:
		if s.rand.IntN(4) == 0 {
			for name := range s.silent {
				s.power(name, true)
				break
			}
		}
	}
}

var mergePatch = http.Header{"Content-Type": {string(types.MergePatchType)}}

// app gives a Deployment another image and number of replicas.
func (s *soak) app(name string) {
	s.images++
	s.want[name] = s.rand.IntN(soakReplicas + 1)
	s.files[name+".yaml"] = soakDeployment(name, s.want[name], fmt.Sprintf("app:%d", s.images))
}

func (s *soak) power(name string, on bool) {
	act := s.fleet.Fail
	if delete(s.silent, name); on {
		act = s.fleet.Return
	} else {
		s.silent[name] = true
	}
	s.note("power of %s: %t", name, on)
	if err := act(name); err != nil {
		s.t.Error(err)
	}
}

func (s *soak) note(format string, args ...any) {
	s.done = append(s.done, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// watch looks at what has to hold until ctx ends.
func (s *soak) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if wrong := s.wrong(); wrong != "" {
			s.t.Errorf("%s %s", time.Now().Format("15:04:05.000"), wrong)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// wrong is what must never be: a node that has more than it can take, an address that
// two pods have, a Deployment that asks for more pods than it may, a Job that counts more
// successes than it wants, or an index of one that two pods succeeded at. A pod that was
// being deleted does not count there: the one in its place is made at once, and a node
// that was silent may tell later that the first got to its end.
func (s *soak) wrong() string {
	nodes := map[string]*corev1.Node{}
	list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: "Node"}, "")
	for _, o := range list {
		nodes[o.GetName()] = o.(*corev1.Node)
	}
	asked := map[string]int32{}
	list, _ = s.Cluster.Engine.Store().List(schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, "default")
	for _, o := range list {
		set := o.(*appsv1.ReplicaSet)
		if asked[set.Labels["app"]] += *set.Spec.Replicas; asked[set.Labels["app"]] > soakSurged {
			return fmt.Sprintf("the ReplicaSets of %s ask for %d pods", set.Labels["app"], asked[set.Labels["app"]])
		}
	}
	list, _ = s.Cluster.Engine.Store().List(schema.GroupKind{Group: "batch", Kind: "Job"}, "default")
	for _, o := range list {
		if j := o.(*batchv1.Job); j.Status.Succeeded > *j.Spec.Completions {
			return fmt.Sprintf("%s wants %d completions and counts %d", j.Name, *j.Spec.Completions, j.Status.Succeeded)
		}
	}
	cpu, count, addresses, owned, succeeded := map[string]int64{}, map[string]int64{}, map[string]string{}, map[string]int{}, map[string]string{}
	for _, p := range s.pods() {
		if index, of := p.Annotations[batchv1.JobCompletionIndexAnnotation], p.Labels[batchv1.JobNameLabel]; of != "" && p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodSucceeded {
			if other := succeeded[of+"/"+index]; other != "" {
				return fmt.Sprintf("index %s of Job %s succeeded twice: %s, %s", index, of, p.Name, other)
			}
			succeeded[of+"/"+index] = p.Name
		}
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		if set := p.Labels["pod-template-hash"]; set != "" && p.DeletionTimestamp == nil {
			if owned[set]++; owned[set] > soakSurged {
				return fmt.Sprintf("%s has %d pods", set, owned[set])
			}
		}
		node := nodes[p.Spec.NodeName]
		if node == nil {
			continue
		}
		requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
		cpu[node.Name] += requests.Cpu().MilliValue()
		count[node.Name]++
		if has := node.Status.Allocatable; cpu[node.Name] > has.Cpu().MilliValue() || count[node.Name] > has.Pods().Value() {
			return fmt.Sprintf("node %s has %d pods that ask for %dm CPU", node.Name, count[node.Name], cpu[node.Name])
		}
		if ip := p.Status.PodIP; ip != "" {
			if other := addresses[ip]; other != "" {
				return fmt.Sprintf("%s and %s both have the address %s", p.Name, other, ip)
			}
			addresses[ip] = p.Name
		}
	}
	return ""
}

// asGitSays is what is not yet as Git says; empty if all is.
func (s *soak) asGitSays() string {
	get := func(group, kind, name string) object.Object {
		return s.Cluster.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Group: group, Kind: kind}, Namespace: "default", Name: name})
	}
	pods := map[string]int{}
	for _, p := range s.pods() {
		if p.DeletionTimestamp != nil {
			return p.Name + " is being deleted"
		}
		pods[p.Labels["app"]]++
	}
	for name, n := range s.want {
		d, _ := get("apps", "Deployment", name).(*appsv1.Deployment)
		switch {
		case d == nil:
			return name + " does not exist"
		case int(*d.Spec.Replicas) != n:
			return fmt.Sprintf("%s wants %d replicas, not %d", name, *d.Spec.Replicas, n)
		case int(d.Status.AvailableReplicas) != n || int(d.Status.UpdatedReplicas) != n || pods[name] != n || d.Status.ObservedGeneration != d.Generation:
			return fmt.Sprintf("%s has %d pods, not %d: %+v", name, pods[name], n, d.Status)
		}
	}
	for file := range s.files {
		name, ok := strings.CutPrefix(file, "job-")
		if !ok {
			continue
		}
		name = "job-" + strings.TrimSuffix(name, ".yaml")
		j, _ := get("batch", "Job", name).(*batchv1.Job)
		if j == nil || j.Status.Succeeded != *j.Spec.Completions {
			return name + " has not succeeded"
		}
	}
	if n := s.readyNodes(); n != soakNodes {
		return fmt.Sprintf("%d of %d nodes are ready", n, soakNodes)
	}
	return ""
}
