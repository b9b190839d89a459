package progress

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/manifests/model/object"
)

// A repository on this machine is named with how it is changed: in a working tree
// only what is committed counts.
func TestUpTellsHowToChangeARepository(t *testing.T) {
	tree, bare := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(tree, ".git"), filepath.Join(bare, "objects")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for repo, want := range map[string]string{
		"":                             "git clone /data/repo.git && cd repo",
		tree:                           "commit to main in " + tree + "; what is not committed does not count",
		bare:                           "git clone " + bare,
		"https://git.example.com/apps": "",
	} {
		p := New(Config{DataDir: "/data", Repo: repo, Branch: "main"})
		if got := p.changing(); got != want {
			t.Errorf("%s: %q, want %q", repo, got, want)
		}
	}
}

// A pull that fails is told once for all pods of a Deployment, however often it
// is tried, and again when it fails for another reason.
func TestUpTellsAFailingPullOnce(t *testing.T) {
	var out headwaytest.Output
	p := New(Config{Out: &out, Start: time.Now()})
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

// What is told first is where the API is, whatever was done before it answers.
func TestFirstLine(t *testing.T) {
	var out headwaytest.Output
	p := New(Config{Out: &out, Start: time.Now(), DataDir: "/data"})
	p.Hold()
	p.Line("commit 4f1c2ab")
	p.open(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443})
	p.Line("applied")
	lines := strings.Split(out.String(), "\n")
	if first, last := lines[0], lines[len(lines)-3:]; !strings.HasPrefix(first, "headway: API at https://127.0.0.1:6443 (") || last[0] != "headway: commit 4f1c2ab" || last[1] != "headway: applied" {
		t.Errorf("the lines are\n%s", &out)
	}
}
