package syncer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// controller does the deployment controller's part until stop: images with
// "bad" in their name do not start.
func (w *world) controller() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if d := w.deployment(); d != nil && d.Status.ObservedGeneration != d.Generation {
				// A lost race is tried again.
				_, _ = w.store.Commit(ctx, change.Tx{Changes: []change.Change{change.PatchStatus(key("Deployment", "default", "web"), rolledOut)}})
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func rolledOut(o object.Object) bool {
	d, ok := o.(*appsv1.Deployment)
	if !ok {
		return false
	}
	n := *d.Spec.Replicas
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n}
	progress := appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}
	if !strings.Contains(d.Spec.Template.Spec.Containers[0].Image, "bad") {
		d.Status.ReadyReplicas, d.Status.AvailableReplicas = n, n
		progress.Status, progress.Reason = corev1.ConditionTrue, "NewReplicaSetAvailable"
	}
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue}, progress}
	return true
}

// Whatever comes in whatever order, good and bad commits, reverts, restarts:
// it ends with the newest commit, or with one that is healthy; nothing is
// tried twice, and no more is reverted than the cap allows.
func TestAnyOrderOfFailures(t *testing.T) {
	for seed, mode := range []string{"revert", "hold"} {
		t.Run(mode, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 3))
			w := newWorld(t, map[string]string{"d.yaml": deployment("good:0")}, onFailure(mode))
			defer w.controller()()
			w.applied(git(t, w.work, "rev-parse", "HEAD"))
			var pushed []string
			for i := range 14 {
				git(t, w.work, "fetch", "-q", "origin")
				git(t, w.work, "reset", "-q", "--hard", "origin/main")
				made := ""
				switch op := rng.IntN(6); op {
				case 0, 1, 2, 3:
					kind := "bad"
					if op == 0 {
						kind = "good"
					}
					w.write(map[string]string{"d.yaml": deployment(fmt.Sprintf("%s:%d", kind, i+1))})
					git(t, w.work, "commit", "-q", "-a", "-m", kind)
					made = git(t, w.work, "rev-parse", "HEAD")
				case 4:
					git(t, w.work, "revert", "--no-edit", "HEAD")
				case 5:
					w.restart()
				}
				if !w.pushHead() {
					continue
				}
				if made != "" {
					pushed = append(pushed, made)
				}
				if rng.IntN(3) > 0 {
					w.quiet(300 * time.Millisecond)
				}
			}
			w.restart()
			w.quiet(time.Second) // a revert takes its time on a busy machine
			head := git(t, w.bare, "rev-parse", "main")
			applied := strings.TrimPrefix(w.ks().Status.LastAppliedRevision, "main@sha1:")
			if applied != head && strings.Contains(w.image(), "bad") {
				t.Errorf("it ended at %s with %s, neither the newest commit %s nor a good one", applied, w.image(), head)
			}
			most := map[string]int{"revert": 3, "hold": 0}[mode]
			if n := len(strings.Fields(git(t, w.bare, "log", "--format=%H", "--author=headway", "main"))); n > most {
				t.Errorf("%d automatic reverts, want at most %d", n, most)
			}
			for _, sha := range pushed {
				if n := w.times(sha); n > 1 && !strings.HasPrefix(git(t, w.bare, "log", "-1", "--format=%s", sha), "good") {
					t.Errorf("the bad commit %s was applied %d times", sha, n)
				}
			}
			// Nothing goes on by itself, as quiet has seen, nor if it is looked at again.
			w.synced()
			if got := git(t, w.bare, "rev-parse", "main"); got != head {
				t.Errorf("main moved on to %s", got)
			}
			if _, err := w.sync.VerifyJournal(); err != nil {
				t.Error(err)
			}
		})
	}
}

// pushHead pushes the clone's head; false if an automatic revert was faster.
func (w *world) pushHead() bool {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", "push", "-q", "origin", "HEAD:main")
	cmd.Dir = w.work
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "rejected") {
		w.t.Fatalf("push: %v\n%s", err, out)
	}
	return err == nil
}

// quiet waits until the newest commit is judged, and nothing has been done for
// so long.
func (w *world) quiet(long time.Duration) {
	w.t.Helper()
	last, since := "", time.Now()
	w.eventually("nothing goes on", func() bool {
		now := git(w.t, w.bare, "rev-parse", "main") + fmt.Sprint(w.store.Commits())
		busy := strings.HasPrefix(w.condition("headway.dev/Verdict"), "Unknown") ||
			!strings.HasSuffix(w.ks().Status.LastAttemptedRevision, git(w.t, w.bare, "rev-parse", "main"))
		if now != last || busy {
			last, since = now, time.Now()
		}
		return time.Since(since) > long
	})
}
