package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/cmd/headway/e2e"
)

// killsEnv is how many kills TestKillAnything makes; make soak sets it.
const killsEnv = "HEADWAY_SOAK_KILLS"

// Headway, its containerd, a shim or a container is killed at a random moment
// of a rollout, while objects, leases and statuses are written: nothing that
// was acknowledged is lost, no resource version runs backwards, each pod runs
// once, and no shim is left over.
func TestKillAnything(t *testing.T) {
	t.Parallel()
	kills := 8
	if v := os.Getenv(killsEnv); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatalf("%s: %v", killsEnv, err)
		}
	}
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	c.KubectlIn(gatedPod, "apply", "-f", "-")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	message := "Hello from Git!"
	var told ledger
	for round := range kills {
		next := fmt.Sprintf("Hello for the %d. time!", round)
		c.Clone.Replace(baseFile, message, next)
		message = next
		commit := c.Clone.Push(next)
		stop := told.write(c.Client(), round)
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond) //nolint:forbidigo // the random moment
		switch round % 4 {
		case 0:
			c.Program.Kill()
		case 1:
			c.Processes.KillContainerd()
		case 2:
			c.Processes.KillOne("containerd-shim", random.IntN)
		case 3:
			c.Processes.KillOne("web-", random.IntN)
		}
		stop()
		if round%4 == 0 {
			c.Up()
		}
		c.Deployed(commit)
		told.check(t, c.Client())
		pods := readyPods(t, c, 3)
		c.Eventually(time.Minute, "only the new pods are left", func() error { return podsAre(c, pods) })
		c.Eventually(time.Minute, "each pod runs once", func() error { return runsOnce(c, pods) })
		c.Eventually(time.Minute, "one shim for each pod", func() error {
			if n := c.Processes.Shims(); n != len(pods) {
				return fmt.Errorf("%d shims for %d pods", n, len(pods))
			}
			return nil
		})
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	if len(told.versions) < kills {
		t.Errorf("only %d objects were acknowledged in %d rounds", len(told.versions), kills)
	}
	t.Logf("%d kills, %d objects and %d writes acknowledged, none lost", kills, len(told.versions), told.writes)
}

// gatedPod is never scheduled: its status is the test's.
const gatedPod = `
apiVersion: v1
kind: Pod
metadata: {name: gated, namespace: default}
spec:
  schedulingGates: [{name: example.com/never}]
  containers: [{name: main, image: headway.dev/examples/web:1.0.0}]
`

// ledger is what clients were told: the newest resource version of each object.
type ledger struct {
	mu       sync.Mutex
	versions map[string]uint64
	writes   int
}

func (l *ledger) note(name string, obj metav1.Object) error {
	version, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.versions == nil {
		l.versions = map[string]uint64{}
	}
	l.versions[name] = max(l.versions[name], version)
	l.writes++
	return nil
}

// write creates ConfigMaps, renews a Lease and patches a status until stop is
// called or the server goes away.
func (l *ledger) write(client kubernetes.Interface, round int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, one := range []func(i int) (string, metav1.Object, error){
		func(i int) (string, metav1.Object, error) {
			name := fmt.Sprintf("write-%d-%d", round, i)
			cm, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			return "configmap/" + name, cm, err
		},
		func(i int) (string, metav1.Object, error) {
			name := fmt.Sprintf("leader-%d", round)
			leases := client.CoordinationV1().Leases("default")
			if i == 0 {
				lease, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
				return "lease/" + name, lease, err
			}
			patch := fmt.Appendf(nil, `{"spec":{"holderIdentity":"holder-%d"}}`, i)
			lease, err := leases.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
			return "lease/" + name, lease, err
		},
		func(i int) (string, metav1.Object, error) {
			patch := fmt.Appendf(nil, `{"status":{"message":"%d of round %d"}}`, i, round)
			pod, err := client.CoreV1().Pods("default").Patch(ctx, "gated", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
			return "pod/gated", pod, err
		},
	} {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name, obj, err := one(i)
				if err != nil || l.note(name, obj) != nil {
					return
				}
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// check finds every acknowledged object, and none older than acknowledged.
func (l *ledger) check(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	found := map[string]string{}
	configMaps, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, obj := range configMaps.Items {
		found["configmap/"+obj.Name] = obj.ResourceVersion
	}
	leases, err := client.CoordinationV1().Leases("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, obj := range leases.Items {
		found["lease/"+obj.Name] = obj.ResourceVersion
	}
	pod, err := client.CoreV1().Pods("default").Get(t.Context(), "gated", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found["pod/gated"] = pod.ResourceVersion
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(l.versions)) {
		version, err := strconv.ParseUint(found[name], 10, 64)
		if err != nil {
			wrong = append(wrong, name+" is lost")
		} else if version < l.versions[name] {
			wrong = append(wrong, fmt.Sprintf("%s has version %d, acknowledged was %d", name, version, l.versions[name]))
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%d of %d acknowledged objects are wrong:\n%s", len(wrong), len(l.versions), strings.Join(wrong, "\n"))
	}
}
