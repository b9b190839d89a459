package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A pull that fails is told once for all pods of a Deployment, however often it
// is tried, and again when it fails for another reason.
func TestUpTellsAFailingPullOnce(t *testing.T) {
	var out headwaytest.Output
	p := newProgress(&upConfig{upOptions: upOptions{options: &options{out: &out}}}, time.Now())
	pods := map[string]*corev1.Pod{}
	waits := func(name, owner, reason, message string) {
		old := pods[name]
		if old == nil {
			old = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: owner, Controller: new(true)}}}}
		}
		pod := old.DeepCopy()
		pod.Status.Conditions = nil
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
		if reason == "" {
			pod.Status.ContainerStatuses = nil
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		p.pod(object.Event{Type: object.Modified, Old: old, Object: pod})
		pods[name] = pod
	}
	told := func(text string) int { return strings.Count(out.String(), text) }
	for try := range 5 {
		for _, name := range []string{"web-1", "web-2", "web-3"} {
			waits(name, "web", "ErrImagePull", fmt.Sprintf("read tcp 10.0.0.5:%d->192.0.2.7:443: connection reset by peer", 40000+try))
			waits(name, "web", "ImagePullBackOff", "Back-off pulling image \"web:2\": ErrImagePull: reset")
		}
	}
	if n := told("waits:"); n != 1 || told("connection reset by peer") != 1 {
		t.Errorf("told %d times:\n%s", n, &out)
	}
	waits("web-1", "web", "ErrImagePull", "web:2: not found")
	waits("web-1", "web", "ImagePullBackOff", "Back-off pulling image \"web:2\": ErrImagePull: not found")
	waits("web-2", "web", "ErrImagePull", "web:2: not found")
	if n := told("waits:"); n != 2 || told("ErrImagePull: web:2: not found") != 1 {
		t.Errorf("told %d times:\n%s", n, &out)
	}
	waits("web-4", "web-next", "ErrImagePull", "web:2: not found") // of another revision
	for try := range 4 {
		waits("web-1", "web", "CrashLoopBackOff", fmt.Sprintf("back-off %ds restarting failed container", 10<<try))
	}
	if n := told("waits:"); n != 4 {
		t.Errorf("told %d times:\n%s", n, &out)
	}
	waits("web-1", "web", "", "")
	waits("web-1", "web", "CrashLoopBackOff", "back-off 10s restarting failed container")
	if n := told("CrashLoopBackOff"); n != 2 {
		t.Errorf("a crash after it was ready is no news: %d\n%s", n, &out)
	}
}

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
		_, err := s.cluster.engine.Store().Commit(t.Context(), change.Tx{Changes: []change.Change{change.PatchStatus(object.Key{GroupKind: podKind, Namespace: "default", Name: "web"}, func(o object.Object) bool {
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
	cfg := *s.cfg
	options := *cfg.options
	options.out, cfg.options = &out, &options
	p := newProgress(&cfg, time.Now())
	done := make(chan error, 1)
	go func() { done <- p.ready(t.Context(), s.cluster) }()
	s.eventually("it tells what is applied", func() bool { return strings.Contains(out.String(), "main@"+report.ShortSHA(head)+" is applied") })
	// The pod has ended meanwhile, which the agent tells with its first look.
	ready(false)
	close(s.cluster.looked)
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

// What is told first is where the API is, whatever was done before it answers; a
// commit is named as short as elsewhere, and what was put back with who changed it.
func TestLinesOfUp(t *testing.T) {
	var out headwaytest.Output
	p := newProgress(&upConfig{upOptions: upOptions{options: &options{out: &out, dataDir: "/data"}}}, time.Now())
	p.hold()
	p.line("commit 4f1c2ab")
	p.open(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443})
	p.line("applied")
	lines := strings.Split(out.String(), "\n")
	if first, last := lines[0], lines[len(lines)-3:]; !strings.HasPrefix(first, "headway: API at https://127.0.0.1:6443 (") || last[0] != "headway: commit 4f1c2ab" || last[1] != "headway: applied" {
		t.Errorf("the lines are\n%s", &out)
	}

	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	head := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	s.deployed(head)
	if code, answer := s.ask("", http.MethodPatch, "/api/v1/namespaces/default/configmaps/settings?fieldManager=kubectl-edit", `{"data":{"value":"by hand"}}`,
		http.Header{"Content-Type": {"application/merge-patch+json"}}); code != http.StatusOK {
		t.Fatal(code, answer)
	}
	s.eventually("it tells what was put back", func() bool {
		return strings.Contains(s.out.String(), "headway: put back 1 object: ConfigMap/settings (changed by kubernetes-admin with kubectl-edit)\n")
	})
	headwaytest.Shows(t, "up", s.out.String(), "headway: healthy: main@"+report.ShortSHA(head)+"\n")
	if strings.Contains(s.out.String(), "sha1:") {
		t.Errorf("a whole hash is told:\n%s", &s.out)
	}
}
