package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/admission"
	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/admit"
	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/event"
	"headway.dev/engine/pki"
	"headway.dev/engine/satoken"
	"headway.dev/engine/scheduler"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

const rootCA = "-----BEGIN CERTIFICATE-----\n"

// cluster is a real store with the controllers and the scheduler running on
// it. Pods become ready by agent, which writes what a node's agent would.
type cluster struct {
	t     testing.TB
	store *store.Store
	// user writes as somebody, and what they write is admitted.
	user   *admission.Writer
	tokens *satoken.Issuer
	ctx    context.Context //nolint:containedctx // as long as the test
	// pull is how long a pod takes to become ready.
	pull time.Duration
	// broken pods never become ready.
	broken func(*corev1.Pod) bool
	// unattended pods are on nodes whose agents do nothing.
	unattended func(*corev1.Pod) bool
	ips        atomic.Int32
}

// log is the part of the store that no controller needs.
type log interface {
	Records(log string, from int64, limit int) ([][]byte, error)
}

func start(tb testing.TB, nodes int, edit ...func(*controllers.Config)) *cluster {
	tb.Helper()
	return startOn(tb, store.Options{Path: filepath.Join(tb.TempDir(), "db")}, nodes, edit...)
}

func startOn(tb testing.TB, opts store.Options, nodes int, edit ...func(*controllers.Config)) *cluster {
	tb.Helper()
	return startWith(tb, opts, nil, nodes, edit...)
}

// startWith has more admission plugins.
func startWith(tb testing.TB, opts store.Options, more []admission.Plugin, nodes int, edit ...func(*controllers.Config)) *cluster {
	tb.Helper()
	kinds := &scheme.Registry{}
	adm, err := admit.New(admit.Config{ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), RootCA: []byte(rootCA), Kinds: kinds})
	if err != nil {
		tb.Fatal(err)
	}
	opts.Codec, opts.Observe = record.Any, func(events []object.Event) {
		kinds.Observe(events)
		adm.Observe(events)
	}
	opts.Admit, opts.Along = append(adm.Hooks(), opts.Admit...), adm.Along
	s, err := store.Open(opts)
	if err != nil {
		tb.Fatal(err)
	}
	all, err := plugins.New(plugins.Config{Stored: s})
	if err != nil {
		tb.Fatal(err)
	}
	chain := admission.NewChain(append(all, more...)...)
	as := func(st control.Store, user string) *admission.Writer {
		// A test may put something before the store, but for its log.
		return admission.NewWriter(struct {
			control.Store
			log
		}{st, s}, chain, adm.Along, change.User{Name: user})
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cluster{t: tb, store: s, ctx: ctx, user: as(s, "jane")}
	events := event.NewRecorder(s, time.Now, slog.New(slog.DiscardHandler))
	cfg := controllers.Config{
		Store: s, Kinds: kinds, Events: events, ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		ServiceIP: adm.KubernetesIP(), APIServer: netip.MustParseAddrPort("192.0.2.1:6443"), RootCA: []byte(rootCA),
	}
	for _, e := range edit {
		e(&cfg)
	}
	cfg.As = func(user change.User) control.Store { return as(cfg.Store, user.Name) }
	key, err := pki.AccountKey(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	if cfg.Tokens, err = satoken.New(key, s, time.Now); err != nil {
		tb.Fatal(err)
	}
	c.tokens = cfg.Tokens
	run := func(ctx context.Context) error {
		ctl, err := controllers.New(cfg)
		if err != nil {
			return err
		}
		return ctl.Run(ctx)
	}
	if f, ok := cfg.Store.(*faults); ok {
		run = func(ctx context.Context) error {
			return f.run(ctx, func() (*controllers.Controllers, error) { return controllers.New(cfg) })
		}
	}
	done := make(chan error, 4)
	for _, run := range []func(context.Context) error{run, events.Run, scheduler.New(scheduler.Config{Store: as(s, "system:kube-scheduler"), Events: events}).Run, c.agent} {
		go func() { done <- run(ctx) }()
	}
	tb.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				tb.Errorf("Run: %v", err)
			}
		}
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	for i := range nodes {
		c.node(fmt.Sprintf("node-%02d", i))
	}
	c.eventually("namespace default", func() bool {
		return s.Get(object.Key{GroupKind: control.Namespace, Name: "default"}) != nil
	})
	return c
}

func (c *cluster) commit(changes ...change.Change) {
	c.t.Helper()
	if _, err := c.user.Commit(c.ctx, change.Tx{Changes: changes}); err != nil {
		c.t.Fatalf("commit: %v", err)
	}
}

func (c *cluster) node(name string) {
	c.t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}, Annotations: map[string]string{storage.VolumesAnnotation: "/var/lib/headway/volumes"}}}
	key := object.Key{GroupKind: control.Node, Name: name}
	// New nodes have a taint until they are ready, as this one is from the beginning.
	c.commit(change.Create(node, time.Now()), change.Patch(key, func(obj object.Object) bool {
		obj.(*corev1.Node).Spec.Taints = nil
		return true
	}), change.PatchStatus(key, func(obj object.Object) bool {
		n := obj.(*corev1.Node)
		n.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("16Gi"), "pods": resource.MustParse("110")}
		n.Status.Capacity = n.Status.Allocatable
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now()}}
		return true
	}))
}

