package progress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubectl/pkg/util/podutils"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

var (
	podKind     = schema.GroupKind{Kind: "Pod"}
	serviceKind = schema.GroupKind{Kind: "Service"}

	kustomizationKind = schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: kustomizev1.KustomizationKind}
)

// Progress reports to the terminal of `headway up` what happens.
type Progress struct {
	cfg    Config
	colour report.Palette

	mu       sync.Mutex
	out      io.Writer
	deployed bool
	last     string
	// reported is the newest reason reported for a waiting container.
	reported map[string]string
	// held is what waits until the first line was printed; nil if nothing does.
	held []string
}

// Config is what progress knows about its cluster.
type Config struct {
	// Out is where it is printed.
	Out io.Writer
	// Start is when the program started.
	Start time.Time
	// Repo and branch are what is followed, as in the flags, and dataDir is
	// where the repository is if they name none.
	Repo, Branch, DataDir string
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string
}

// New makes the progress of one cluster.
func New(cfg Config) *Progress {
	return &Progress{cfg: cfg, out: cfg.Out, colour: report.PaletteFor(cfg.Out), reported: map[string]string{}}
}

// Hold keeps lines back until the API answers: its address is printed first.
func (p *Progress) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = []string{}
}

// Line prints a line.
func (p *Progress) Line(format string, args ...any) {
	p.print(report.Screen(fmt.Sprintf("headway: "+format+"\n", args...)))
}

// Fault prints a line about what is wrong.
func (p *Progress) Fault(format string, args ...any) {
	p.Line("%s", p.colour.Red(fmt.Sprintf(format, args...)))
}

func (p *Progress) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		p.held = append(p.held, text)
		return
	}
	fmt.Fprint(p.out, text)
}

// elapsed is the time since the program started.
func (p *Progress) elapsed() string {
	return fmt.Sprintf("%.1f s", time.Since(p.cfg.Start).Seconds())
}

// Cluster is a cluster that starts.
type Cluster struct {
	// Answers is closed once the API answers, at the address.
	Answers <-chan struct{}
	Address net.Addr
	Store   Store
	// Looked is closed once the API has what the agent saw of the node's pods.
	Looked <-chan struct{}
	// Status is what the syncer says of the sources.
	Status func() wire.Status
}

// Ready reports when the API answers and, after a restart, what is applied.
func (p *Progress) Ready(ctx context.Context, c Cluster) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.Answers:
	}
	p.open(c.Address)
	store := c.Store
	root, ok := store.Get(object.Key{GroupKind: kustomizationKind, Namespace: wire.SystemNamespace, Name: wire.RootName}).(*kustomizev1.Kustomization)
	if !ok || !meta.IsStatusConditionTrue(root.Status.Conditions, "Ready") {
		return nil
	}
	revision := report.ShortRevision(root.Status.LastAppliedRevision)
	p.Line("%s is applied", revision)
	p.mu.Lock()
	p.deployed = true
	p.mu.Unlock()
	p.services(store)
	var err error
	guard.Do(ctx, "tell what is healthy again", func() {
		err = p.recovers(ctx, revision, c.Looked, c.Status, store)
	})
	return err
}

// Sync tells a step of the syncer, and after the first deployed commit where
// its Services answer.
func (p *Progress) Sync(e wire.Event, reader object.Reader) {
	// The source and each Kustomization that follows it tell of a commit.
	if line := namingOf(reader).Line(e); line != "" && p.changed(line) {
		if e.Phase == wire.PhaseError || e.Verdict == wire.VerdictFailed {
			line = p.colour.Red(line)
		}
		p.Line("%s", line)
	}
	if e.Phase != wire.PhaseVerdict || e.Verdict != wire.VerdictHealthy {
		return
	}
	p.mu.Lock()
	first := !p.deployed
	p.deployed = true
	p.mu.Unlock()
	if first {
		p.Line("%s", p.colour.Green("deployed in "+p.elapsed()))
		p.services(reader)
	}
}

// namingOf returns how lines are distinguished in a cluster.
func namingOf(reader object.Reader) report.Naming {
	sources, _ := reader.List(schema.GroupKind{Group: sourcev1.GroupVersion.Group, Kind: sourcev1.GitRepositoryKind}, "")
	kustomizations, _ := reader.List(kustomizationKind, "")
	return report.Naming{Sources: len(sources) > 1, Kustomizations: len(kustomizations) > 1}
}

// changed reports whether a line is another than the one before.
func (p *Progress) changed(line string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.last = line }()
	return line != p.last
}

// open tells where the API is, what a newcomer copies, which holds whether or not
// anything can be deployed, and then what happened before.
func (p *Progress) open(address net.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "headway: API at https://%s (%s)\n\n", address, p.elapsed())
	if line := p.changing(); line != "" {
		fmt.Fprintf(p.out, "  Change something:  %s\n", line)
	}
	fmt.Fprintf(p.out, "  Look around:       export KUBECONFIG=%s; kubectl get all -A\n", p.cfg.Kubeconfig)
	fmt.Fprintf(p.out, "  Stop:              Ctrl-C; containers keep running and the next start adopts them\n\n")
	for _, line := range p.held {
		fmt.Fprint(p.out, line)
	}
	p.held = nil
}

