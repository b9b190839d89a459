package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/report"
	"headway.dev/cmd/headway/up/progress"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// After a restart nothing is said to be healthy that is not, and it is told when
// it is again.
func TestUpAfterARestart(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: default}\nspec: {containers: [{name: web, image: web:1}]}\n"
	s := newStory(t, map[string]string{"pod.yaml": pod}, nil)
	ready := func(yes bool) {
		t.Helper()
		status := corev1.ConditionFalse
		if yes {
			status = corev1.ConditionTrue
		}
		_, err := s.Engine.Store().Commit(t.Context(), change.Tx{Changes: []change.Change{change.PatchStatus(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "default", Name: "web"}, func(o object.Object) bool {
			o.(*corev1.Pod).Status.Phase = corev1.PodRunning
			o.(*corev1.Pod).Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
			return true
		})}})
		if err != nil {
			t.Fatal(err)
		}
	}
	head := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	s.eventually("it is applied", func() bool { return strings.HasSuffix(s.status().Kustomizations[0].Applied, head) })
	ready(true)
	s.deployed(head)

	var out headwaytest.Output
	p := progress.New(progress.Config{Out: &out, Start: time.Now()})
	done := make(chan error, 1)
	go func() { done <- p.Ready(t.Context(), s.Running()) }()
	s.eventually("it tells what is applied", func() bool { return strings.Contains(out.String(), "main@"+report.ShortSHA(head)+" is applied") })
	// The pod has ended meanwhile, which the agent tells with its first look.
	ready(false)
	close(s.Looked)
	s.eventually("it tells what is not healthy", func() bool { return strings.Contains(out.String(), "not healthy: Pod/web in default: ") })
	for _, untrue := range []string{"is deployed", "is healthy"} {
		if strings.Contains(out.String(), untrue) {
			t.Errorf("with 0 of 1 ready it says %q:\n%s", untrue, &out)
		}
	}
	ready(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	headwaytest.Shows(t, "up", out.String(), "main@"+report.ShortSHA(head)+" is healthy (")
}

// A commit is named as short as elsewhere, and what was put back with who changed
// it.
func TestLinesOfUp(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	head := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	s.deployed(head)
	if code, answer := s.ask("", http.MethodPatch, "/api/v1/namespaces/default/configmaps/settings?fieldManager=kubectl-edit", `{"data":{"value":"by hand"}}`,
		http.Header{"Content-Type": {"application/merge-patch+json"}}); code != http.StatusOK {
		t.Fatal(code, answer)
	}
	s.eventually("it tells what was put back", func() bool {
		return strings.Contains(s.Out.String(), "headway: put back 1 object: ConfigMap/settings (changed by kubernetes-admin with kubectl-edit)\n")
	})
	headwaytest.Shows(t, "up", s.Out.String(), "headway: healthy: main@"+report.ShortSHA(head)+"\n")
	if strings.Contains(s.Out.String(), "sha1:") {
		t.Errorf("a whole hash is told:\n%s", &s.Out)
	}
}