// agent makes bound pods ready and takes deleted ones away, as an agent does.
func (c *cluster) agent(ctx context.Context) error {
	watcher, err := c.store.Watch(0, control.Pod)
	if err != nil {
		return err
	}
	for {
		events, err := watcher.Next(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end that was asked for
		}
		if errors.Is(err, object.ErrExpired) {
			if watcher, err = c.store.Watch(0, control.Pod); err == nil {
				pods, _ := c.store.List(control.Pod, "")
				for _, p := range pods {
					events = append(events, object.Event{Type: object.Added, Key: object.KeyOf(control.Pod, p), Object: p})
				}
			}
		}
		if err != nil {
			return err
		}
		var changes []change.Change
		for _, ev := range events {
			pod := ev.Object.(*corev1.Pod)
			switch {
			case ev.Type == object.Deleted || pod.Spec.NodeName == "" || c.unattended != nil && c.unattended(pod):
			case pod.DeletionTimestamp != nil:
				changes = append(changes, control.Present(change.Delete(ev.Key, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}, time.Now())))
			case control.Ready(pod) || c.broken != nil && c.broken(pod):
			default:
				n := c.ips.Add(1)
				changes = append(changes, control.Present(change.PatchStatus(ev.Key, func(obj object.Object) bool {
					p := obj.(*corev1.Pod)
					p.Status.Phase, p.Status.StartTime = corev1.PodRunning, new(metav1.Now())
					p.Status.PodIP = fmt.Sprintf("10.244.%d.%d", n/250, n%250+1)
					p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
					p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
					return true
				})))
			}
		}
		if len(changes) == 0 {
			continue
		}
		select {
		case <-time.After(c.pull):
		case <-ctx.Done():
		}
		if _, err := c.store.Commit(ctx, change.Tx{Durability: change.Behind, Changes: changes}); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	for {
		watcher, err := c.store.Watch(0)
		for err == nil {
			if ok() {
				return
			}
			_, err = watcher.Next(ctx)
		}
		if !errors.Is(err, object.ErrExpired) {
			c.dump()
			c.t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

func (c *cluster) dump() {
	for _, kind := range []string{"Deployment", "ReplicaSet"} {
		gk := control.Deployment
		gk.Kind = kind
		objs, _ := c.store.List(gk, "")
		for _, o := range objs {
			c.t.Logf("%s %s: %+v", kind, o.GetName(), o)
		}
	}
	pods, _ := c.store.List(control.Pod, "")
	for _, o := range pods {
		p := o.(*corev1.Pod)
		c.t.Logf("pod %s/%s node=%q deleted=%v finalizers=%v conditions=%v", p.Namespace, p.Name, p.Spec.NodeName, p.DeletionTimestamp, p.Finalizers, p.Status.Conditions)
	}
	events, _ := c.store.List(control.Event, "")
	for _, o := range events {
		e := o.(*corev1.Event)
		c.t.Logf("event %s %s %s: %s", e.InvolvedObject.Name, e.Type, e.Reason, e.Message)
	}
}

func deploymentKey(name string) object.Key {
	return object.Key{GroupKind: control.Deployment, Namespace: "default", Name: name}
}

func (c *cluster) deployment(name string) *appsv1.Deployment {
	return control.Get[appsv1.Deployment](c.store, deploymentKey(name))
}

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(replicas),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "main", Image: "example/web:1",
					Ports:     []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
					Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("10m")}},
				}}},
			},
		},
	}
}

// patch edits the Deployment web.
func (c *cluster) patch(edit func(d *appsv1.Deployment)) {
	c.t.Helper()
	c.commit(change.Patch(deploymentKey("web"), func(obj object.Object) bool { edit(obj.(*appsv1.Deployment)); return true }))
}

// rolledOut is kubectl rollout status' condition.
func (c *cluster) rolledOut(name string) bool {
	d := c.deployment(name)
	n := *d.Spec.Replicas
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == n && d.Status.Replicas == n && d.Status.AvailableReplicas == n
}

// pods are those of the Deployment web.
func (c *cluster) pods() []*corev1.Pod {
	objs, _ := c.store.List(control.Pod, "default")
	var pods []*corev1.Pod
	for _, o := range objs {
		if p := o.(*corev1.Pod); p.Labels["app"] == "web" {
			pods = append(pods, p)
		}
	}
	return pods
}

// events returns "reason: message" of an object's events.
func (c *cluster) events(kind, name string) []string {
	objs, _ := c.store.List(control.Event, "default")
	var found []string
	for _, o := range objs {
		e := o.(*corev1.Event)
		if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name {
			found = append(found, e.Reason+": "+e.Message)
		}
	}
	return found
}
