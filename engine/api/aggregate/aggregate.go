package aggregate

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	aggregated "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/component-base/metrics"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	availability "k8s.io/kube-aggregator/pkg/controllers/status/metrics"

	"headway.dev/engine/admission/configured"
	"headway.dev/manifests/egress"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Store is what is needed of the store.
type Store interface {
	object.Reader
	Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error)
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
}

// Config of New.
type Config struct {
	Store Store
	// Certificate is by which other servers know this one, and believe what it
	// tells of users; nil: it has none.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Egress says which addresses the name that a Service stands for must not have;
	// nil denies none.
	Egress *egress.Policy
	// Pods connects to the endpoints of Services; nil: they are dialled.
	Pods configured.Dial
	// Groups is the aggregated discovery, of which others serve a part.
	Groups aggregated.ResourceManager
	// Serializer writes the discovery for clients that do not ask for that.
	Serializer runtime.NegotiatedSerializer
	Log        *slog.Logger
}

// Aggregator hands requests on. It is safe for concurrent use.
type Aggregator struct {
	Config
	services configured.Services
	groups   aggregated.ResourceManager
	list     http.Handler
	// own are the groups that the server serves itself, and local their versions.
	own   map[string]bool
	local []schema.GroupVersion
	// availability are Kubernetes' metrics of which APIServices answer.
	availability *availability.Metrics

	mu         sync.Mutex
	transports map[string]*transport
	backends   map[string]*backend
}

var (
	kind        = schema.GroupKind{Group: apiregistrationv1.GroupName, Kind: "APIService"}
	definition  = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	serviceKind = schema.GroupKind{Kind: "Service"}
	sliceKind   = schema.GroupKind{Group: discoveryv1.GroupName, Kind: "EndpointSlice"}
)

// New returns an aggregator of which Serves tells what is served anyway. It works
// while Run does.
func New(cfg Config) *Aggregator {
	a := &Aggregator{
		Config: cfg, services: configured.NewServices(cfg.Store), groups: cfg.Groups.WithSource(aggregated.AggregatorSource),
		own: map[string]bool{}, transports: map[string]*transport{}, backends: map[string]*backend{}, availability: availability.New(),
	}
	a.list = aggregated.WrapAggregatedDiscoveryToHandler(http.HandlerFunc(a.serveGroups), cfg.Groups, nil)
	return a
}

// Serves tells what the server serves itself, before it serves. What yields is served
// only while no APIService hands it on.
func (a *Aggregator) Serves(versions []schema.GroupVersion, yields ...schema.GroupVersion) {
	a.local = versions
	for _, gv := range versions {
		a.own[gv.Group] = !slices.Contains(yields, gv)
		if gv.Group != "" {
			group, version := priority(gv)
			a.Groups.SetGroupVersionPriority(metav1.GroupVersion(gv), int(group), int(version))
		}
	}
}

// Metrics returns those of this server, which are not the process's.
func (a *Aggregator) Metrics() (metrics.Gatherer, error) {
	own := metrics.NewKubeRegistry()
	if err := a.availability.Register(own.Register, own.CustomRegister); err != nil {
		return nil, fmt.Errorf("metrics of APIServices: %w", err)
	}
	return own, nil
}

// Run keeps the APIServices, and asks the servers of those that are handed on,
// until ctx ends. Nothing that it started runs when it returns.
func (a *Aggregator) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer a.disconnect()
	defer group.Wait()
	_ = guard.Loop(ctx, "aggregate APIs", func(ctx context.Context) error {
		a.follow(ctx, &group)
		return nil
	})
}

// disconnect closes the connections that nobody uses.
func (a *Aggregator) disconnect() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.transports {
		t.CloseIdleConnections()
	}
}

