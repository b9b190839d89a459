package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/report"
	"headway.dev/cmd/headway/up"
	"headway.dev/manifests/model/object"
)

// starved is a Deployment that waits for its pod as long as its Kustomization
// lets it: there is no node.
const starved = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "example.com/web:1"}]}
`

// A wait says what it waits for, and ends with a clear word when somebody
// interrupts it or its time is over; without a wait there is nothing to say.
func TestSyncTellsWhatItWaitsFor(t *testing.T) {
	s := newStory(t, map[string]string{"web.yaml": starved}, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	reader, writer := io.Pipe()
	var errOut headwaytest.Output
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"headway", "--data-dir", s.Cfg.DataDir, "sync"}, strings.NewReader(""), writer, &errOut)
		_ = writer.Close() // it never fails
	}()
	told := false
	for lines := bufio.NewScanner(reader); lines.Scan(); {
		// The pod that is missing, why, and for how long.
		if line := lines.Text(); strings.HasPrefix(line, "waiting for Deployment/default/web: ") && strings.Contains(line, "pod web-") && strings.Contains(line, "Unschedulable") && strings.HasSuffix(line, "s)") {
			told = true
			interrupt()
		}
	}
	if got := <-code; got != cli.ExitFailed || !told {
		t.Errorf("exit code %d; told what it waits for: %v", got, told)
	}
	headwaytest.Shows(t, "the end", errOut.String(), "headway: interrupted (waiting for Deployment/default/web", "the cluster goes on by itself", "headway status")

	// Nothing is deployed, and what a newcomer copies is printed all the same.
	headwaytest.Shows(t, "up", s.Out.String(), "Look around:       export KUBECONFIG="+s.Cfg.KubeconfigPath(), "Stop: ")

	headwaytest.Shows(t, "sync --timeout", s.must(cli.ExitFailed, "sync", "--timeout", "100ms"), "not applied and healthy after 100ms", "the cluster goes on by itself")
	headwaytest.Shows(t, "sync --timeout -1s", s.must(cli.ExitFailed, "sync", "--timeout", "-1s"), "--timeout -1s")
	s.must(cli.ExitOK, "sync", "--no-wait")

	second := s.push(map[string]string{"web.yaml": strings.ReplaceAll(starved, "web:1", "web:2")})
	s.eventually("the second commit is applied", func() bool { return strings.Contains(s.must(cli.ExitOK, "log"), report.ShortSHA(second)) })
	out := s.must(cli.ExitFailed, "rollback", second, "--timeout", "100ms")
	headwaytest.Shows(t, "rollback --timeout", out, "reverts "+report.ShortSHA(second), "not applied and healthy after 100ms")
}

// An answer that breaks off is asked for again, until there is an end.
func TestSyncOutlivesBrokenConnections(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": coloured("red")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	config, err := clientcmd.BuildConfigFromFlags("", s.Cfg.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	// Between the command and the cluster: it drops the first three syncs.
	var syncs atomic.Int32
	front := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			if strings.HasSuffix(r.Request.URL.Path, "/sync") && syncs.Add(1) <= 3 {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"phase":"fetch","mess`), broken{}))
			}
			return nil
		},
		FlushInterval: -1,
	})
	t.Cleanup(front.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"front": {Server: front.URL}},
		Contexts: map[string]*clientcmdapi.Context{"front": {Cluster: "front"}}, CurrentContext: "front",
	}, file); err != nil {
		t.Fatal(err)
	}
	second := s.push(map[string]string{"settings.yaml": coloured("blue")})
	code, out, errOut := headway(t, "--kubeconfig", file, "sync")
	if code != cli.ExitOK {
		t.Errorf("sync: exit code %d\n%s%s", code, out, errOut)
	}
	if n := syncs.Load(); n != 4 {
		t.Errorf("%d syncs were asked for, want 4\n%s", n, out)
	}
	headwaytest.Shows(t, "sync", out, "the connection broke off; asking again")
	s.deployed(second)
}

