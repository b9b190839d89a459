package streaming

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"headway.dev/manifests/model/object"
)

// Proxy is the REST storage of pods/proxy, services/proxy and nodes/proxy: what
// is asked of it is asked of the pod, of a pod of the Service, or of the node. The
// name in the request may have a scheme and a port: "https:name:port".
//
// See https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/.
type Proxy struct {
	reader  object.Reader
	nodes   *Nodes
	options func() runtime.Object
	// locate returns where to ask, and by what.
	locate func(ctx context.Context, name string) (*url.URL, http.RoundTripper, error)
}

// errAddress is that of an address which is asked by nobody's request: the
// server's own, and those that only mean something on one link.
var errAddress = errors.New("address not allowed")

// NewProxy returns the proxy subresource of Pods, Services or Nodes, and nil for
// other kinds.
func NewProxy(kind string, reader object.Reader, nodes *Nodes) rest.Storage {
	p := Proxy{reader: reader, nodes: nodes}
	switch kind {
	case "Pod":
		p.options, p.locate = func() runtime.Object { return &corev1.PodProxyOptions{} }, p.pod
	case "Service":
		p.options, p.locate = func() runtime.Object { return &corev1.ServiceProxyOptions{} }, p.service
	case "Node":
		p.options, p.locate = func() runtime.Object { return &corev1.NodeProxyOptions{} }, p.node
	default:
		return nil
	}
	return p
}

// New implements rest.Storage.
func (p Proxy) New() runtime.Object { return p.options() }

// Destroy implements rest.Storage.
func (p Proxy) Destroy() {}

// NewConnectOptions implements rest.Connecter.
func (p Proxy) NewConnectOptions() (runtime.Object, bool, string) { return p.options(), true, "path" }

// ConnectMethods implements rest.Connecter.
func (p Proxy) ConnectMethods() []string {
	return []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}
}

// Connect implements rest.Connecter.
func (p Proxy) Connect(ctx context.Context, name string, opts runtime.Object, responder rest.Responder) (http.Handler, error) {
	var path string
	switch o := opts.(type) {
	case *corev1.PodProxyOptions:
		path = o.Path
	case *corev1.ServiceProxyOptions:
		path = o.Path
	case *corev1.NodeProxyOptions:
		path = o.Path
	default:
		return nil, fmt.Errorf("invalid options object: %#v", opts)
	}
	location, transport, err := p.locate(ctx, name)
	if err != nil {
		return nil, err
	}
	location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, path)
	return utilproxy.NewUpgradeAwareHandler(location, transport, true, false, utilproxy.NewErrorResponder(responder)), nil
}

func (p Proxy) pod(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	pod, err := findPod(ctx, p.reader, name)
	if err != nil {
		return nil, nil, err
	}
	if port == "" {
		for _, c := range pod.Spec.Containers {
			if len(c.Ports) > 0 {
				port = strconv.Itoa(int(c.Ports[0].ContainerPort))
				break
			}
		}
	}
	if err := reachable(pod.Status.PodIP); err != nil {
		return nil, nil, err
	}
	return locationOf(scheme, pod.Status.PodIP, port), p.nodes.pods, nil
}

// service asks a pod of the Service that is ready. Endpoints that are no pod of
// the namespace are not asked: who may write EndpointSlices could else have the
// server ask whatever it reaches.
func (p Proxy) service(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	namespace := genericapirequest.NamespaceValue(ctx)
	svc, _ := p.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Service"}, Namespace: namespace, Name: name}).(*corev1.Service)
	if svc == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, name)
	}
	if number, err := strconv.ParseInt(port, 10, 64); err == nil {
		at := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return int64(p.Port) == number })
		if at < 0 {
			return nil, nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
		}
		port = svc.Spec.Ports[at].Name
	}
	var hosts []string
	objs, _ := p.reader.List(schema.GroupKind{Group: discoveryv1.GroupName, Kind: "EndpointSlice"}, namespace)
	for _, obj := range objs {
		slice, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok || slice.Labels[discoveryv1.LabelServiceName] != name {
			continue
		}
		for _, sp := range slice.Ports {
			if sp.Port == nil || (sp.Name != nil && *sp.Name != port) || (sp.Name == nil && port != "") {
				continue
			}
			for _, e := range slice.Endpoints {
				if ip := p.podOf(namespace, e); ip != "" {
					hosts = append(hosts, net.JoinHostPort(ip, strconv.Itoa(int(*sp.Port))))
				}
			}
		}
	}
	if len(hosts) == 0 {
		return nil, nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", id))
	}
	host := hosts[rand.IntN(len(hosts))] //nolint:gosec // spreads load
	return &url.URL{Scheme: scheme, Host: host}, p.nodes.pods, nil
}

// podOf returns the address of an endpoint that is ready and a pod of the
// namespace; otherwise it is empty.
func (p Proxy) podOf(namespace string, e discoveryv1.Endpoint) string {
	ref := e.TargetRef
	if e.Conditions.Ready != nil && !*e.Conditions.Ready || ref == nil || ref.Kind != "Pod" || ref.Namespace != namespace || len(e.Addresses) == 0 {
		return ""
	}
	pod, _ := p.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: namespace, Name: ref.Name}).(*corev1.Pod)
	if pod == nil || reachable(e.Addresses[0]) != nil || !slices.Contains(pod.Status.PodIPs, corev1.PodIP{IP: e.Addresses[0]}) {
		return ""
	}
	return e.Addresses[0]
}

// node asks the node's own server, as this one, or another port of the node.
func (p Proxy) node(_ context.Context, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	own, transport, err := p.nodes.location(name, "", nil)
	if err != nil {
		return nil, nil, err
	}
	if port == "" || port == own.Port() {
		return own, transport, nil
	}
	if err := reachable(own.Hostname()); err != nil {
		return nil, nil, err
	}
	return locationOf(scheme, own.Hostname(), port), p.nodes.pods, nil
}

// reachable fails for an address that requests are not handed to.
func reachable(host string) error {
	if ip := net.ParseIP(host); ip == nil || !ip.IsGlobalUnicast() {
		return apierrors.NewBadRequest(errAddress.Error())
	}
	return nil
}

func locationOf(scheme, host, port string) *url.URL {
	if port != "" {
		return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return &url.URL{Scheme: scheme, Host: host}
}

// newPodTransport reaches programs in pods. Their certificates are not verified,
// as Kubernetes does not: nobody knows who signs them.
func newPodTransport(dialer Dialer) *http.Transport {
	return &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}, //nolint:gosec // see above
		TLSHandshakeTimeout: 10 * time.Second,
		DialContext:         dialer.DialPod,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 2,
	}
}