// follow looks at all APIServices, and then at what changes.
func (a *Aggregator) follow(ctx context.Context, group *sync.WaitGroup) {
	measured := map[string]bool{} // by name
	for ctx.Err() == nil {
		list, revision := a.Store.List(kind, "")
		a.measure(measured, list)
		w, err := a.Store.Watch(revision, kind, definition, serviceKind, sliceKind)
		if err == nil {
			for _, obj := range list {
				a.start(ctx, group, obj.GetName())
			}
			a.stopGone()
			err = a.Reconcile(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.Log.Warn("The APIServices of what the server serves itself are not up to date", "error", err)
		}
		for err == nil {
			var events []object.Event
			if events, err = w.Next(ctx); err == nil {
				for _, e := range events {
					a.measureEvent(measured, e)
				}
				err = a.changed(ctx, group, events)
			}
		}
		// The end of ctx or of the store, or a watch that fell behind and begins anew.
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// measure makes the metrics those of the APIServices of a list.
func (a *Aggregator) measure(measured map[string]bool, list []object.Object) {
	gone := maps.Clone(measured)
	for _, obj := range list {
		delete(gone, obj.GetName())
		a.measureEvent(measured, object.Event{Type: object.Added, Key: object.KeyOf(kind, obj), Object: obj})
	}
	for name := range gone {
		a.availability.ForgetAPIService(name)
		delete(measured, name)
	}
}

func (a *Aggregator) measureEvent(measured map[string]bool, e object.Event) {
	s, ok := e.Object.(*apiregistrationv1.APIService)
	switch {
	case !ok:
	case e.Type == object.Deleted:
		a.availability.ForgetAPIService(s.Name)
		delete(measured, s.Name)
	default:
		a.availability.SetUnavailableGauge(s)
		measured[s.Name] = true
	}
}

func (a *Aggregator) changed(ctx context.Context, group *sync.WaitGroup, events []object.Event) error {
	local := false
	for _, e := range events {
		switch e.Key.GroupKind {
		case kind:
			if e.Type == object.Modified && onlyStatus(e.Old, e.Object) {
				continue
			}
			local = true
			a.stopGone()
			a.start(ctx, group, e.Key.Name)
			a.wake(func(b *backend) bool { return b.name == e.Key.Name })
		case definition:
			local = local || e.Type != object.Modified || e.Old.GetGeneration() != e.Object.GetGeneration()
		case serviceKind:
			a.wake(func(b *backend) bool { return b.behind(a.apiService(b.name), e.Key.Namespace, e.Key.Name) })
		case sliceKind:
			service := e.Object.GetLabels()[discoveryv1.LabelServiceName]
			a.wake(func(b *backend) bool { return b.behind(a.apiService(b.name), e.Key.Namespace, service) })
		}
	}
	if !local {
		return nil
	}
	return a.Reconcile(ctx)
}

// onlyStatus reports whether an APIService has changed in nothing that counts here.
func onlyStatus(old, now object.Object) bool {
	was, ok := old.(*apiregistrationv1.APIService)
	is, also := now.(*apiregistrationv1.APIService)
	return ok && also && was.UID == is.UID && reflect.DeepEqual(was.Spec, is.Spec) && was.Labels[managed] == is.Labels[managed]
}

// apiService returns a stored APIService, nil if there is none.
func (a *Aggregator) apiService(name string) *apiregistrationv1.APIService {
	s, _ := a.Store.Get(object.Key{GroupKind: kind, Name: name}).(*apiregistrationv1.APIService)
	return s
}

// remote returns the APIService that hands a group version on to a Service, nil
// if there is none.
func (a *Aggregator) remote(gv schema.GroupVersion) *apiregistrationv1.APIService {
	if gv.Group == "" || gv.Version == "" || a.own[gv.Group] {
		return nil
	}
	if s := a.apiService(gv.Version + "." + gv.Group); s != nil && s.Spec.Service != nil {
		return s
	}
	return nil
}

// start makes the loop of an APIService that is handed on, if it has none.
func (a *Aggregator) start(ctx context.Context, group *sync.WaitGroup, name string) {
	s := a.apiService(name)
	if s == nil || a.remote(versionOf(s)) == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.backends[name] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &backend{Aggregator: a, name: name, version: versionOf(s), flag: loop.NewFlag(), stop: cancel, ended: make(chan struct{})}
	a.backends[name] = b
	group.Go(func() {
		defer close(b.ended)
		guard.Do(ctx, "ask the API server of "+name, func() {
			loop.Follow(ctx, "ask the API server of "+name, b.flag, again, b.look)
		})
	})
}

func versionOf(s *apiregistrationv1.APIService) schema.GroupVersion {
	return schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}
}

func (a *Aggregator) wake(which func(*backend) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.backends {
		if which(b) {
			b.flag.Set()
		}
	}
}

// stopGone ends the loops of what is no longer handed on.
func (a *Aggregator) stopGone() {
	for _, b := range a.gone() {
		b.stop()
		<-b.ended
		a.groups.RemoveGroupVersion(metav1.GroupVersion(b.version))
	}
}

// gone takes the loops of what is no longer handed on off the list.
func (a *Aggregator) gone() []*backend {
	a.mu.Lock()
	defer a.mu.Unlock()
	var gone []*backend
	for name, b := range a.backends {
		if a.remote(b.version) != nil {
			continue
		}
		gone = append(gone, b)
		delete(a.backends, name)
		if t := a.transports[name]; t != nil {
			delete(a.transports, name)
			t.CloseIdleConnections()
		}
	}
	return gone
}

// service returns the Service of an APIService, nil if there is none.
func (a *Aggregator) service(s *apiregistrationv1.APIService) *corev1.Service {
	svc, _ := a.Store.Get(object.Key{GroupKind: serviceKind, Namespace: s.Spec.Service.Namespace, Name: s.Spec.Service.Name}).(*corev1.Service)
	return svc
}