// changing says how the repository is changed, if it is on this machine. Who gives
// a working tree may expect that its files count.
func (p *Progress) changing() string {
	switch dir := p.cfg.Repo; {
	case dir == "":
		return fmt.Sprintf("git clone %s && cd repo", filepath.Join(p.cfg.DataDir, "repo.git"))
	case !datadir.Missing(filepath.Join(dir, ".git")):
		return fmt.Sprintf("commit to %s in %s; what is not committed does not count", p.cfg.Branch, dir)
	case !datadir.Missing(filepath.Join(dir, "objects")):
		return fmt.Sprintf("git clone %s", dir)
	}
	return ""
}

// services are the addresses to ask.
func (p *Progress) services(reader object.Reader) {
	var lines []string
	services, _ := reader.List(serviceKind, "")
	for _, obj := range services {
		service := obj.(*corev1.Service)
		if service.Namespace == "default" && service.Name == "kubernetes" || len(service.Spec.Ports) == 0 || net.ParseIP(service.Spec.ClusterIP) == nil {
			continue
		}
		address := service.Spec.ClusterIP
		if port := service.Spec.Ports[0].Port; port != 80 {
			address = net.JoinHostPort(address, strconv.Itoa(int(port)))
		}
		lines = append(lines, fmt.Sprintf("  Service %s/%s:   curl http://%s\n", service.Namespace, service.Name, address))
	}
	if len(lines) == 0 {
		return
	}
	p.print("\n" + strings.Join(lines, "") + "\n")
}

// Watcher is what progress follows pods by.
type Watcher interface {
	Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error)
}

// Pods reports when pods start to run and become ready, until ctx ends.
func (p *Progress) Pods(ctx context.Context, store Watcher) error {
	for {
		watch, err := store.Watch(0, podKind)
		if err != nil {
			return err
		}
		for err == nil {
			var events []object.Event
			events, err = watch.Next(ctx)
			for _, e := range events {
				p.pod(e)
			}
		}
		// Having fallen behind only costs lines of progress.
		if !errors.Is(err, object.ErrExpired) {
			return err
		}
	}
}

func (p *Progress) pod(e object.Event) {
	pod, ok := e.Object.(*corev1.Pod)
	if !ok || e.Type != object.Modified {
		return
	}
	old, ok := e.Old.(*corev1.Pod)
	if !ok {
		return
	}
	name := pod.Namespace + "/" + pod.Name
	switch {
	case pod.Status.Phase == corev1.PodRunning && old.Status.Phase != corev1.PodRunning:
		p.Line("pod %s is Running at %s", name, pod.Status.PodIP)
	case podutils.IsPodReady(pod) && !podutils.IsPodReady(old):
		p.Line("pod %s is Ready", name)
		p.forget(pod)
	// A pod that is being deleted ends as its program does when asked to.
	case pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodFailed && old.Status.Phase != corev1.PodFailed:
		p.Line("%s", p.colour.Red(fmt.Sprintf("pod %s has Failed: %s", name, failure(pod))))
	default:
		p.waiting(name, pod)
	}
}

// failure returns why a pod failed: its own reason, or how its containers
// ended.
func failure(pod *corev1.Pod) string {
	if why := strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message); why != "" {
		return why
	}
	var ends []string
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if end := c.State.Terminated; end != nil && end.ExitCode != 0 {
			ends = append(ends, fmt.Sprintf("container %s ended with exit code %d (%s)", c.Name, end.ExitCode, end.Reason))
		}
	}
	return strings.Join(ends, ", ")
}

// waiting reports why containers do not start, when the reason changes.
func (p *Progress) waiting(name string, pod *corev1.Pod) {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil && w.Message != "" && p.news(pod, c.Name, w) {
			p.Line("%s", p.colour.Yellow(fmt.Sprintf("pod %s waits: %s: %s", name, w.Reason, w.Message)))
		}
	}
}

// maxReported bounds what is remembered of what was reported.
const maxReported = 1000

// news reports whether something else was told last of a container, in whichever
// of the pods that one owner has. Between its tries a pull that fails waits for
// its back-off, which says nothing new, and other restarts differ in how long
// they wait.
func (p *Progress) news(pod *corev1.Pod, container string, w *corev1.ContainerStateWaiting) bool {
	key, what := ownerOf(pod)+container, w.Reason
	if w.Reason == "ErrImagePull" || w.Reason == "ErrImageNeverPull" {
		what += localPort.ReplaceAllString(w.Message, "")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.reported[key]
	if last == what || w.Reason == "ImagePullBackOff" && strings.HasPrefix(last, "ErrImage") {
		return false
	}
	if len(p.reported) >= maxReported {
		clear(p.reported)
	}
	p.reported[key] = what
	return true
}

// forget makes what is reported about a pod news again, once it was ready.
func (p *Progress) forget(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.reported, func(key, _ string) bool { return strings.HasPrefix(key, ownerOf(pod)) })
}

// ownerOf names what pods are reported under, with a slash at the end.
func ownerOf(pod *corev1.Pod) string {
	owner := "Pod/" + pod.Name
	if ref := metav1.GetControllerOf(pod); ref != nil {
		owner = ref.Kind + "/" + ref.Name
	}
	return pod.Namespace + "/" + owner + "/"
}

// localPort is this machine's end of a connection in an error, another one at
// each try.
var localPort = regexp.MustCompile(`\S+:\d+->`)
