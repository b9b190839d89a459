package syncer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// status.history tells the attempts, the newest first, each with what it
// rendered: what is rendered again after a revert is the same snapshot.
func TestStatusHistory(t *testing.T) {
	w := newWorld(t, map[string]string{"web.yaml": deployment("app:1")}, waitForHealth)
	history := func() (lines, digests []string) {
		for _, s := range w.ks().Status.History {
			if s.FirstReconciled.IsZero() || s.LastReconciled.Before(&s.FirstReconciled) || !strings.HasPrefix(s.Digest, "sha256:") {
				t.Errorf("snapshot %+v", s)
			}
			lines = append(lines, fmt.Sprint(s.LastReconciledStatus, " ", s.TotalReconciliations, " ", s.Metadata["revision"]))
			digests = append(digests, s.Digest)
		}
		return lines, digests
	}
	deployed := func(sha string) {
		w.eventually("the Deployment of "+sha, func() bool { return w.ks().Status.LastAppliedRevision == "main@sha1:"+sha })
		w.rollout()
		w.applied(sha)
	}
	first := git(t, w.work, "rev-parse", "HEAD")
	deployed(first)
	w.write(map[string]string{"web.yaml": deployment("app:2")})
	bad := w.push("an image that does not run")
	w.eventually("the image", func() bool { return w.image() == "app:2" })
	w.fail()
	w.eventually("the verdict", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False HealthCheckFailed") })
	w.write(map[string]string{"web.yaml": strings.Replace(deployment("app:2"), "matchLabels: {app: web}", "matchLabels: {app: other}", 1)})
	refused := w.push("a selector that admission refuses")
	w.eventually("the refusal", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False ReconciliationFailed") })
	git(t, w.work, "checkout", "-q", first, "--", ".")
	back := w.push("back")
	deployed(back)

	lines, digests := history()
	want := []string{
		"ReconciliationSucceeded 2 main@sha1:" + back,
		"ReconciliationFailed 1 main@sha1:" + refused,
		"HealthCheckFailed 1 main@sha1:" + bad,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("status.history (-want +got):\n%s", diff)
	}
	if digests[0] == digests[1] || digests[1] == digests[2] {
		t.Errorf("digests of different objects are %v", digests)
	}
}
