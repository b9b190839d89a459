package status_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/status"
	"headway.dev/syncer/verdict"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	first  = "main@sha1:1111111111111111111111111111111111111111"
	second = "main@sha1:2222222222222222222222222222222222222222"
)

// app is a Kustomization of which nothing is applied yet.
func app() *kustomizev1.Kustomization {
	return &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", Generation: 4}, Spec: kustomizev1.KustomizationSpec{Wait: true}}
}

// write makes the edits as a transaction would, and returns the result.
func write(t *testing.T, ks *kustomizev1.Kustomization, edits ...status.Edit) *kustomizev1.Kustomization {
	t.Helper()
	for _, edit := range edits {
		c := edit.Change(flux.KeyOf(ks))
		next, err := c.Mutate(ks.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		ks = next.(*kustomizev1.Kustomization)
	}
	return ks
}

func condition(ks *kustomizev1.Kustomization, typ string) string {
	c := apimeta.FindStatusCondition(ks.Status.Conditions, typ)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

func wants(t *testing.T, ks *kustomizev1.Kustomization, conditions map[string]string) {
	t.Helper()
	for typ, want := range conditions {
		if got := condition(ks, typ); got != want {
			t.Errorf("%s is %q, want %q", typ, got, want)
		}
	}
}

func applied(revision string, edit func(*status.Applied)) status.Edit {
	a := status.Applied{
		Snapshot: status.Snapshot{Resources: "sha256:" + revision, Revision: revision, Began: now.Add(-time.Second)},
		Newest:   revision, Inventory: flux.Inventory([]object.Key{{Namespace: "team", Name: "web"}}, nil), Judge: true, Waits: true,
	}
	if edit != nil {
		edit(&a)
	}
	return a.Edit(now)
}

func judged(revision string, reason string) status.Edit {
	return status.Judged{
		Snapshot: status.Snapshot{Resources: "sha256:" + revision, Revision: revision, Began: now},
		OK:       reason == "", Reason: reason, Began: now, Conditions: true, Newest: true,
	}.Edit(now.Add(2 * time.Second))
}

// A commit that becomes healthy is waited for, then ready, and recorded.
func TestHealthyCommit(t *testing.T) {
	ks := write(t, app(), applied(first, nil))
	wants(t, ks, map[string]string{
		meta.ReadyCondition:       "Unknown Progressing: Running health checks for revision " + first + " with a timeout of 30s",
		meta.ReconcilingCondition: "True Progressing: Running health checks for revision " + first + " with a timeout of 30s",
		"headway.dev/Verdict":     "Unknown : " + first,
	})
	if st := ks.Status; st.LastAppliedRevision != first || st.LastAttemptedRevision != first || st.ObservedGeneration != 4 || len(st.Inventory.Entries) != 1 {
		t.Errorf("status is %+v", st)
	}
	ks = write(t, ks, judged(first, ""))
	wants(t, ks, map[string]string{
		meta.ReadyCondition:       "True ReconciliationSucceeded: Applied revision: " + first,
		meta.HealthyCondition:     "True Succeeded: Health check passed in 2s",
		meta.ReconcilingCondition: "",
		"headway.dev/Verdict":     "True : " + first,
		"headway.dev/LastHealthy": "True Succeeded: " + first,
	})
	if h := ks.Status.History; len(h) != 1 || h[0].LastReconciledStatus != meta.ReconciliationSucceededReason || h[0].Metadata["revision"] != first {
		t.Errorf("history is %+v", h)
	}
	if st := verdict.Of(ks); st.Healthy != first || st.Revision != first {
		t.Errorf("what is known of it is %+v", st)
	}
}

// One that fails is put in quarantine, its revert is tried, and that ends.
func TestFailedCommit(t *testing.T) {
	ks := write(t, app(), applied(first, nil), judged(first, ""), applied(second, nil), judged(second, "Pod/team/web status: 'Failed'"))
	wants(t, ks, map[string]string{meta.ReadyCondition: "False HealthCheckFailed: Pod/team/web status: 'Failed'"})
	st := verdict.Of(ks)
	pending := errors.New("push: connection refused; it is reverted by nobody")
	ks = write(t, ks, status.Quarantine(st, "2222222", "it crashed", pending, true).Edit(now))
	said := status.Pending(ks)
	if said == nil || said.Why != "it crashed" {
		t.Fatalf("the quarantine says %+v", said)
	}
	if got := verdict.Of(ks).Quarantined; got != second {
		t.Errorf("%q is in quarantine, want %q", got, second)
	}
	over := write(t, ks, status.PendingOver("; nobody tries again", now))
	if status.Pending(over) != nil {
		t.Error("the tries are not over")
	}
	for _, typ := range []string{flux.QuarantinedCondition, meta.ReadyCondition} {
		got := condition(over, typ)
		if !strings.Contains(got, "it crashed; nobody tries again; "+first+" stays applied") || strings.Contains(got, "refused") {
			t.Errorf("%s says %q", typ, got)
		}
	}
	if !strings.Contains(condition(over, flux.QuarantinedCondition), "headway.dev/retry=2222222") {
		t.Errorf("nobody is told how to try again: %s", condition(over, flux.QuarantinedCondition))
	}
	if status.PendingOver("", now).Changes(over) {
		t.Error("tries that are over end once more")
	}
	// The next commit ends the quarantine; putting the last good one back does not.
	quarantined := write(t, over, applied(first, func(a *status.Applied) { a.Hold, a.Heals, a.Judge, a.Newest = true, true, false, second }))
	if verdict.Of(quarantined).Quarantined != second || quarantined.Status.LastAppliedRevision != first || quarantined.Status.LastAttemptedRevision != second {
		t.Errorf("after going back: %+v", quarantined.Status)
	}
	if next := write(t, quarantined, applied("main@sha1:3", nil)); verdict.Of(next).Quarantined != "" {
		t.Error("the next commit is in quarantine, too")
	}
}

// A verdict that is taken back makes the one before the last healthy one.
func TestRelapse(t *testing.T) {
	ks := write(t, app(), applied(first, nil), judged(first, ""), applied(second, nil), judged(second, ""))
	if got := verdict.Of(ks).Healthy; got != second {
		t.Fatalf("healthy is %q", got)
	}
	ks = write(t, ks, status.Relapsed(second, now))
	if st := verdict.Of(ks); st.Healthy != first || st.Revision != second || st.Result != "" {
		t.Errorf("after the relapse: %+v", st)
	}
}

// A refusal is told once; what waits for a dependency is no failed attempt.
func TestRefused(t *testing.T) {
	ks := write(t, app(), applied(first, nil), judged(first, ""))
	attempt := status.Snapshot{Resources: "sha256:2", Revision: second, Began: now}
	refused := status.Refuse(ks, fault.New(meta.BuildFailedReason, errors.New("a.yaml:3: no such field")), attempt, true)
	if !refused.Fresh(ks) || refused.Waits() {
		t.Errorf("fresh %v, waits %v", refused.Fresh(ks), refused.Waits())
	}
	after := write(t, ks, refused.Edit(now))
	wants(t, after, map[string]string{
		meta.ReadyCondition:       "False BuildFailed: a.yaml:3: no such field",
		meta.ReconcilingCondition: "True ProgressingWithRetry: a.yaml:3: no such field",
		meta.HealthyCondition:     "",
	})
	if refused.Fresh(after) || after.Status.LastAppliedRevision != first || after.Status.LastAttemptedRevision != second || len(after.Status.History) != 2 {
		t.Errorf("fresh %v, status %+v", refused.Fresh(after), after.Status)
	}
	waits := status.Refuse(ks, fault.New(meta.DependencyNotReadyReason, errors.New("dependency 'team/db' is not ready")), attempt, true)
	if after := write(t, ks, waits.Edit(now)); !waits.Waits() || len(after.Status.History) != 1 {
		t.Errorf("waits %v, history %+v", waits.Waits(), after.Status.History)
	}
}

// A frozen commit leaves what is applied as ready as it was.
func TestFrozen(t *testing.T) {
	ks := write(t, app(), applied(first, nil), judged(first, ""))
	frozen := status.Freeze(ks, second, errors.New("frozen until Monday"))
	after := write(t, ks, frozen.Edit(now))
	wants(t, after, map[string]string{
		flux.FrozenCondition: "True Frozen: frozen until Monday; " + second + " waits",
		meta.ReadyCondition:  "True ReconciliationSucceeded: Applied revision: " + first,
	})
	if frozen.Fresh(after) || !frozen.Fresh(ks) {
		t.Error("it is told again and again, or never")
	}
	if c := condition(write(t, after, applied(second, nil)), flux.FrozenCondition); c != "" {
		t.Errorf("it is still frozen once it is applied: %s", c)
	}
}

// Whatever came before: an edit that was made changes nothing when it is made
// again, asking leaves the status as it is, and the verdict's state never names a
// revision that was never there.
func TestEditsAreIdempotent(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // repeatable, and nothing secret
	revisions := []string{first, second, "main@sha1:3"}
	for range 500 {
		ks := app()
		for range 12 {
			revision := revisions[r.IntN(len(revisions))]
			flag := func() bool { return r.IntN(2) == 0 }
			edit := []status.Edit{
				applied(revision, func(a *status.Applied) {
					a.Drift, a.Hold, a.Heals, a.Judge, a.Judging, a.Waits, a.Resources = flag(), flag(), flag(), flag(), flag(), flag(), ""
					if flag() {
						a.Unpruned = revision + ": kept"
					}
				}),
				status.Judged{Snapshot: status.Snapshot{Revision: revision}, OK: flag(), Reason: "bad", Began: now, Conditions: flag(), Newest: flag()}.Edit(now),
				status.Refuse(ks, errors.New("no"), status.Snapshot{Revision: revision}, flag()).Edit(now),
				status.Freeze(ks, revision, errors.New("frozen")).Edit(now),
				status.Quarantine(verdict.Of(ks), revision, "bad", errors.New("x"), flag()).Edit(now),
				status.PendingOver("; over", now),
			}[r.IntN(6)]
			before := ks.DeepCopy()
			changes := edit.Changes(ks)
			if !equality.Semantic.DeepEqual(before, ks) {
				t.Fatal("asking changed the status")
			}
			next := write(t, ks, edit)
			if equality.Semantic.DeepEqual(ks.Status, next.Status) == changes {
				t.Fatalf("it was to change: %v, from\n%+v\nto\n%+v", changes, ks.Status, next.Status)
			}
			if edit.Changes(next) {
				t.Fatalf("it changes what it has made:\n%+v\n%+v", next.Status, write(t, next, edit).Status)
			}
			if st := verdict.Of(next); st.Healthy != "" && !strings.HasPrefix(st.Healthy, "main@sha1:") {
				t.Fatalf("healthy is %q", st.Healthy)
			}
			ks = next
		}
	}
}