// broken is the rest of an answer whose connection is lost.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// With several Kustomizations each line says which one it is about, and a sync
// of one source tells of no other.
func TestLinesNameKustomizations(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": coloured("red")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	if out := s.must(cli.ExitOK, "sync") + s.must(cli.ExitOK, "log") + s.Out.String(); strings.Contains(out, "headway-system/cluster") || strings.Contains(out, "KUSTOMIZATION") {
		t.Errorf("the name of the only Kustomization is shown:\n%s", out)
	}

	other := headwaytest.NewRepository(t, map[string]string{"more.yaml": strings.Replace(coloured("green"), "name: settings", "name: more", 1)})
	server := headwaytest.ServeGit(t, filepath.Dir(other.Bare), nil)
	meta := metav1.ObjectMeta{Namespace: "default", Name: "other"}
	s.create(
		&sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{URL: server + "/" + filepath.Base(other.Bare), Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"}}},
		&kustomizev1.Kustomization{ObjectMeta: meta, Spec: kustomizev1.KustomizationSpec{SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "other"}, Path: "./", Interval: metav1.Duration{Duration: time.Hour}}},
	)
	s.eventually("the other Kustomization is applied", func() bool {
		return strings.Contains(s.Out.String(), "default/other: applied 1 object: ConfigMap/more")
	})
	headwaytest.Shows(t, "up", s.Out.String(), "default/other: commit ")

	s.push(map[string]string{"settings.yaml": coloured("blue")})
	s.eventually("the push is applied", func() bool {
		return strings.Contains(s.Out.String(), "headway-system/cluster: applied 1 object: ConfigMap/settings")
	})
	headwaytest.Shows(t, "sync", s.must(cli.ExitOK, "sync"), "headway-system/cluster: commit ")
	headwaytest.Shows(t, "log", s.must(cli.ExitOK, "log"), "KUSTOMIZATION", "headway-system/cluster", "default/other")

	s.push(map[string]string{"web.yaml": starved})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var waits headwaytest.Output
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx, []string{"headway", "--data-dir", s.Cfg.DataDir, "sync", "--source", "headway-system/cluster"}, strings.NewReader(""), &waits, io.Discard)
	}()
	s.eventually("the sync waits", func() bool { return strings.Contains(waits.String(), "waiting for Deployment") })
	other.Push("main", map[string]string{"more.yaml": strings.Replace(coloured("yellow"), "name: settings", "name: more", 1)})
	headwaytest.Shows(t, "sync of the other", s.must(cli.ExitOK, "sync", "--source", "default/other"), "default/other: applied")
	interrupt()
	<-ended
	if strings.Contains(waits.String(), "default/other") {
		t.Errorf("sync --source tells of another source:\n%s", &waits)
	}
}

// What keeps a pod's node from preparing it is told by events alone: the status says it as
// long as it is so, and not any more when the pod's sandbox is there.
func TestStatusOfUnpreparedPods(t *testing.T) {
	s := newStory(t, map[string]string{"web.yaml": starved}, func(_ *story, up *up.Options) { up.NodeGrace = time.Hour })
	s.addNodes("n1")
	pods := schema.GroupKind{Kind: "Pod"}
	var pod *corev1.Pod
	s.eventually("the pod has a node", func() bool {
		list, _ := s.Engine.Store().List(pods, "default")
		if len(list) == 1 {
			pod = list[0].(*corev1.Pod)
		}
		return pod != nil && pod.Spec.NodeName == "n1"
	})
	prepared := func(is corev1.ConditionStatus) {
		s.setStatus(pods, "default", pod.Name, func(o object.Object) {
			p := o.(*corev1.Pod)
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReadyToStartContainers, Status: is}}
		})
	}
	prepared(corev1.ConditionFalse)
	const mount = `MountVolume.SetUp failed for volume "settings" : configmap "settings" not found`
	s.create(&corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: "web.1"},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: pod.Name, UID: pod.UID},
		Type:           corev1.EventTypeWarning, Reason: "FailedMount", Message: mount, LastTimestamp: metav1.Now(),
	})
	text := "pod " + pod.Name + ": FailedMount: " + mount
	s.eventually("the status says what is in the way", func() bool { return strings.Contains(s.must(cli.ExitOK, "status"), text) })
	prepared(corev1.ConditionTrue)
	s.eventually("the status says it no more", func() bool { return !strings.Contains(s.must(cli.ExitOK, "status"), "FailedMount") })
}
